"""Moves the runs of one batch: few statements, however many runs; on any database."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import F, Q

from trigger_celery.vocabulary import bulk_changes
from trigger_celery.vocabulary.records import (
    BulkBatch,
    BulkKind,
    BulkOperation,
    Holds,
    NewRun,
    Nudge,
    Run,
    Standing,
    line_of,
)
from trigger_celery.vocabulary.states import DeadLetterState, WaitState
from trigger_celery_django import models
from trigger_celery_django.conf import config
from trigger_celery_django.store.common import changes, dead_letters
from trigger_celery_django.store.common.guard import Guard
from trigger_celery_django.store.common.rows import (
    RUN_COLUMNS,
    SPEC_COLUMNS,
    STATE_COLUMNS,
    DatabaseNow,
    insert,
    noted,
    run_of,
    upsert,
)
from trigger_celery_django.store.queues import slots
from trigger_celery_django.store.runs import DjangoRuns

_LONG = frozenset({"input", "output", "error", "metadata", "origin", "tags"})
"""Columns that may be long; only a rerun needs them."""
_SHORT = tuple(name for name in RUN_COLUMNS if name not in _LONG)
_GROUPS = 4
"""So many different changes of one batch are updates of their own; more are one statement."""


@dataclass(slots=True)
class _Moves:
    """The runs of a batch before and after, those that stand in line now, and those skipped."""

    pairs: list[tuple[Run, Run]] = field(default_factory=list)
    starting: list[Run] = field(default_factory=list)
    in_line: list[Run] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def ids(self) -> list[UUID]:
        return [after.id for _, after in self.pairs]


class Batches:
    """The statements of one batch, all in the caller's transaction."""

    def __init__(self, guard: Guard, runs: DjangoRuns) -> None:
        self._guard = guard
        self._alias = guard.alias
        self._runs = runs

    def move(
        self,
        operation: BulkOperation,
        ids: Sequence[UUID],
        *,
        limited: bool,
        error: str,
        copy: Callable[[Run], NewRun],
    ) -> BulkBatch:
        """Do to these runs what the operation does; ``limited`` says that limits may hold."""
        if not ids:
            return BulkBatch(operation=operation)
        moves = self._moves(operation, ids, error)
        if operation.kind is BulkKind.RERUN:
            copies = tuple(copy(source) for source, _ in moves.pairs)
            created = self._runs.create(copies)
            return _counted(operation, moves, copies=copies, created=created)
        if limited and moves.starting:
            self._find_lines(moves)
        self._write(operation, moves)
        return _counted(
            operation,
            moves,
            nudges=_nudges(operation, moves),
            lines=frozenset(line_of(run.spec.queue, run.task) for run in moves.in_line),
        )

    def _moves(self, operation: BulkOperation, ids: Sequence[UUID], error: str) -> _Moves:
        moves = _Moves()
        found = self._locked(ids, full=operation.kind is BulkKind.RERUN)
        for before, now in found:
            after = bulk_changes.changed(
                operation, before, now, nudge_interval=config().nudge_interval, error=error
            )
            if isinstance(after, str):
                moves.skipped[after] += 1
                continue
            moves.pairs.append((before, after))
            if bulk_changes.may_start_now(before, after, now):
                moves.starting.append(after)
        moves.skipped[bulk_changes.GONE] += len(ids) - len(found)
        return moves

    def _locked(self, ids: Sequence[UUID], *, full: bool) -> list[tuple[Run, datetime]]:
        """Lock the runs, in one order for all, and return them with the time."""
        names = RUN_COLUMNS if full else _SHORT
        rows = models.Run.objects.using(self._alias).filter(pk__in=ids).select_for_update()
        found = rows.order_by("pk").annotate(read_at=DatabaseNow()).values(*names, "read_at")
        return [
            (run_of([row.get(name, "") for name in RUN_COLUMNS]), row["read_at"]) for row in found
        ]

    def _find_lines(self, moves: _Moves) -> None:
        """Let those that limits hold for stand in line: nothing but an admission nudges them."""
        gates = {run.id: _standing(run).gates for run in moves.starting}
        limited = slots.limited_among(self._alias, {name for at in gates.values() for name in at})
        waits = {run_id for run_id, at in gates.items() if not limited.isdisjoint(at)}
        moves.pairs = [
            (before, replace(after, due_at=None) if after.id in waits else after)
            for before, after in moves.pairs
        ]
        moves.in_line = [after for _, after in moves.pairs if after.id in waits]
        moves.starting = [run for run in moves.starting if run.id not in waits]

    def _write(self, operation: BulkOperation, moves: _Moves) -> None:
        if not moves.pairs:
            return
        forgotten: Mapping[UUID, str] = {}
        extra: dict[str, Any] = {}
        if operation.kind is BulkKind.RETRY:
            forgotten = self._forget_the_ends(moves.ids, bulk_changes.record_of(operation))
            extra = {"attempts_after_fence": F("fence")}
        elif operation.kind is BulkKind.CANCEL:
            changes.cancel_waits(self._alias, moves.ids)
        self._save(moves.pairs, extra)
        if operation.kind is BulkKind.MOVE and moves.starting:
            left = [run.id for run in moves.starting]
            models.Slot.objects.using(self._alias).filter(pk__in=left, fence=None).delete()
        if moves.in_line:
            places = [_place(run) for run in moves.in_line]
            upsert(self._alias, places, unique=("run_id",), over=slots.PLACE)
        details = bulk_changes.record_of(operation)
        entries = []
        for _, after in moves.pairs:
            forgets = {"forgets": forgotten[after.id]} if after.id in forgotten else {}
            entries.append(noted(after, operation.kind, **details, **forgets))
        insert(self._alias, entries)

    def _forget_the_ends(
        self, ids: Collection[UUID], details: Mapping[str, str]
    ) -> Mapping[UUID, str]:
        """Make room for another life of runs, and return which steps each tries again."""
        tries = models.FailedAttempt.objects.using(self._alias).filter(
            Q(holds=Holds.LIFE) | Q(holds=Holds.ATTEMPT, run_attempt=F("run__attempt")),
            run__in=ids,
            fence__gt=F("run__attempts_after_fence"),
        )
        keys: dict[UUID, dict[str, None]] = defaultdict(dict)
        for run_id, key in tries.order_by("position", "pk").values_list("run_id", "key"):
            keys[run_id][key] = None
        waits = models.Wait.objects.using(self._alias).filter(run__in=ids)
        waits.filter(state=WaitState.CANCELED).delete()
        dead_letters.settle(self._alias, ids, DeadLetterState.RETRIED, details)
        return {run_id: ", ".join(of_run) for run_id, of_run in keys.items()}

    def _save(self, pairs: Sequence[tuple[Run, Run]], extra: Mapping[str, Any]) -> None:
        """Write what changed: runs that end up alike in one update."""
        columns = [name for name in _changed_columns(pairs) if name not in extra]
        alike: dict[tuple[object, ...], list[UUID]] = defaultdict(list)
        for _, after in pairs:
            alike[tuple(_value(after, name) for name in columns)].append(after.id)
        runs = models.Run.objects.using(self._alias)
        if len(alike) <= _GROUPS or extra:
            for values, ids in alike.items():
                changed = dict(zip(columns, values, strict=True))
                runs.filter(pk__in=ids).update(**changed, **extra)
            return
        rows = [
            models.Run(pk=after.id, **{name: _value(after, name) for name in columns})
            for _, after in pairs
        ]
        runs.bulk_update(rows, columns)


