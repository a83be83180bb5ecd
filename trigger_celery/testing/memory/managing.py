"""What a person asks of one run, in the in-memory store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from trigger_celery.errors import RunNotFound
from trigger_celery.testing.memory.tables import Core, nudge
from trigger_celery.vocabulary import lifecycle
from trigger_celery.vocabulary.records import (
    FailedAttempt,
    Holds,
    Nudge,
    RecordedCall,
    Run,
    StepKind,
)
from trigger_celery.vocabulary.states import WaitState

_OPEN = (WaitState.WAITING, WaitState.CANCELED)


class MemoryManaging:
    """Implements :class:`trigger_celery.ports.Managing`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def pause(self, run_id: UUID, details: Mapping[str, str]) -> bool:
        with self._core.transactions.own():
            run = self._found(run_id)
            after = lifecycle.pause(run, self._core.now())
            if run.paused_at is None:
                self._change(after, "pause", details)
            return run.paused_at is None

    def resume(self, run_id: UUID, details: Mapping[str, str]) -> Nudge | None:
        with self._core.transactions.own():
            run = self._found(run_id)
            if run.paused_at is None or run.state.terminal:
                return None
            now, patience = self._core.now(), self._core.nudge_interval
            after = lifecycle.resume(run, now, nudge_interval=patience)
            return self._change(after, "resume", details)

    def reschedule(
        self,
        run_id: UUID,
        details: Mapping[str, str],
        *,
        delay: timedelta = timedelta(0),
        available_at: datetime | None = None,
    ) -> Nudge:
        with self._core.transactions.own():
            run, now = self._found(run_id), self._core.now()
            start = available_at or now + delay
            patience = self._core.nudge_interval
            after = lifecycle.reschedule(run, start, now, nudge_interval=patience)
            return self._change(after, "reschedule", {"start": start.isoformat(), **details})

    def recorded_calls(self, run_id: UUID) -> Sequence[RecordedCall]:
        with self._core.lock:
            return tuple({call.key: call for call in self._recorded_calls(run_id)}.values())

    def _recorded_calls(self, run_id: UUID) -> Iterator[RecordedCall]:
        first: dict[str, datetime] = {}
        kept: dict[str, FailedAttempt] = {}
        for row in self._core.tables.failures:
            if row.run_id == run_id and row.failed.key:
                first.setdefault(row.failed.key, row.failed.span.started_at)
                if row.failed.holds is Holds.ALWAYS:
                    kept[row.failed.key] = row.failed
        for key, began_at in first.items():
            failed = kept.get(key)
            yield RecordedCall(
                key=key,
                kind=StepKind.STEP if failed is None else failed.kind,
                position=None if failed is None else failed.position,
                is_over=failed is not None,
                began_at=began_at,
                ended_at=None if failed is None else failed.span.ended_at,
            )
        for step in self._core.tables.checkpoints.get(run_id, {}).values():
            yield RecordedCall(
                key=step.key,
                kind=step.kind,
                position=step.position,
                is_over=True,
                began_at=first.get(step.key, step.span.started_at),
                ended_at=step.span.ended_at,
            )
        for wait in self._core.waits_of(run_id):
            if wait.wait.kind is not StepKind.RETRY:
                yield RecordedCall(
                    key=wait.wait.key,
                    kind=wait.wait.kind,
                    position=wait.wait.position,
                    is_over=wait.state not in _OPEN,
                )

    def copy(self, source_id: UUID, run_id: UUID, keys: Sequence[str]) -> None:
        wanted = frozenset(keys)

        def write() -> None:
            tables = self._core.tables
            steps = tables.checkpoints.get(source_id, {})
            tables.checkpoints[run_id] = {key: steps[key] for key in steps if key in wanted}
            for wait in list(self._core.waits_of(source_id)):
                if wait.wait.key in wanted:
                    tables.last_sequence += 1
                    copied = replace(wait, id=tables.last_sequence, run_id=run_id)
                    tables.waits[copied.id] = copied
            tables.failures += [
                replace(row, run_id=run_id, counted=False)
                for row in tables.failures
                if row.run_id == source_id
                and row.failed.key in wanted
                and row.failed.holds is Holds.ALWAYS
            ]
            row = tables.runs[run_id]
            tables.runs[run_id] = replace(row, run=replace(row.run, fence=1))

        with self._core.lock:
            self._core.transactions.write(write)

    def _found(self, run_id: UUID) -> Run:
        row = self._core.tables.runs.get(run_id)
        if row is None:
            raise RunNotFound(f"no run has the id {run_id}")
        return row.run

    def _change(self, run: Run, verb: str, details: Mapping[str, str]) -> Nudge:
        self._core.change(run)
        self._core.note(run, verb, **details)
        return nudge(run)
