"""Records of tokens, and of open waits as a person looks at them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from trigger_celery.vocabulary.records.steps import StepKind
from trigger_celery.vocabulary.states import TokenState


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """A token to be created; ``timeout`` counts from the database's now.

    ``schema`` is the text of a JSON Schema ("" for none), ``run_id`` the run that created it.
    """

    id: UUID
    timeout: timedelta | None = None
    schema: str = ""
    tags: tuple[str, ...] = ()
    run_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredToken:
    """A token as it was stored at ``read_at``; ``value`` is codec text once it is completed.

    ``closed_by`` names the person or system that completed or canceled it.
    """

    id: UUID
    state: TokenState
    schema: str
    tags: tuple[str, ...]
    value: str | None
    run_id: UUID | None
    created_at: datetime
    expires_at: datetime | None
    closed_at: datetime | None
    closed_by: str
    read_at: datetime

    @property
    def is_open(self) -> bool:
        """Whether it could still be completed then."""
        over = self.expires_at is not None and self.expires_at <= self.read_at
        return self.state is TokenState.WAITING and not over


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenWait:
    """A wait that has not ended, for people: whose it is, what for, and until when."""

    id: int
    run_id: UUID
    task: str
    key: str
    kind: StepKind
    name: str
    token_id: UUID | None
    due_at: datetime | None
    source: str
