"""For tests: lets days pass in a database whose clock nobody can move."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.db.models import DateTimeField, ExpressionWrapper, F
from django.db.models.expressions import Combinable

from trigger_celery_django.models import (
    DurableQueue,
    Event,
    KeyRate,
    Run,
    RunKey,
    Schedule,
    Slot,
    Token,
    Wait,
)
from trigger_celery_django.store import DjangoStore


def advance(store: DjangoStore, delta: timedelta) -> None:
    """Move every time that the engine compares with the clock back by ``delta``.

    To the engine it is as if so much time had passed. Labels for people, such as those of
    steps and of the history, stay.
    """
    with transaction.atomic(using=store.alias):
        runs, waits = Run.objects.using(store.alias), Wait.objects.using(store.alias)
        runs.update(
            created_at=_earlier("created_at", delta),
            available_at=_earlier("available_at", delta),
            line_at=_earlier("line_at", delta),
            finished_at=_earlier("finished_at", delta),
            due_at=_earlier("due_at", delta),
            deadline_at=_earlier("deadline_at", delta),
        )
        RunKey.objects.using(store.alias).update(expires_at=_earlier("expires_at", delta))
        waits.update(due_at=_earlier("due_at", delta))
        times = ("next_at", "last_at", "buffered_at", "due_at")
        Schedule.objects.using(store.alias).update(
            **{time: _earlier(time, delta) for time in times}
        )
        Token.objects.using(store.alias).update(
            expires_at=_earlier("expires_at", delta), closed_at=_earlier("closed_at", delta)
        )
        DurableQueue.objects.using(store.alias).update(due_at=_earlier("due_at", delta))
        KeyRate.objects.using(store.alias).update(due_at=_earlier("due_at", delta))
        Slot.objects.using(store.alias).update(
            line_at=_earlier("line_at", delta), promised_at=_earlier("promised_at", delta)
        )
        Event.objects.using(store.alias).update(
            received_at=_earlier("received_at", delta), matched_at=_earlier("matched_at", delta)
        )


def _earlier(column: str, delta: timedelta) -> Combinable:
    return ExpressionWrapper(F(column) - delta, DateTimeField())
