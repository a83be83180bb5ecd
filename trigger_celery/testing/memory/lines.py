"""The lines of the in-memory store: which run is next for a slot, without looking at all runs."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import TypeAlias
from uuid import UUID

from trigger_celery.vocabulary.records import Run, Standing


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in line: by time, then by the order of joining."""

    at: datetime
    number: int
    run_id: UUID


Kind: TypeAlias = tuple[str, bool]
"""What limits distinguish among runs of one key: the task, and whether it is a first start."""
Look: TypeAlias = Callable[[UUID], "tuple[Run | None, bool]"]
"""Returns a run that waits for a slot, None if it does not, and whether it may start now."""


@dataclass(slots=True)
class _Line:
    """One line: its places in their order, those of each key and kind by themselves."""

    keys: list[str] = field(default_factory=list)
    tasks: set[str] = field(default_factory=set)
    places: dict[str, dict[Kind, list[Place]]] = field(default_factory=dict)

    def add(self, key: str, kind: Kind, place: Place) -> None:
        if key not in self.places:
            self.places[key] = {}
            insort(self.keys, key)
        self.tasks.add(kind[0])
        insort(self.places[key].setdefault(kind, []), place)

    def drop(self, key: str, kind: Kind) -> None:
        kinds = self.places[key]
        kinds.pop(kind, None)
        if not kinds:
            del self.places[key]
            self.keys.remove(key)


class Lines:
    """The lines by queue.

    Of each kind the first is the only run that an admission has to ask for: where it gets no
    slot, those behind it get none. ``taken`` are the runs that hold a slot or were promised
    one, and some that did.
    """

    def __init__(self) -> None:
        self.taken: dict[UUID, None] = {}
        self._numbers = count()
        self._places: dict[UUID, Place] = {}
        self._lines: dict[str, _Line] = {}

    def names(self) -> list[str]:
        """Return the queues that runs have stood in line for, by name."""
        return sorted(self._lines)

    def keys(self, queue: str, *, after: str = "") -> list[str]:
        """Return the keys of a line in their order, beginning after one of them."""
        line = self._lines.get(queue, _Line())
        begin = bisect_right(line.keys, after)
        return line.keys[begin:] + line.keys[:begin]

    def tasks(self, queue: str) -> set[str]:
        """Return the tasks whose runs have stood in a line."""
        return self._lines.get(queue, _Line()).tasks

    def join(self, run: Run, asks: Standing) -> None:
        """Put a run in line; one that waits already keeps its place."""
        self.taken.pop(run.id, None)
        known = self._places.get(run.id)
        if known is not None and known.at == run.line_at:
            return
        place = self._places[run.id] = Place(run.line_at, next(self._numbers), run.id)
        line = self._lines.setdefault(asks.queue, _Line())
        line.add(asks.key, (asks.task, asks.starts), place)

    def leave(self, run_id: UUID) -> None:
        """Note that a run waits no more: it has a slot, or the promise of one."""
        self._places.pop(run_id, None)
        self.taken[run_id] = None

    def forget(self, run_id: UUID) -> None:
        """Note that a run has nothing to do with slots any more."""
        self._places.pop(run_id, None)
        self.taken.pop(run_id, None)

    def first(self, queue: str, key: str, look: Look) -> list[Run]:
        """Return the first run of each kind of a key that may start, by their places."""
        line = self._lines.get(queue)
        if line is None or key not in line.places:
            return []
        found = []
        for kind, places in list(line.places[key].items()):
            head = self._head(places, look)
            if head is not None:
                found.append(head)
            elif not places:
                line.drop(key, kind)
        if not line.keys:
            del self._lines[queue]
        return [run for _, run in sorted(found)]

    def _head(self, places: list[Place], look: Look) -> tuple[Place, Run] | None:
        index = 0
        while index < len(places):
            place = places[index]
            run, may_start = look(place.run_id)
            if run is None or self._places.get(place.run_id) is not place:
                del places[index]
            elif run.line_at != place.at:  # it was put off in line
                del places[index]
                moved = self._places[run.id] = Place(run.line_at, place.number, run.id)
                insort(places, moved)
            elif may_start:
                return place, run
            else:
                index += 1
        return None
