"""The events of the in-memory store, and the tasks that they start."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import timedelta

from trigger_celery.ports import Subscriptions, Waits
from trigger_celery.testing.memory.tables import Core
from trigger_celery.vocabulary.records import (
    Audience,
    EventFilter,
    ListedEvent,
    NewEvent,
    StoredEvent,
    Subscription,
)


class MemorySubscriptions:
    """Implements :class:`trigger_celery.ports.Subscriptions`."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._by_task: dict[str, Subscription] = {}

    def sync(self, wanted: Sequence[Subscription], retired: Collection[str]) -> int:
        with self._core.transactions.own():
            gone = [task for task in retired if self._by_task.pop(task, None)]
            fresh = [each for each in wanted if self._by_task.get(each.task) != each]
            self._by_task.update((each.task, each) for each in fresh)
            return len(gone) + len(fresh)

    def of(self, name: str, *, after: str, limit: int) -> Sequence[Subscription]:
        with self._core.lock:
            found = [each for _, each in sorted(self._by_task.items())]
            return tuple(each for each in found if each.name == name and each.task > after)[:limit]


class MemoryEvents:
    """Implements :class:`trigger_celery.ports.Events`."""

    def __init__(self, core: Core, waits: Waits, subscriptions: Subscriptions) -> None:
        self._core = core
        self._waits = waits
        self._subscriptions = subscriptions

    def add(self, event: NewEvent) -> StoredEvent | None:
        with self._core.lock:
            if self._is_stored(event):
                return None
            stored = StoredEvent(
                sequence=next_number(self._core),
                id=event.id,
                name=event.name,
                payload=event.payload,
                received_at=self._core.now(),
                source=event.source,
            )

            def write() -> None:
                if not any(_identity(row.event) == _identity(stored) for row in self._rows()):
                    self._core.tables.events[stored.sequence] = ListedEvent(event=stored)

            if self._core.transactions.open:
                self._core.transactions.open[-1].events[_identity(stored)] = stored
            self._core.transactions.write(write)
            return stored

    def get(self, id: str, *, source: str) -> StoredEvent | None:
        with self._core.lock:
            pending = [
                each for block in self._core.transactions.open for each in block.events.values()
            ]
            stored = [row.event for row in self._rows()]
            found = [each for each in [*stored, *pending] if _identity(each) == (source, id)]
            return found[0] if found else None

    def _rows(self) -> list[ListedEvent]:
        return [row for _, row in sorted(self._core.tables.events.items())]

    def _is_stored(self, event: NewEvent) -> bool:
        identity = _identity(event)
        pending = any(identity in block.events for block in self._core.transactions.open)
        return pending or any(_identity(row.event) == identity for row in self._rows())

    def audience(self, name: str, hashes: Sequence[int], *, before: int, limit: int) -> Audience:
        with self._core.lock:
            return Audience(
                shapes=self._waits.shapes(name),
                subscriptions=self._subscriptions.of(name, after="", limit=limit),
                candidates=self._waits.candidates(name, hashes, after=0, limit=limit),
                crowded=bool(self.ahead(name, before=before, after=0, limit=1)),
            )

    def ahead(self, name: str, *, before: int, after: int, limit: int) -> Sequence[StoredEvent]:
        with self._core.lock:
            found = [
                row.event
                for row in self._rows()
                if row.matched_at is None
                and row.event.name == name
                and after < row.event.sequence < before
            ]
            return tuple(found[:limit])

    def find(
        self, wanted: EventFilter, *, before: int | None = None, limit: int
    ) -> Sequence[ListedEvent]:
        with self._core.lock:
            found = [
                row
                for row in reversed(self._rows())
                if wanted.name in ("", row.event.name)
                and wanted.source in (None, row.event.source)
                and (row.matched_at is None or not wanted.unmatched)
                and (before is None or row.event.sequence < before)
            ]
            return tuple(found[:limit])

    def matched(self, sequence: int) -> None:
        with self._core.transactions.own():
            note_matched(self._core, sequence)

    def unmatched(self, *, older_than: timedelta, after: int, limit: int) -> Sequence[StoredEvent]:
        with self._core.lock:
            latest = self._core.now() - older_than
            found = [
                row.event
                for row in self._rows()
                if row.matched_at is None
                and row.event.received_at <= latest
                and row.event.sequence > after
            ]
            return tuple(found[:limit])

    def purge(self, *, older_than: timedelta, after: int, limit: int) -> int:
        with self._core.transactions.own():
            latest = self._core.now() - older_than
            needed = {row.event for row in self._core.tables.waits.values()}
            seen = [row for row in self._rows() if row.event.sequence > after][:limit]
            old = [row for row in seen if row.event.received_at <= latest]
            for row in old:
                matched = row.matched_at is not None and row.matched_at <= latest
                if matched and row.event.sequence not in needed:
                    del self._core.tables.events[row.event.sequence]
            return old[-1].event.sequence if len(old) == limit else 0


def _identity(event: StoredEvent | NewEvent) -> tuple[str, str]:
    return event.source, event.id


def note_matched(core: Core, sequence: int) -> None:
    """Note in the open transaction that all waits open so far were compared with an event."""
    row = core.tables.events.get(sequence)
    if row is not None and row.matched_at is None:
        core.tables.events[sequence] = replace(row, matched_at=core.now())


def next_number(core: Core) -> int:
    """Return the next number of a wait or event."""
    core.tables.last_sequence += 1
    return core.tables.last_sequence