def _changed_columns(pairs: Sequence[tuple[Run, Run]]) -> list[str]:
    return [
        name
        for name in (*SPEC_COLUMNS, *STATE_COLUMNS)
        if any(_value(before, name) != _value(after, name) for before, after in pairs)
    ]


def _value(run: Run, name: str) -> object:
    return getattr(run.spec if name in SPEC_COLUMNS else run, name)


def _standing(run: Run) -> Standing:
    return Standing(
        run_id=run.id,
        queue=line_of(run.spec.queue, run.task),
        key=run.spec.concurrency_key,
        task=run.task,
        starts=run.started_at is None,
    )


def _place(run: Run) -> models.Slot:
    asks = _standing(run)
    return models.Slot(
        run_id=run.id, queue=asks.queue, key=asks.key, task=asks.task, line_at=run.line_at
    )


def _nudges(operation: BulkOperation, moves: _Moves) -> tuple[Nudge, ...]:
    ends = operation.kind is BulkKind.CANCEL
    named = [after for _, after in moves.pairs] if ends else moves.starting
    return tuple(Nudge(run_id=run.id, task=run.task, canvas=run.spec.canvas) for run in named)


def _counted(operation: BulkOperation, moves: _Moves, **said: Any) -> BulkBatch:
    skipped = operation.skipped
    for why, number in moves.skipped.items():
        skipped = bulk_changes.with_more(skipped, why, number)
    done = operation.done + len(moves.pairs)
    counted = replace(operation, done=done, skipped=skipped)
    return BulkBatch(operation=counted, moved=len(moves.pairs), **said)
