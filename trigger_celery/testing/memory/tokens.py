"""The tokens of the in-memory store, and open waits as a person looks at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from trigger_celery.errors import InvalidTime, TokenClosed, WaitNotFound
from trigger_celery.testing.memory.tables import Core, WaitRow
from trigger_celery.vocabulary.records import NewToken, Nudge, OpenWait, StoredToken
from trigger_celery.vocabulary.states import RunState, TokenState, WaitState


class MemoryOpenWaits:
    """Implements :class:`trigger_celery.ports.OpenWaits`."""

    def __init__(self, core: Core, tokens: MemoryTokens) -> None:
        self._core = core
        self._tokens = tokens

    def find(
        self, *, run_id: UUID | None = None, kind: str = "", after: int = 0, limit: int
    ) -> Sequence[OpenWait]:
        with self._core.lock:
            found = [
                self._open_wait(row)
                for _, row in sorted(self._core.tables.waits.items())
                if row.state is WaitState.WAITING
                and row.id > after
                and run_id in (None, row.run_id)
                and kind in ("", row.wait.kind)
            ]
            return found[:limit]

    def get(self, wait_id: int) -> OpenWait | None:
        with self._core.lock:
            row = self._core.tables.waits.get(wait_id)
            return self._open_wait(row) if row and row.state is WaitState.WAITING else None

    def end(
        self,
        wait_id: int,
        state: WaitState,
        record: Mapping[str, str] | None = None,
        *,
        value: str | None = None,
    ) -> Nudge | None:
        with self._core.transactions.own():
            row = self._open(wait_id)
            self._core.tables.waits[wait_id] = replace(row, state=state, value=value)
            run = self._core.tables.runs[row.run_id].run
            verb = "complete wait" if state is WaitState.COMPLETED else "skip wait"
            self._core.note(run, verb, key=row.wait.key, **record or {})
            if run.state is not RunState.SUSPENDED:
                return None
            return self._core.queue(run, "wake", key=row.wait.key)

    def extend(
        self, wait_id: int, delay: timedelta, record: Mapping[str, str] | None = None
    ) -> OpenWait:
        with self._core.transactions.own():
            row = self._open(wait_id)
            if row.due_at is None:
                raise InvalidTime(f"wait {wait_id} has no end that could be put off")
            due_at = row.due_at + delay
            self._core.tables.waits[wait_id] = replace(row, due_at=due_at)
            if row.wait.token_id is not None:
                self._tokens.keep(row.wait.token_id, due_at)
            found = self._core.tables.runs[row.run_id]
            run = found.run
            looked = all(each.looked for each in self._core.open_waits(run.id))
            if run.state is RunState.SUSPENDED and looked:
                run = replace(run, due_at=self._core.first_due(run.id))
                self._core.tables.runs[run.id] = replace(found, run=run)
            noted = {"key": row.wait.key, "until": due_at.isoformat(), **(record or {})}
            self._core.note(run, "extend wait", **noted)
            return self._open_wait(self._core.tables.waits[wait_id])

    def _open(self, wait_id: int) -> WaitRow:
        row = self._core.tables.waits.get(wait_id)
        if row is None or row.state is not WaitState.WAITING:
            raise WaitNotFound(f"no open wait has the id {wait_id}: it may have ended by now")
        return row

    def _open_wait(self, row: WaitRow) -> OpenWait:
        return OpenWait(
            id=row.id,
            run_id=row.run_id,
            task=self._core.tables.runs[row.run_id].run.task,
            key=row.wait.key,
            kind=row.wait.kind,
            name=row.wait.name,
            token_id=row.wait.token_id,
            due_at=row.due_at,
            source=row.wait.source,
        )


class MemoryTokens:
    """Implements :class:`trigger_celery.ports.Tokens`."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._rows: dict[UUID, StoredToken] = {}
        self._settled: set[UUID] = set()

    def create(self, new: NewToken) -> StoredToken:
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
        with self._core.lock:
            blocks = reversed(self._core.transactions.open)
            pending = (block.tokens[token_id] for block in blocks if token_id in block.tokens)
            found = next(pending, self._rows.get(token_id))
            return None if found is None else replace(found, read_at=self._core.now())

    def close(
        self, token_id: UUID, state: TokenState, *, value: str | None = None, by: str = ""
    ) -> bool:
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
        with self._core.transactions.own():
            self._settled.add(token_id)

    def unsettled(self, *, limit: int) -> Sequence[UUID]:
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
