"""Idempotency and debounce keys, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from trigger_celery.vocabulary import lifecycle
from trigger_celery.vocabulary.records import FREES, HeldKey, KeyPurpose, NewKey, PushBack
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django import models
from trigger_celery_django.store.common import changes
from trigger_celery_django.store.common.guard import Guard
from trigger_celery_django.store.common.rows import (
    noted,
    read_now,
    replace_tags,
    run_record,
    tags_text,
    upsert,
)

_BATCH = 500


class DjangoKeys:
    """Implements :class:`trigger_celery.ports.Keys`."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._alias = guard.alias

    def hold(self, keys: Sequence[NewKey]) -> Sequence[HeldKey]:
        def work() -> Sequence[HeldKey]:
            held: list[HeldKey] = []
            now = read_now(self._guard.connection)
            for start in range(0, len(keys), _BATCH):
                held += self._hold(keys[start : start + _BATCH], now)
            return held

        return self._guard.joining(work)

    def take(self, key: NewKey) -> None:
        held = self._keys().filter(purpose=key.purpose, task=key.task, digest=key.digest)
        self._guard.joining(lambda: held.update(**_holder(key, read_now(self._guard.connection))))

    def drop(self, run_ids: Collection[UUID]) -> None:
        ids = list(run_ids)

        def work() -> None:
            for start in range(0, len(ids), _BATCH):
                self._keys().filter(run__in=ids[start : start + _BATCH]).delete()

        self._guard.joining(work)

    def reset(self, purpose: KeyPurpose, task: str, digest: str) -> bool:
        key = self._keys().filter(purpose=purpose, task=task, digest=digest)
        return bool(self._guard.joining(lambda: key.delete()[0]))

    def push_back(self, push: PushBack) -> bool:
        return self._guard.joining(lambda: self._push_back(push))

    def _push_back(self, push: PushBack) -> bool:
        locked = models.Run.objects.using(self._alias).select_for_update()
        run = locked.filter(pk=push.run_id, state=RunState.QUEUED, started_at=None).first()
        if run is None:
            return False
        now = read_now(self._guard.connection)
        after = lifecycle.push_back(run_record(run), push, now)
        if after is None:
            return False
        if push.replace:
            run.input, run.metadata, run.tags = push.input, push.metadata, tags_text(push.tags)
            replace_tags(self._alias, run.pk, push.tags)
        changes.save(self._alias, run, after, "input", "tags", "metadata")
        noted(run, "push back").save(using=self._alias, force_insert=True)
        return True

    def _hold(self, keys: Sequence[NewKey], now: datetime) -> list[HeldKey]:
        """Insert the keys or lock the rows that are there, in one statement; then judge these."""
        self._insert(keys, now, over=["digest"])
        rows = {
            (row.purpose, row.task, row.digest): row
            for row in self._keys().filter(
                task__in={key.task for key in keys}, digest__in=[key.digest for key in keys]
            )
        }
        found = [rows[key.purpose, key.task, key.digest] for key in keys]
        taken = self._take_free(keys, found, now)
        return [
            HeldKey(run_id=key.run_id, input_digest=key.input_digest)
            if key in taken
            else HeldKey(run_id=row.run_id, input_digest=row.input_digest)
            for key, row in zip(keys, found, strict=True)
        ]

    def _take_free(
        self, keys: Sequence[NewKey], found: Sequence[models.RunKey], now: datetime
    ) -> set[NewKey]:
        """Give the caller those keys whose run lets go of them."""
        others = [
            (key, row) for key, row in zip(keys, found, strict=True) if row.run_id != key.run_id
        ]
        live = self._live([row for _, row in others], now)
        taken = [key for key, row in others if row.pk not in live]
        if taken:
            self._insert(taken, now, over=[*_holder(taken[0], now)])
        return set(taken)

    def _insert(self, keys: Sequence[NewKey], now: datetime, *, over: list[str]) -> None:
        """Insert the keys; of those that are there already replace these columns."""
        rows = [_row(key, now) for key in keys]
        upsert(self._alias, rows, unique=("purpose", "task", "digest"), over=over)

    def _live(self, rows: Sequence[models.RunKey], now: datetime) -> set[int]:
        """Return which of these keys are held by their runs.

        What looks free is read once more under locks: with snapshots that last as long as the
        caller's transaction the first look may be older than the lock of the key.
        """
        rows = [row for row in rows if row.expires_at is None or row.expires_at > now]
        live = self._holding(rows, models.Run.objects.using(self._alias).all())
        free = [row for row in rows if row.pk not in live]
        locked = models.Run.objects.using(self._alias).select_for_update()
        return live | self._holding(free, locked)

    def _holding(self, rows: Sequence[models.RunKey], runs: Any) -> set[int]:
        if not rows:
            return set()
        states = {
            pk: (state, state == RunState.QUEUED and started_at is None)
            for pk, state, started_at in runs.filter(
                pk__in=[row.run_id for row in rows]
            ).values_list("pk", "state", "started_at")
        }
        held = set()
        for row in rows:
            state, waiting = states.get(row.run_id, (None, False))
            if row.purpose == KeyPurpose.DEBOUNCE:
                holds = waiting
            else:
                holds = state is not None and state not in FREES
            if holds:
                held.add(row.pk)
        return held

    def _keys(self) -> Any:
        return models.RunKey.objects.using(self._alias)


def _row(key: NewKey, now: datetime) -> models.RunKey:
    return models.RunKey(
        purpose=key.purpose, task=key.task, digest=key.digest, key=key.key, **_holder(key, now)
    )


def _holder(key: NewKey, now: datetime) -> dict[str, Any]:
    """Return the columns that change with the run that holds a key."""
    return {
        "run_id": key.run_id,
        "input_digest": key.input_digest,
        "created_at": now,
        "expires_at": None if key.ttl is None else now + key.ttl,
    }
