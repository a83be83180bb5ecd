"""What authors may ask of the engine about tokens and open waits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from trigger_celery.vocabulary.records import NewToken, OpenWait, StoredToken


class TokenVerbs(Protocol):
    """The part of the engine's verbs that is about tokens and open waits."""

    def create_token(self, new: NewToken) -> StoredToken: ...

    def get_token(self, token_id: UUID) -> StoredToken: ...

    def token_url(self, token_id: UUID) -> str: ...

    def complete_token(
        self, token_id: UUID, value: object, *, by: str = "", repeatable: bool = False
    ) -> None: ...

    def cancel_token(self, token_id: UUID, *, by: str = "", repeatable: bool = False) -> bool: ...

    def open_waits(
        self, *, run_id: UUID | None = None, kind: str = "", after: int = 0, limit: int = 100
    ) -> Sequence[OpenWait]: ...

    def complete_wait(self, wait_id: int, value: object, *, by: str = "") -> OpenWait: ...

    def skip_wait(self, wait_id: int, *, by: str = "") -> OpenWait: ...

    def extend_wait(self, wait_id: int, delay: timedelta, *, by: str = "") -> OpenWait: ...
