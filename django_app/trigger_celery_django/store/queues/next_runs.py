"""Which run in line is next: keys take turns, and within a key the earliest place is first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from trigger_celery.vocabulary.admission import Room
from trigger_celery.vocabulary.records import Standing
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django import models
from trigger_celery_django.store.queues.slots import standing_of

Read = Callable[[Sequence[tuple[str, str, int]]], Sequence[models.Run]]
"""Returns the first runs in line for each key, task and number of them."""

_READS = 8
_READ_AHEAD = 4
_WIDEST = 200
_DEEPEST = 1_000
_PAST_RATES = 100
"""So many runs that a rate refuses are looked at for one behind them that was started before."""


@dataclass(slots=True)
class _SubLine:
    """The line of one key and one task: the runs that were read and are still to go.

    ``depth`` is how many were asked for so far; ``refused`` says whether it was runs that are
    started, or those that were before, or both, that got no slot.
    """

    asks: Standing
    runs: deque[models.Run] = field(default_factory=deque)
    depth: int = 0
    ends: bool = False
    refused: set[bool] = field(default_factory=set)

    @property
    def place(self) -> tuple[datetime, UUID]:
        return self.runs[0].line_at, self.runs[0].pk


class Turns:
    """One pass along a line, under the locks of its queues.

    ``gone`` are runs that cannot start, and need their places no more. ``cut_short`` says that
    the pass ended before it was known that no other run gets a slot.
    """

    def __init__(
        self, room: Room, queue: str, sub_lines: Sequence[tuple[str, str]], read: Read
    ) -> None:
        self.gone: set[UUID] = set()
        self.cut_short = False
        self._room, self._read_places = room, read
        self._reads, self._reach, self._wanted = 0, _READ_AHEAD, 0
        self._seen: set[UUID] = set()
        self._lines: dict[str, list[_SubLine]] = {}
        for key, task in sub_lines:
            # The id belongs to no run: any run of this key and task asks for the same.
            asks = Standing(run_id=UUID(int=0), queue=queue, key=key, task=task, starts=False)
            if room.left(asks) != 0:
                self._lines.setdefault(key, []).append(_SubLine(asks))
        self._turn = deque(self._lines)

    def take(self, limit: int) -> Iterator[models.Run]:
        """Return the next runs, at most ``limit``; each has its slot in the room."""
        self._wanted = limit
        while self._turn and self._wanted and not self.cut_short:
            run = self._first(self._turn[0])
            if run is None:
                self._turn.popleft()
                continue
            self._wanted -= 1
            self._turn.rotate(-1)
            yield run

    def _first(self, key: str) -> models.Run | None:
        while lines := [line for line in self._lines[key] if self._has_next(line)]:
            if self.cut_short:
                return None
            line = min(lines, key=lambda line: line.place)
            run = line.runs.popleft()
            asks = standing_of(run)
            if self._room.take(asks):
                return run
            line.refused.add(asks.starts)
        return None

    def _has_next(self, line: _SubLine) -> bool:
        while len(line.refused) < 2 and self._room.left(line.asks) != 0:
            while line.runs and (line.runs[0].started_at is None) in line.refused:
                line.runs.popleft()
            if line.runs:
                return True
            if line.ends or (line.refused and line.depth >= _PAST_RATES):
                return False
            if self._reads >= _READS:
                self.cut_short = True
                return False
            self._read(line)
        return False

    def _read(self, line: _SubLine) -> None:
        """Read on in this line, and in those that are likely to be next."""
        ahead = [each for key in self._turn for each in self._lines[key] if self._is_unread(each)]
        width = min(max(self._reach, self._most(line)), _WIDEST)
        chosen = [line, *(each for each in ahead if each is not line)][:width]
        for each in chosen:
            each.depth = min(max(self._share(each), each.depth * 4), _DEEPEST)
        self._reads += 1
        self._reach *= 4
        wanted = [(each.asks.key, each.asks.task, each.depth) for each in chosen]
        found: dict[tuple[str, str], list[models.Run]] = {}
        for run in self._read_places(wanted):
            found.setdefault((run.concurrency_key, run.task), []).append(run)
        for each in chosen:
            self._fill(each, found.get((each.asks.key, each.asks.task), []))

    def _most(self, line: _SubLine) -> int:
        """Return how many are let in at most: one free slot needs no look at hundreds of keys."""
        left = self._room.left(replace(line.asks, key=""))
        return self._wanted if left is None else min(self._wanted, left)

    def _is_unread(self, line: _SubLine) -> bool:
        return not line.runs and not line.ends and self._room.left(line.asks) != 0

    def _share(self, line: _SubLine) -> int:
        """Return how many of a line are to be read, if all keys have their turns."""
        if line.refused:
            return _PAST_RATES
        share = -(-self._wanted // len(self._turn))
        left = self._room.left(line.asks)
        return share if left is None else min(share, left)

    def _fill(self, line: _SubLine, runs: Sequence[models.Run]) -> None:
        line.ends = len(runs) < line.depth
        now = self._room.now
        for run in sorted(runs, key=lambda run: (run.line_at, run.pk)):
            if run.pk in self._seen:
                continue
            self._seen.add(run.pk)
            if may_start(run, now):
                line.runs.append(run)
            else:
                self.gone.add(run.pk)


def may_start(run: models.Run, now: datetime) -> bool:
    """Whether a run in line would start if it got a slot."""
    # No run joins a line too early, though it may be after ``now`` was read; what puts a run
    # off says when it is due.
    at_once = run.due_at is None or run.due_at > run.available_at
    available = at_once or run.available_at <= now
    alive = run.deadline_at is None or run.deadline_at > now
    return run.state == RunState.QUEUED and run.paused_at is None and available and alive
