"""The part of the facade that is about tokens and open waits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from trigger_celery.engine.core import Engine
from trigger_celery.engine.waking import open_waits as waiting
from trigger_celery.engine.waking import tokens
from trigger_celery.vocabulary.records import NewToken, OpenWait, StoredToken


class TokenFacade:
    """The verbs of tokens and open waits, for code that holds no engine."""

    engine: Engine

    def create_token(self, new: NewToken) -> StoredToken:
        """Create a token in the caller's transaction."""
        return tokens.create_token(self.engine, new)

    def get_token(self, token_id: UUID) -> StoredToken:
        """Return a token."""
        return tokens.get_token(self.engine, token_id)

    def token_url(self, token_id: UUID) -> str:
        """Return the URL that completes the token."""
        return self.engine.token_url(token_id)

    def complete_token(
        self, token_id: UUID, value: object, *, by: str = "", repeatable: bool = False
    ) -> None:
        """Complete a token in the caller's transaction."""
        tokens.complete_token(self.engine, token_id, value, by=by, repeatable=repeatable)

    def cancel_token(self, token_id: UUID, *, by: str = "", repeatable: bool = False) -> bool:
        """Cancel a token in the caller's transaction."""
        return tokens.cancel_token(self.engine, token_id, by=by, repeatable=repeatable)

    def open_waits(
        self, *, run_id: UUID | None = None, kind: str = "", after: int = 0, limit: int = 100
    ) -> Sequence[OpenWait]:
        """Return open waits, by id."""
        return waiting.open_waits(self.engine, run_id=run_id, kind=kind, after=after, limit=limit)

    def complete_wait(self, wait_id: int, value: object, *, by: str = "") -> OpenWait:
        """Give a wait what it waits for."""
        return waiting.complete_wait(self.engine, wait_id, value, by=by)

    def skip_wait(self, wait_id: int, *, by: str = "") -> OpenWait:
        """End a wait as if its time had come."""
        return waiting.skip_wait(self.engine, wait_id, by=by)

    def extend_wait(self, wait_id: int, delay: timedelta, *, by: str = "") -> OpenWait:
        """Let a wait end later."""
        return waiting.extend_wait(self.engine, wait_id, delay, by=by)
