"""For tests in your database: carries runs to their end, and lets days pass in it."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from django.db import transaction
from django.db.models import DateTimeField, ExpressionWrapper, F
from django.db.models.expressions import Combinable

from trigger_celery.client.access import installed_engine
from trigger_celery.engine.segment.outcome import Executed
from trigger_celery.errors import UsageError
from trigger_celery.testing import YEAR
from trigger_celery.testing import drain as drain_engine
from trigger_celery_django.models import (
    BulkOperation,
    DeadLetter,
    DeadLetterGroup,
    DurableQueue,
    Event,
    History,
    KeyRate,
    Run,
    RunKey,
    Schedule,
    Slot,
    SweepTurn,
    Token,
    Wait,
)
from trigger_celery_django.store import DjangoStore

_OF_BULK_OPERATIONS = ("until", "cursor_at", "created_at", "ended_at")


def drain(max_virtual_time: timedelta = YEAR) -> list[Executed]:
    """Execute and sweep in the project's database until every run has ended or waits for ever.

    Does what workers, beat and time would do, in this thread and transaction, so that a plain
    ``TestCase`` will do. Time passes by :func:`advance`, only when nothing else is left to do
    and by ``max_virtual_time`` at most; zero does what is possible now. Returns what became of
    each segment, in order. Raises ``UnknownTask`` for a run whose task this process does not
    know, and ``UsageError`` if another engine is installed, such as a harness's.
    """
    engine = installed_engine()
    store = engine.store
    if not isinstance(store, DjangoStore):
        raise UsageError(f"expected runs to be in Django's database, got the store: {store!r}")
    unpublished = Run.objects.using(store.alias).filter(published_at=None)
    return drain_engine(
        engine,
        open_runs=lambda: list(unpublished.values_list("id", flat=True)),
        advance=partial(advance, store),
        max_virtual_time=max_virtual_time,
    )


def advance(store: DjangoStore, delta: timedelta) -> None:
    """Move every time that the engine compares with the clock back by ``delta``.

    To the engine it is as if so much time had passed. Labels for people, such as those of
    steps, stay.
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
        History.objects.using(store.alias).update(at=_earlier("at", delta))
        BulkOperation.objects.using(store.alias).update(
            **{time: _earlier(time, delta) for time in _OF_BULK_OPERATIONS}
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
        SweepTurn.objects.using(store.alias).update(until_at=_earlier("until_at", delta))
        KeyRate.objects.using(store.alias).update(due_at=_earlier("due_at", delta))
        Slot.objects.using(store.alias).update(
            line_at=_earlier("line_at", delta), promised_at=_earlier("promised_at", delta)
        )
        _advance_dead_letters(store.alias, delta)
        Event.objects.using(store.alias).update(
            received_at=_earlier("received_at", delta), matched_at=_earlier("matched_at", delta)
        )


def _advance_dead_letters(alias: str, delta: timedelta) -> None:
    seen = {name: _earlier(name, delta) for name in ("first_seen_at", "last_seen_at")}
    DeadLetter.objects.using(alias).update(**seen)
    DeadLetterGroup.objects.using(alias).update(
        **seen, ignore_until=_earlier("ignore_until", delta)
    )


def _earlier(column: str, delta: timedelta) -> Combinable:
    return ExpressionWrapper(F(column) - delta, DateTimeField())
