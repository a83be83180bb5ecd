"""The idempotency and debounce keys of the in-memory store."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from threading import Condition, get_ident
from typing import TypeAlias
from uuid import UUID

from trigger_celery.errors import StoreUnavailable
from trigger_celery.testing.memory.runs import MemoryRuns
from trigger_celery.testing.memory.tables import Core
from trigger_celery.vocabulary import lifecycle
from trigger_celery.vocabulary.records import FREES, HeldKey, KeyPurpose, NewKey, PushBack, Run

KeyId: TypeAlias = tuple[KeyPurpose, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """Which run holds a key, and until when."""

    held: HeldKey
    expires_at: datetime | None


@dataclass(slots=True)
class _Lock:
    """A key that an open transaction of a thread has locked, and what it will be."""

    thread: int
    row: KeyRow | None
    depth: int = 1


class MemoryKeys:
    """Implements :class:`trigger_celery.ports.Keys`."""

    def __init__(self, core: Core, runs: MemoryRuns) -> None:
        self._core = core
        self._runs = runs
        self._rows: dict[KeyId, KeyRow] = {}
        self._locks: dict[KeyId, _Lock] = {}
        self._unlocked = Condition(core.lock)

    def hold(self, keys: Sequence[NewKey]) -> Sequence[HeldKey]:
        with self._core.lock:
            return [self._hold(key) for key in keys]

    def take(self, key: NewKey) -> None:
        with self._core.lock:
            self._lock((key.purpose, key.task, key.digest)).row = self._row(key)

    def drop(self, run_ids: Collection[UUID]) -> None:
        with self._core.lock:
            rows = {**self._rows, **{key_id: lock.row for key_id, lock in self._locks.items()}}
            for key_id, row in rows.items():
                if row is not None and row.held.run_id in run_ids:
                    self._lock(key_id).row = None

    def reset(self, purpose: KeyPurpose, task: str, digest: str) -> bool:
        key_id = (purpose, task, digest)
        with self._core.lock:
            lock = self._lock(key_id)
            held = lock.row is not None
            lock.row = None
            return held

    def push_back(self, push: PushBack) -> bool:
        with self._core.lock:
            run = self._runs.get(push.run_id)
            pushed = None if run is None else lifecycle.push_back(run, push, self._core.now())
            if pushed is not None:
                self._push(pushed)
            return pushed is not None

    def _push(self, run: Run) -> None:
        pending = self._core.transactions.open[-1]
        pending.runs[run.id] = run
        pending.checks.append(partial(self._check, run))

        def write() -> None:
            self._core.move(run, "push back")

        self._core.transactions.write(write)

    def _check(self, pushed: Run) -> None:
        run = self._core.tables.runs.get(pushed.id)
        if run is not None and not lifecycle.is_unstarted(run.run):
            raise StoreUnavailable(f"run {pushed.id} was started while it was being put off")

    def _hold(self, key: NewKey) -> HeldKey:
        key_id = (key.purpose, key.task, key.digest)
        lock = self._lock(key_id)
        row = lock.row
        if row is None or self._is_free(key.purpose, row):
            row = lock.row = self._row(key)
        return row.held

    def _row(self, key: NewKey) -> KeyRow:
        return KeyRow(
            held=HeldKey(run_id=key.run_id, input_digest=key.input_digest),
            expires_at=None if key.ttl is None else self._core.now() + key.ttl,
        )

    def _is_free(self, purpose: KeyPurpose, row: KeyRow) -> bool:
        run = self._runs.get(row.held.run_id)
        if run is None:
            return True
        if purpose is KeyPurpose.DEBOUNCE:
            return not lifecycle.is_unstarted(run)
        over = row.expires_at is not None and row.expires_at <= self._core.now()
        return over or run.state in FREES

    def _lock(self, key_id: KeyId) -> _Lock:
        """Lock a key for this thread's transaction; wait while another one has it."""
        me = get_ident()
        self._unlocked.wait_for(
            lambda: key_id not in self._locks or self._locks[key_id].thread == me
        )
        lock = self._locks.get(key_id)
        before = None if lock is None else lock.row
        if lock is None:
            lock = self._locks[key_id] = _Lock(thread=me, row=self._rows.get(key_id))
        else:
            lock.depth += 1
        self._core.transactions.on_end(partial(self._unlock, key_id, before))
        return lock

    def _unlock(self, key_id: KeyId, before: KeyRow | None, committed: bool) -> None:
        with self._core.lock:
            lock = self._locks[key_id]
            lock.depth -= 1
            if not committed:
                lock.row = before
            elif lock.row is None:
                self._rows.pop(key_id, None)
            else:
                self._rows[key_id] = lock.row
            if not lock.depth:
                del self._locks[key_id]
                self._unlocked.notify_all()
