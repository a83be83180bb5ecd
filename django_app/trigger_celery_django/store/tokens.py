"""Tokens that outside parties complete."""

from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import UUID

from django.db.models import Q

from trigger_celery.vocabulary.records import NewToken, StoredToken
from trigger_celery.vocabulary.states import TokenState
from trigger_celery_django import models
from trigger_celery_django.store.common import statement_counts
from trigger_celery_django.store.common.guard import Guard
from trigger_celery_django.store.common.tags import tags_text
from trigger_celery_django.store.common.times import DatabaseNow, aware, read_now


class DjangoTokens:
    """Implements :class:`trigger_celery.ports.Tokens`."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._alias = guard.alias

    def create(self, new: NewToken) -> StoredToken:
        """Insert it in the caller's transaction; one that exists is returned as it is.

        Errors of the database stay Django's own here: the transaction is the caller's.
        """
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
        with statement_counts.paused:
            tokens.bulk_create([row], ignore_conflicts=True)
            return self._record(tokens.get(pk=new.id))

    def get(self, token_id: UUID) -> StoredToken | None:
        """Return the token, or None."""
        tokens = models.Token.objects.using(self._alias).filter(pk=token_id)

        def read() -> StoredToken | None:
            row = tokens.first()
            return None if row is None else self._record(row)

        return self._guard.read(read)

    def close(
        self, token_id: UUID, state: TokenState, *, value: str | None = None, by: str = ""
    ) -> bool:
        """Close it in the caller's transaction; False if it is closed or its time is over."""
        alive = Q(expires_at=None) | Q(expires_at__gt=DatabaseNow())
        tokens = models.Token.objects.using(self._alias).filter(
            alive, pk=token_id, state=TokenState.WAITING
        )
        with statement_counts.paused:
            return bool(
                tokens.update(state=state, value=value, closed_at=DatabaseNow(), closed_by=by)
            )

    def waits(self, token_id: UUID, *, after: int, limit: int) -> Sequence[int]:
        """Return the ids of open waits on the token that are over ``after``, by id."""
        waits = models.Wait.objects.using(self._alias).filter(token=token_id, pk__gt=after).open()
        ids = waits.order_by("pk").values_list("pk", flat=True)
        return self._guard.read(lambda: list(ids[:limit]))

    def settled(self, token_id: UUID) -> None:
        """Note that all waits that were open when the token was closed have ended."""
        tokens = models.Token.objects.using(self._alias).filter(pk=token_id, settled_at=None)
        self._guard.statement(lambda _: tokens.update(settled_at=DatabaseNow()))

    def unsettled(self, *, limit: int) -> Sequence[UUID]:
        """Return closed tokens that are not noted as settled, first the one closed first."""
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
