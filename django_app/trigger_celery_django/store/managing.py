"""What a person asks of one run, beyond canceling and retrying it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar
from uuid import UUID

from django.db.models import Min, Model

from trigger_celery.errors import RunNotFound
from trigger_celery.vocabulary import lifecycle
from trigger_celery.vocabulary.records import Holds, Nudge, RecordedCall, Run, StepKind
from trigger_celery.vocabulary.states import WaitState
from trigger_celery_django import models
from trigger_celery_django.conf import config
from trigger_celery_django.store.common import changes
from trigger_celery_django.store.common.guard import Guard
from trigger_celery_django.store.common.rows import noted, nudge, run_record

T = TypeVar("T")

_BATCH = 500
_OPEN = (WaitState.WAITING, WaitState.CANCELED)


class DjangoManaging:
    """Implements :class:`trigger_celery.ports.Managing`."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._alias = guard.alias

    def pause(self, run_id: UUID, details: Mapping[str, str]) -> bool:
        def change(run: models.Run, now: datetime) -> bool:
            before = run_record(run)
            after = lifecycle.pause(before, now)
            if before.paused_at is None:
                self._save(run, after, "pause", details)
            return before.paused_at is None

        return self._change(run_id, change)

    def resume(self, run_id: UUID, details: Mapping[str, str]) -> Nudge | None:
        def change(run: models.Run, now: datetime) -> Nudge | None:
            before = run_record(run)
            if before.paused_at is None or before.state.terminal:
                return None
            after = lifecycle.resume(before, now, nudge_interval=config().nudge_interval)
            return self._save(run, after, "resume", details)

        return self._change(run_id, change)

    def reschedule(
        self,
        run_id: UUID,
        details: Mapping[str, str],
        *,
        delay: timedelta = timedelta(0),
        available_at: datetime | None = None,
    ) -> Nudge:
        def change(run: models.Run, now: datetime) -> Nudge:
            start = available_at or now + delay
            after = lifecycle.reschedule(
                run_record(run), start, now, nudge_interval=config().nudge_interval
            )
            return self._save(run, after, "reschedule", {"start": start.isoformat(), **details})

        return self._change(run_id, change)

    def recorded_calls(self, run_id: UUID) -> Sequence[RecordedCall]:
        calls = self._guard.read(lambda: list(self._recorded_calls(run_id)))
        return tuple({call.key: call for call in calls}.values())

    def _recorded_calls(self, run_id: UUID) -> Iterator[RecordedCall]:
        failed = models.FailedAttempt.objects.using(self._alias).filter(run=run_id).exclude(key="")
        first = dict(failed.values("key").annotate(at=Min("started_at")).values_list("key", "at"))
        for key, at in first.items():
            yield RecordedCall(
                key=key, kind=StepKind.STEP, position=None, is_over=False, began_at=at
            )
        over = partial(RecordedCall, is_over=True)
        kept = failed.filter(holds=Holds.ALWAYS)
        for key, kind, position, at in kept.values_list("key", "kind", "position", "ended_at"):
            yield over(
                key=key,
                kind=StepKind(kind),
                position=position,
                began_at=first[key],
                ended_at=at,
            )
        steps = models.Checkpoint.objects.using(self._alias).filter(run=run_id)
        for key, kind, position, started_at, ended_at in steps.values_list(
            "key", "kind", "position", "started_at", "ended_at"
        ):
            yield over(
                key=key,
                kind=StepKind(kind),
                position=position,
                began_at=first.get(key, started_at),
                ended_at=ended_at,
            )
        waits = models.Wait.objects.using(self._alias).filter(run=run_id)
        for key, kind, position, state, created_at, resolved_at in waits.exclude(
            kind=StepKind.RETRY
        ).values_list("key", "kind", "position", "state", "created_at", "resolved_at"):
            yield RecordedCall(
                key=key,
                kind=StepKind(kind),
                position=position,
                is_over=state not in _OPEN,
                began_at=created_at,
                ended_at=resolved_at,
            )

    def copy(self, source_id: UUID, run_id: UUID, keys: Sequence[str]) -> None:
        """The values never leave the database."""

        def work() -> None:
            # A claim of a run that had a fence loads what is to be replayed.
            models.Run.objects.using(self._alias).filter(pk=run_id).update(fence=1)
            for start in range(0, len(keys), _BATCH):
                batch = keys[start : start + _BATCH]
                self._copy(models.Checkpoint, source_id, run_id, batch)
                self._copy(models.Wait, source_id, run_id, batch)
                self._copy(models.FailedAttempt, source_id, run_id, batch, "AND holds = 'always'")

        self._guard.joining(work)

    def _copy(
        self,
        model: type[Model],
        source_id: UUID,
        run_id: UUID,
        keys: Sequence[str],
        which: str = "",
    ) -> None:
        connection = self._guard.connection
        quote = connection.ops.quote_name
        fields = [f for f in model._meta.concrete_fields if not f.primary_key]
        columns = [quote(str(f.column)) for f in fields if f.name not in ("run", "fence")]
        fenced = any(field.name == "fence" for field in fields)
        names = ["run_id", *columns, *(["fence"] if fenced else [])]
        selected = ["%s", *columns, *(["0"] if fenced else [])]
        key = models.Run._meta.pk.get_db_prep_value
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {model._meta.db_table} ({', '.join(names)}) "
                f"SELECT {', '.join(selected)} FROM {model._meta.db_table} "
                f"WHERE run_id = %s AND {quote('key')} IN ({', '.join(['%s'] * len(keys))}) "
                f"{which}",
                [key(run_id, connection), key(source_id, connection), *keys],
            )

    def _change(self, run_id: UUID, change: Callable[[models.Run, datetime], T]) -> T:
        def known(run: models.Run | None, now: datetime) -> T:
            if run is None:
                raise RunNotFound(f"no run has the id {run_id}")
            return change(run, now)

        return changes.locked(self._guard, run_id, known)

    def _save(self, run: models.Run, after: Run, verb: str, details: Mapping[str, str]) -> Nudge:
        changes.save(self._alias, run, after)
        noted(run, verb, **details).save(using=self._alias, force_insert=True)
        return nudge(run)
