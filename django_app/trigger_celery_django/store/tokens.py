"""Tokens that outside parties complete, and open waits as a person looks at them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Q

from trigger_celery.errors import InvalidTime, WaitNotFound
from trigger_celery.vocabulary.records import NewToken, Nudge, OpenWait, StepKind, StoredToken
from trigger_celery.vocabulary.states import RunState, TokenState, WaitState
from trigger_celery_django import models
from trigger_celery_django.store.common.guard import Guard
from trigger_celery_django.store.common.rows import DatabaseNow, aware, noted, read_now, tags_text
from trigger_celery_django.store.portable import waits as portable_waits


class DjangoOpenWaits:
    """Implements :class:`trigger_celery.ports.OpenWaits`. Each wait is locked after its run."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._alias = guard.alias

    def find(
        self, *, run_id: UUID | None = None, kind: str = "", after: int = 0, limit: int
    ) -> Sequence[OpenWait]:
        waits = models.Wait.objects.using(self._alias).open().filter(pk__gt=after)
        if run_id is not None:
            waits = waits.filter(run=run_id)
        if kind:
            waits = waits.filter(kind=kind)
        rows = waits.select_related("run").order_by("pk")[:limit]
        return self._guard.read(lambda: [_open_wait(row) for row in rows])

    def get(self, wait_id: int) -> OpenWait | None:
        waits = models.Wait.objects.using(self._alias).open().select_related("run")
        row = self._guard.read(waits.filter(pk=wait_id).first)
        return None if row is None else _open_wait(row)

    def end(
        self,
        wait_id: int,
        state: WaitState,
        record: Mapping[str, str] | None = None,
        *,
        value: str | None = None,
    ) -> Nudge | None:
        def end(run: models.Run, wait: models.Wait) -> Nudge | None:
            verb = "complete wait" if state is WaitState.COMPLETED else "skip wait"
            noted(run, verb, key=wait.key, **record or {}).save(using=self._alias)
            nudges = portable_waits.conclude(self._alias, [run.pk], [wait_id], state, value)
            return next(iter(nudges), None)

        run_id = self._run_of(wait_id)
        return self._guard.transaction(lambda: end(*self._locked(run_id, wait_id)))

    def extend(
        self, wait_id: int, delay: timedelta, record: Mapping[str, str] | None = None
    ) -> OpenWait:
        def extend(run: models.Run, wait: models.Wait) -> OpenWait:
            if wait.due_at is None:
                raise InvalidTime(f"wait {wait_id} has no end that could be put off")
            wait.due_at = aware(wait.due_at) + delay
            wait.save(using=self._alias, update_fields=["due_at"])
            self._reschedule(run)
            if wait.token_id is not None:
                self._keep(wait.token_id, wait.due_at)
            until = wait.due_at.isoformat()
            entry = noted(run, "extend wait", key=wait.key, until=until, **record or {})
            entry.save(using=self._alias)
            wait.run = run
            return _open_wait(wait)

        run_id = self._run_of(wait_id)
        return self._guard.transaction(lambda: extend(*self._locked(run_id, wait_id)))

    def _run_of(self, wait_id: int) -> UUID:
        # Read before the transaction, whose snapshot must not begin before it has its locks.
        wait = self.get(wait_id)
        if wait is None:
            raise _missing(wait_id)
        return wait.run_id

    def _locked(self, run_id: UUID, wait_id: int) -> tuple[models.Run, models.Wait]:
        run = models.Run.objects.using(self._alias).select_for_update().get(pk=run_id)
        waits = models.Wait.objects.using(self._alias).open().select_for_update()
        wait = waits.filter(pk=wait_id).first()
        if wait is None:
            raise _missing(wait_id)
        return run, wait

    def _reschedule(self, run: models.Run) -> None:
        """Let the run be due with its first wait again, unless a look at its waits comes first."""
        waits = models.Wait.objects.using(self._alias).filter(run=run)
        if run.state == RunState.SUSPENDED and not waits.open().filter(looked=False).exists():
            run.due_at = portable_waits.first_due(waits)
            run.save(using=self._alias, update_fields=["due_at"])

    def _keep(self, token_id: UUID, until: datetime) -> None:
        """Let an open token live until then, if its time ends before."""
        tokens = models.Token.objects.using(self._alias)
        tokens.filter(pk=token_id, state=TokenState.WAITING, expires_at__lt=until).update(
            expires_at=until
        )


