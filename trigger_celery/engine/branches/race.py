"""``wait_any``: the branch that is over first, recorded, and what becomes of the others.

The record names what the others wait for. That is closed after it, and again by a replay
that finds it open: so a worker may die in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from trigger_celery.body.awaitables import discard
from trigger_celery.engine.branches import async_branches, thread_branches
from trigger_celery.engine.runs.consequences import BATCH, close
from trigger_celery.engine.segment.effects import Io, Routine, drive
from trigger_celery.engine.segment.metering import Meter
from trigger_celery.engine.segment.replay import CallSite
from trigger_celery.engine.segment.scopes import Parked
from trigger_celery.engine.segment.segment import Segment
from trigger_celery.vocabulary import step_keys
from trigger_celery.vocabulary.identity import new_token
from trigger_celery.vocabulary.records import Checkpoint, StepKind
from trigger_celery.vocabulary.states import WaitState


@dataclass(frozen=True, slots=True)
class Race:
    """One call of ``wait_any`` in one segment."""

    segment: Segment
    site: CallSite
    source: str
    meter: Meter

    def record(self, key: str, value: object) -> Any:
        """Record a value and return it as a replay will find it."""
        text = self.segment.engine.codec.encode(value, what=f"the result of {self.site.key!r}")
        stored = self.segment.decode(text)
        self.segment.record(
            Checkpoint(
                key=key,
                kind=StepKind.VALUE,
                value=text,
                position=self.site.position,
                attempt=1,
                span=self.meter.span(worker=self.segment.worker, source=self.source),
                token=new_token(),
            )
        )
        return stored


def begin(segment: Segment, key: str | None, source: str) -> Race:
    """Return the race at the next place of the body."""
    site = segment.replay.place("wait_any", StepKind.VALUE, key)
    return Race(segment, site, source, segment.meter())


def run_threads(
    race: Race, branches: Sequence[Callable[[], object]], *, max_parallel: int
) -> tuple[int, object]:
    """Return index and value of the winner, in a ``def`` body."""
    segment = race.segment
    if race.site.outcome is not None:
        _skip(segment, branches)
        return segment.leaving.in_body(partial(drive, _recorded(race)))
    ran = thread_branches.run_branches(segment, branches, max_parallel=max_parallel)
    for index, branch in enumerate(ran):
        if branch.is_over:
            losers = [each for each in ran if each is not branch]
            parked = [each for loser in losers for each in loser.scope.parked]
            won = _won(race, index, branch.value, parked)
            return segment.leaving.in_body(partial(drive, won))
    thread_branches.raise_first(ran)
    segment.leaving.leave([each for branch in ran for each in branch.scope.parked])


async def run_tasks(race: Race, branches: Sequence[Any]) -> Any:
    """Return index and value of the winner, in an ``async def`` body."""
    segment = race.segment
    if race.site.outcome is not None:
        _skip(segment, branches)
        return await segment.leaving.track(_recorded(race))
    crew = async_branches.Crew(segment, branches, lambda error: True)
    await crew.decided()
    try:
        over = [(index, value) for index, value, error in crew.outcomes() if error is None]
        keys, waits = list(segment.leaving.keys), {wait.key: wait for wait in segment.leaving.waits}
        await crew.cancel()
        if not over:
            async_branches.raise_first(crew)
        index, value = over[0]
        parked = [(waits.get(key), key) for key in keys if key not in segment.leaving.keys]
        return await segment.leaving.track(_won(race, index, value, parked))
    finally:
        crew.release()


def _skip(segment: Segment, branches: Sequence[Any]) -> None:
    """Pass over branches that need not run: they keep their numbers."""
    for _ in branches:
        segment.replay.branches.new()
    discard(branches)


def _recorded(race: Race) -> Routine[tuple[int, object]]:
    outcome = race.site.outcome
    assert outcome is not None
    assert outcome.value is not None
    recorded: Any = race.segment.decode(outcome.value)
    yield from _close(race, recorded)
    return recorded["winner"], recorded["value"]


def _won(
    race: Race, index: int, value: object, parked: Iterable[Parked]
) -> Routine[tuple[int, object]]:
    replay = race.segment.replay
    waits, fans = [], []
    for wait, key in parked:
        recorded = replay.recorded(key)
        if recorded is not None:
            waits.append(key)
        kind = wait.kind if wait is not None else recorded and recorded.kind
        if kind is StepKind.CHILDREN:
            fans.append(step_keys.awaited_fan_out(key))
    if race.site.before:
        yield Io(partial(race.segment.keep, race.site.before))
    winner = {"winner": index, "value": value, "canceled": waits, "let_go": fans}
    recorded = yield Io(partial(race.record, race.site.key, winner))
    yield from _close(race, recorded)
    return recorded["winner"], recorded["value"]


def _close(race: Race, recorded: Any) -> Routine[None]:
    """Cancel what the other branches wait for, as far as that is not done."""
    segment = race.segment
    outcomes = [segment.replay.recorded(key) for key in recorded["canceled"]]
    keys = [each.key for each in outcomes if each and each.wait is WaitState.WAITING]
    if keys:
        yield Io(partial(segment.held.write, segment.patient.waits.cancel, keys))
    for key in recorded["let_go"]:
        mark = step_keys.let_go(key)
        if segment.replay.recorded(mark) is None:
            while (yield Io(partial(close, segment.engine, segment.run.id, key=key))) == BATCH:
                pass
            yield Io(partial(race.record, mark, None))
