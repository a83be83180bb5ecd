"""The clock of the database is set back, or differs from that of this process."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import F

from support.databases import alias_of, every_database
from trigger_celery.engine.process.skew import clock_skew
from trigger_celery.testing.contract.tools import (
    admitted,
    ask,
    asked,
    begun,
    end,
    enter_all,
    limit,
    queued,
)
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import NewRun
from trigger_celery_django import models
from trigger_celery_django.checks import check_clocks
from trigger_celery_django.store import DjangoStore

MINUTE = timedelta(minutes=1)
WHEN = ("created_at", "available_at", "due_at", "paused_at")


def set_back(store: DjangoStore) -> None:
    """Set the clock back by a minute, as the rows see it."""
    runs = models.Run.objects.using(store.alias)
    runs.update(**{name: F(name) + MINUTE for name in WHEN})


@pytest.mark.parametrize("name", every_database(transaction=True))
def test_a_run_without_a_delay_starts_though_the_clock_was_set_back(name: str) -> None:
    store = DjangoStore(alias_of(name))
    run_id = queued(store)
    set_back(store)
    assert store.runs.claim(asked(run_id)) is not None


@pytest.mark.parametrize("name", every_database(transaction=True))
def test_a_run_with_a_delay_waits_until_the_clock_is_there(name: str) -> None:
    store = DjangoStore(alias_of(name))
    new = NewRun(id=new_id(), task="t", input="[[],{}]", delay=timedelta(seconds=1))
    store.runs.create([new])
    set_back(store)
    assert store.runs.claim(asked(new.id)) is None


@pytest.mark.parametrize("name", every_database(transaction=True))
def test_a_run_in_line_starts_though_the_clock_was_set_back(name: str) -> None:
    store = DjangoStore(alias_of(name))
    limit(store, concurrency=1)
    lease = begun(store)
    [run_id] = enter_all(store, 1)
    assert ask(store, run_id) is None
    set_back(store)
    end(store, lease)
    assert admitted(store) == [run_id]
    assert ask(store, run_id) is not None


@pytest.mark.parametrize("name", every_database(transaction=True))
def test_a_resumed_run_starts_though_the_clock_was_set_back_meanwhile(name: str) -> None:
    store = DjangoStore(alias_of(name))
    before, after = queued(store), queued(store)
    store.managing.pause(after, {})
    set_back(store)
    store.managing.pause(before, {})
    for run_id in (before, after):
        store.managing.resume(run_id, {})
        assert store.runs.claim(asked(run_id)) is not None


@pytest.mark.parametrize("name", every_database(transaction=True))
def test_a_delayed_run_that_was_paused_keeps_its_start(name: str) -> None:
    store = DjangoStore(alias_of(name))
    new = NewRun(id=new_id(), task="t", input="[[],{}]", delay=MINUTE)
    store.runs.create([new])
    store.managing.pause(new.id, {})
    store.managing.resume(new.id, {})
    assert store.runs.claim(asked(new.id)) is None


def test_the_fastest_of_several_readings_says_how_far_the_clocks_are_apart() -> None:
    start = datetime(2030, 1, 1, tzinfo=UTC)
    moments = iter([0.0, 9.0, 10.0, 10.2, 20.0, 29.0])
    answers = iter([7.0, 5.1, 3.0])
    skew = clock_skew(
        lambda: start + timedelta(seconds=next(answers)),
        lambda: start + timedelta(seconds=next(moments)),
    )
    assert skew == timedelta(seconds=5)


@pytest.mark.parametrize(("seconds", "says"), [(90, "90.0 s behind"), (-90, "90.0 s ahead of")])
@pytest.mark.django_db
def test_a_check_names_clocks_that_differ(
    monkeypatch: pytest.MonkeyPatch, seconds: int, says: str
) -> None:
    assert check_clocks(databases=["default"]) == []
    later = timedelta(seconds=seconds)
    monkeypatch.setattr(DjangoStore, "now", lambda store: datetime.now(UTC) + later)
    [message] = check_clocks(databases=["default"])
    assert message.id == "trigger_celery.W013"
    assert says in message.msg
    assert check_clocks(databases=[]) == []