def _missing(wait_id: int) -> WaitNotFound:
    return WaitNotFound(f"no open wait has the id {wait_id}: it may have ended by now")


def _open_wait(row: models.Wait) -> OpenWait:
    return OpenWait(
        id=row.pk,
        run_id=row.run_id,
        task=row.run.task,
        key=row.key,
        kind=StepKind(row.kind),
        name=row.name,
        token_id=row.token_id,
        due_at=None if row.due_at is None else aware(row.due_at),
        source=row.source,
    )


class DjangoTokens:
    """Implements :class:`trigger_celery.ports.Tokens`."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._alias = guard.alias

    def create(self, new: NewToken) -> StoredToken:
        row = models.Token(
            id=new.id,
            state=TokenState.WAITING,
            schema=new.schema,
            tags=tags_text(new.tags),
            run_id=new.run_id,
            created_at=DatabaseNow(),
            expires_at=None if new.timeout is None else DatabaseNow() + new.timeout,
        )
        tokens = models.Token.objects.using(self._alias)

        def create() -> StoredToken:
            tokens.bulk_create([row], ignore_conflicts=True)
            return self._record(tokens.get(pk=new.id))

        return self._guard.joining(create)

    def get(self, token_id: UUID) -> StoredToken | None:
        tokens = models.Token.objects.using(self._alias).filter(pk=token_id)

        def read() -> StoredToken | None:
            row = tokens.first()
            return None if row is None else self._record(row)

        return self._guard.read(read)

    def close(
        self, token_id: UUID, state: TokenState, *, value: str | None = None, by: str = ""
    ) -> bool:
        alive = Q(expires_at=None) | Q(expires_at__gt=DatabaseNow())
        tokens = models.Token.objects.using(self._alias).filter(
            alive, pk=token_id, state=TokenState.WAITING
        )
        closed = {"state": state, "value": value, "closed_at": DatabaseNow(), "closed_by": by}
        return bool(self._guard.joining(lambda: tokens.update(**closed)))

    def waits(self, token_id: UUID, *, after: int, limit: int) -> Sequence[int]:
        waits = models.Wait.objects.using(self._alias).filter(token=token_id, pk__gt=after).open()
        ids = waits.order_by("pk").values_list("pk", flat=True)
        return self._guard.read(lambda: list(ids[:limit]))

    def settled(self, token_id: UUID) -> None:
        tokens = models.Token.objects.using(self._alias).filter(pk=token_id, settled_at=None)
        self._guard.statement(lambda _: tokens.update(settled_at=DatabaseNow()))

    def unsettled(self, *, limit: int) -> Sequence[UUID]:
        tokens = models.Token.objects.using(self._alias).filter(
            settled_at=None, closed_at__isnull=False
        )
        ids = tokens.order_by("closed_at").values_list("pk", flat=True)
        return self._guard.read(lambda: list(ids[:limit]))

    def _record(self, row: models.Token) -> StoredToken:
        return StoredToken(
            id=row.pk,
            state=TokenState(row.state),
            schema=row.schema,
            tags=tuple(json.loads(row.tags)) if row.tags else (),
            value=row.value,
            run_id=row.run_id,
            created_at=aware(row.created_at),
            expires_at=None if row.expires_at is None else aware(row.expires_at),
            closed_at=None if row.closed_at is None else aware(row.closed_at),
            closed_by=row.closed_by,
            read_at=read_now(self._guard.connection),
        )
