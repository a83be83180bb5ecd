"""Runs that a body starts and waits for: started once, their results recorded once.

The ids of the children follow from the run and the key of the call, so that a worker that
dies in the middle of starting them is followed by one that starts only those that are
missing. How they ended becomes checkpoints of the parent, in chunks: a replay sees the same
although a person may retry a child later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from uuid import UUID, uuid5

from trigger_celery.body.context import FanOut
from trigger_celery.engine.runs.consequences import BATCH, close
from trigger_celery.engine.runs.trigger import of_creation
from trigger_celery.engine.segment.effects import Io, Routine
from trigger_celery.engine.segment.metering import Meter
from trigger_celery.engine.segment.replay import CallSite
from trigger_celery.engine.segment.segment import Segment
from trigger_celery.errors import ChildRunFailed, NonDeterminismError
from trigger_celery.ports import Codec
from trigger_celery.values.codec import NULL, list_text
from trigger_celery.values.failures import from_text
from trigger_celery.vocabulary import step_keys
from trigger_celery.vocabulary.identity import new_token
from trigger_celery.vocabulary.records import Checkpoint, ChildEnd, NewRun, NewWait, StepKind
from trigger_celery.vocabulary.states import RunState, WaitState


def fan_out(segment: Segment, call: FanOut, site: CallSite) -> Routine[object]:
    """Start the runs and suspend, or return what the call is worth once they have ended."""
    outcome = site.outcome
    if outcome is None and not call.size:
        return call.conclude(())
    if outcome is None or outcome.wait in (WaitState.WAITING, WaitState.CANCELED):
        yield from segment.boundary(f"wait {site.key!r}", site)
        if outcome is None:
            segment.leaving.check_time_limits(f"wait {site.key!r}")
            yield from _start(segment, call, site.key)
        wait = _wait(call, site, site.key, call.timeout) if outcome is None else None
        return (yield from segment.leaving.park(wait, site.key))
    fan = _Fan(segment, call, site, segment.meter())
    if outcome.wait is WaitState.TIMEOUT:
        yield from _let_go(fan)
        return call.conclude(None)
    return call.conclude((yield from _results(fan)))


def child_id(parent_id: UUID, key: str, index: int) -> UUID:
    """Return the id of a run of the fan-out ``key``: the same on each replay."""
    return uuid5(parent_id, step_keys.child(index, key))


@dataclass(frozen=True, slots=True)
class _Fan:
    """One fan-out that is over, and the segment that records how."""

    segment: Segment
    call: FanOut
    site: CallSite
    meter: Meter

    def ids(self, start: int) -> list[UUID]:
        """Return the ids of one batch of the children."""
        stop = min(start + BATCH, self.call.size)
        parent, key = self.segment.run.id, self.site.key
        return [child_id(parent, key, index) for index in range(start, stop)]

    def recorded(self, key: str) -> Any:
        """Return the value that was recorded under ``key``, None if none was."""
        outcome = self.segment.replay.recorded(key)
        if outcome is None or outcome.value is None:
            return None
        return self.segment.decode(outcome.value)

    def record(self, key: str, text: str) -> None:
        """Record a value under ``key``."""
        checkpoint = Checkpoint(
            key=key,
            kind=StepKind.CHILDREN,
            value=text,
            position=self.site.position,
            attempt=1,
            span=self.meter.span(worker=self.segment.worker, source=self.call.source),
            token=new_token(),
        )
        self.segment.record(checkpoint)


def _wait(call: FanOut, site: CallSite, key: str, timeout: Any) -> NewWait:
    return NewWait(
        key=key,
        kind=StepKind.CHILDREN,
        position=site.position,
        delay=timeout,
        source=call.source,
    )


def _start(segment: Segment, call: FanOut, key: str) -> Routine[None]:
    parent, root = segment.run.id, segment.run.spec.root_id or segment.run.id
    runs = [
        replace(
            run,
            id=child_id(parent, key, index),
            parent_id=parent,
            parent_key=key,
            root_id=root,
        )
        for index, run in enumerate(call.build())
    ]
    for start in range(0, len(runs), BATCH):
        yield Io(partial(_start_batch, segment, runs[start : start + BATCH]))


def _start_batch(segment: Segment, runs: Sequence[NewRun]) -> None:
    created = segment.held.write(segment.patient.children.create, runs)
    of_creation(segment.engine, runs, created)


def _let_go(fan: _Fan) -> Routine[None]:
    """Cancel the children that close with their parent: it does not wait for them any more."""
    mark = step_keys.let_go(fan.site.key)
    if fan.segment.replay.recorded(mark) is not None:
        return
    yield from fan.segment.boundary(f"wait {fan.site.key!r}", fan.site)
    engine, parent = fan.segment.engine, fan.segment.run.id
    while (yield Io(partial(close, engine, parent, key=fan.site.key))):
        pass
    yield Io(partial(fan.record, mark, NULL))


def _results(fan: _Fan) -> Routine[list[object]]:
    """Return how the children ended; what is not recorded yet is recorded first."""
    chunks = list(_recorded(fan))
    entries = [entry for chunk in chunks for entry in chunk]
    if len(entries) < fan.call.size:
        yield from fan.segment.boundary(f"wait {fan.site.key!r}", fan.site)
    number = len(chunks)
    while len(entries) < fan.call.size:
        texts = yield Io(partial(_read, fan, len(entries)))
        if texts is None:
            yield from _start(fan.segment, fan.call, fan.site.key)
        if not texts:
            yield from _wait_again(fan)
        head = str(fan.call.size)
        for chunk in _chunks(texts, fan.segment.engine.config.payload_limit - len(head) - 2):
            text = list_text([head, *chunk])
            stored: Any = fan.segment.decode(text)
            yield Io(partial(fan.record, step_keys.result_chunk(number, fan.site.key), text))
            entries += stored[1:]
            number += 1
    return [_result(entry) for entry in entries]


def _recorded(fan: _Fan) -> Iterator[list[Any]]:
    number = 0
    while (chunk := fan.recorded(step_keys.result_chunk(number, fan.site.key))) is not None:
        size, *entries = chunk
        if size != fan.call.size:
            raise NonDeterminismError(
                f"{fan.site.key!r} starts {fan.call.size} runs in the code but {size} in the "
                "record of this run: what they are made of must be the same on each replay, "
                "so take it from steps or from the arguments"
            )
        yield entries
        number += 1


def _read(fan: _Fan, start: int) -> list[str] | None:
    """Return how some children ended, as text; nothing if one was started again meanwhile.

    None in a fork that got the wait of another run, which is over, but not its results.
    """
    ids = fan.ids(start)
    segment = fan.segment
    ends = segment.held.outlast(partial(segment.patient.children.ends, ids))
    missing = [run_id for run_id in ids if run_id not in ends]
    if missing == ids and not start and segment.run.spec.copied_from_id is not None:
        return None
    if missing:
        raise NonDeterminismError(
            f"{fan.site.key!r} starts {fan.call.size} runs in the code, but run {missing[0]} was "
            "never started, or was deleted: what they are made of must be the same on each replay"
        )
    if not all(end.state.terminal for end in ends.values()):
        return []
    return [_entry(segment.engine.codec, ends, run_id) for run_id in ids]


def _wait_again(fan: _Fan) -> Routine[None]:
    """Wait once more: a person retried a child before the parent had taken its failure."""
    key = step_keys.wait_again(fan.segment.lease.fence, fan.site.key)
    yield from fan.segment.leaving.park(_wait(fan.call, fan.site, key, None), key)


def _entry(codec: Codec, ends: Mapping[UUID, ChildEnd], run_id: UUID) -> str:
    """Return one entry: the stored result alone, or whose failure it is, its kind and message."""
    end = ends[run_id]
    if end.state is RunState.COMPLETED:
        return list_text([end.output or NULL])
    failure = None if end.error is None else from_text(end.error)
    ended = (end.state.value, "") if failure is None else (failure.kind, failure.message)
    return codec.encode([str(run_id), *ended])


def _chunks(texts: Sequence[str], limit: int) -> Iterator[list[str]]:
    """Yield the texts in groups of at most ``limit`` bytes with their commas, or of one."""
    chunk: list[str] = []
    room = limit
    for text in texts:
        if chunk and len(text) + 1 > room:
            yield chunk
            chunk, room = [], limit
        chunk.append(text)
        room -= len(text) + 1
    if chunk:
        yield chunk


def _result(entry: Sequence[Any]) -> object:
    if len(entry) == 1:
        return entry[0]
    run_id, kind, message = entry
    return ChildRunFailed(UUID(run_id), kind, message)
