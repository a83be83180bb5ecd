"""What a person asks of one run, and of what failed for good, in the in-memory store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime, timedelta
from uuid import UUID

from trigger_celery.errors import RunNotFound
from trigger_celery.testing.memory.tables import Core, nudge
from trigger_celery.vocabulary import dead_letter_groups, lifecycle
from trigger_celery.vocabulary.records import (
    DeadLetter,
    DeadLetterFilter,
    DeadLetterGroup,
    DeadLetterOutline,
    DeadLetterPosition,
    FailedAttempt,
    GroupFilter,
    GroupPosition,
    Holds,
    Ignore,
    Nudge,
    RecordedCall,
    Run,
    StepKind,
    Tally,
    Uncounted,
)
from trigger_celery.vocabulary.states import DeadLetterState, WaitState

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


_OUTLINE = tuple(field.name for field in fields(DeadLetterOutline))


class MemoryDeadLetters:
    """Implements :class:`trigger_celery.ports.DeadLetters`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def get(self, run_id: UUID) -> DeadLetter | None:
        with self._core.lock:
            return self._core.tables.dead_letters.get(run_id)

    def find(
        self, wanted: DeadLetterFilter, *, after: DeadLetterPosition | None = None, limit: int
    ) -> Sequence[DeadLetterOutline]:
        with self._core.lock:
            found = [
                _outline(each)
                for each in self._core.tables.dead_letters.values()
                if _is_wanted(each, wanted)
                and set(wanted.tags) <= set(self._core.tables.runs[each.run_id].run.spec.tags)
                and (after is None or _place(each) < (after.last_seen_at, after.run_id))
            ]
        return sorted(found, key=_place, reverse=True)[:limit]

    def discard(self, run_id: UUID, details: Mapping[str, str]) -> bool:
        with self._core.transactions.own():
            if run_id not in self._core.tables.runs:
                raise RunNotFound(f"no run has the id {run_id}")
            if not self._is_open(run_id):
                return False
            self._core.settle(run_id, DeadLetterState.DISCARDED, details)
            self._core.note(self._core.tables.runs[run_id].run, "discard", **details)
            return True

    def hand_on(self, run_id: UUID, details: Mapping[str, str]) -> bool:
        def write() -> None:
            self._core.settle(run_id, DeadLetterState.RETRIED, details)

        with self._core.lock:
            is_open = self._is_open(run_id)
            if is_open:
                self._core.transactions.write(write)
            return is_open

    def _is_open(self, run_id: UUID) -> bool:
        found = self._core.tables.dead_letters.get(run_id)
        return found is not None and found.state is DeadLetterState.OPEN

    def tally(self, *, limit: int) -> Tally:
        with self._core.transactions.own():
            tables = self._core.tables
            changes = [
                Uncounted(dead_letter=each, counted=tables.counted.get(each.run_id))
                for each in tables.dead_letters.values()
                if tables.counted.get(each.run_id) != dead_letter_groups.counted(each)
            ][:limit]
            after, found = dead_letter_groups.tally(tables.groups, changes, self._core.now())
            tables.groups = {group.fingerprint: group for group in after}
            for each in changes:
                tables.counted[each.dead_letter.run_id] = dead_letter_groups.counted(
                    each.dead_letter
                )
            return found

    def groups(
        self, wanted: GroupFilter, *, after: GroupPosition | None = None, limit: int
    ) -> Sequence[DeadLetterGroup]:
        with self._core.lock:
            found = [
                group
                for group in self._core.tables.groups.values()
                if (not wanted.states or group.state in wanted.states)
                and (not wanted.kinds or group.kind in wanted.kinds)
                and (wanted.since is None or group.last_seen_at >= wanted.since)
                and (wanted.until is None or group.last_seen_at < wanted.until)
                and (after is None or _rank(group) < (after.last_seen_at, after.fingerprint))
            ]
        return sorted(found, key=_rank, reverse=True)[:limit]

    def group(self, fingerprint: str) -> DeadLetterGroup | None:
        with self._core.lock:
            return self._core.tables.groups.get(fingerprint)

    def groups_beginning_with(self, digits: str, *, limit: int) -> Sequence[str]:
        with self._core.lock:
            return sorted(name for name in self._core.tables.groups if name.startswith(digits))[
                :limit
            ]

    def ignore(
        self, fingerprint: str, ignore: Ignore | None, details: Mapping[str, str]
    ) -> DeadLetterGroup | None:
        with self._core.transactions.own():
            groups = self._core.tables.groups
            if fingerprint not in groups:
                return None
            group = groups[fingerprint]
            groups[fingerprint] = dead_letter_groups.looked_at(group, ignore, details)
            return groups[fingerprint]


def _outline(dead_letter: DeadLetter) -> DeadLetterOutline:
    return DeadLetterOutline(**{name: getattr(dead_letter, name) for name in _OUTLINE})


def _is_wanted(dead_letter: DeadLetter, wanted: DeadLetterFilter) -> bool:
    return (
        (not wanted.states or dead_letter.state in wanted.states)
        and (not wanted.tasks or dead_letter.task in wanted.tasks)
        and wanted.queue in ("", dead_letter.queue)
        and wanted.group in ("", dead_letter.group)
        and (not wanted.kinds or dead_letter.cause.kind in wanted.kinds)
        and (wanted.since is None or dead_letter.last_seen_at >= wanted.since)
        and (wanted.until is None or dead_letter.last_seen_at < wanted.until)
        and (wanted.returns_below is None or dead_letter.returns < wanted.returns_below)
    )


def _place(dead_letter: DeadLetterOutline) -> tuple[object, ...]:
    return dead_letter.last_seen_at, dead_letter.run_id


def _rank(group: DeadLetterGroup) -> tuple[object, ...]:
    return group.last_seen_at, group.fingerprint
