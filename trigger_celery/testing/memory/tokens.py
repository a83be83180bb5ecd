"""The tokens of the in-memory store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from trigger_celery.errors import TokenClosed
from trigger_celery.testing.memory.tables import Core
from trigger_celery.vocabulary.records import NewToken, StoredToken
from trigger_celery.vocabulary.states import TokenState, WaitState


class MemoryTokens:
    """Implements :class:`trigger_celery.ports.Tokens`."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._rows: dict[UUID, StoredToken] = {}
        self._settled: set[UUID] = set()

    def create(self, new: NewToken) -> StoredToken:
        """Insert it in the caller's transaction; one that exists is returned as it is."""
        with self._core.lock:
            found = self.get(new.id)
            if found is not None:
                return found
            now = self._core.now()
            token = StoredToken(
                id=new.id,
                state=TokenState.WAITING,
                schema=new.schema,
                tags=new.tags,
                value=None,
                run_id=new.run_id,
                created_at=now,
                expires_at=None if new.timeout is None else now + new.timeout,
                closed_at=None,
                closed_by="",
                read_at=now,
            )
            self._write(token)
            return token

    def get(self, token_id: UUID) -> StoredToken | None:
        """Return the token, or None."""
        with self._core.lock:
            blocks = reversed(self._core.transactions.open)
            pending = (block.tokens[token_id] for block in blocks if token_id in block.tokens)
            found = next(pending, self._rows.get(token_id))
            return None if found is None else replace(found, read_at=self._core.now())

    def close(
        self, token_id: UUID, state: TokenState, *, value: str | None = None, by: str = ""
    ) -> bool:
        """Close it in the caller's transaction; False if it is closed or its time is over."""
        with self._core.lock:
            token = self.get(token_id)
            if token is None or not token.is_open:
                return False
            closed_at = self._core.now()
            if self._core.transactions.open and token_id in self._rows:
                self._core.transactions.open[-1].checks.append(lambda: self._check_open(token_id))
            self._write(replace(token, state=state, value=value, closed_at=closed_at, closed_by=by))
            return True

    def waits(self, token_id: UUID, *, after: int, limit: int) -> Sequence[int]:
        """Return the ids of open waits on the token that are over ``after``, by id."""
        with self._core.lock:
            found = [
                row.id
                for _, row in sorted(self._core.tables.waits.items())
                if row.wait.token_id == token_id
                and row.state is WaitState.WAITING
                and row.id > after
            ]
            return found[:limit]

    def settled(self, token_id: UUID) -> None:
        """Note that all waits that were open when the token was closed have ended."""
        with self._core.transactions.own():
            self._settled.add(token_id)

    def unsettled(self, *, limit: int) -> Sequence[UUID]:
        """Return closed tokens that are not noted as settled, first the one closed first."""
        with self._core.lock:
            found = [
                (row.closed_at, row.id)
                for row in self._rows.values()
                if row.closed_at is not None and row.id not in self._settled
            ]
            return [token_id for _, token_id in sorted(found)[:limit]]

    def keep(self, token_id: UUID, until: datetime) -> None:
        """Let an open token live until then, if its time ends before."""
        token = self._rows.get(token_id)
        if token is None or token.state is not TokenState.WAITING or token.expires_at is None:
            return
        self._rows[token_id] = replace(token, expires_at=max(token.expires_at, until))

    def _write(self, token: StoredToken) -> None:
        def write() -> None:
            self._rows[token.id] = token

        if self._core.transactions.open:
            self._core.transactions.open[-1].tokens[token.id] = token
        self._core.transactions.write(write)

    def _check_open(self, token_id: UUID) -> None:
        """Refuse a commit that came second: here no caller waited for the first."""
        if self._rows[token_id].state is not TokenState.WAITING:
            raise TokenClosed(f"token {token_id} was closed by another transaction")
