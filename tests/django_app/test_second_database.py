"""Runs in another database than the caller's rows: ``*_on_commit`` follows the caller's commit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import current_app
from django.core.checks import CheckMessage
from django.db import transaction

from support.databases import CHOSEN, alias_of
from testproject.shop.models import Effect
from trigger_celery import durable_task, get_run
from trigger_celery.client.access import using_engine
from trigger_celery_django.checks import check_setup
from trigger_celery_django.models import Run
from trigger_celery_django.store import DjangoStore
from trigger_celery_django.wiring import build_engine

SECOND = alias_of("sqlite" if CHOSEN != "sqlite" else "postgres")
SERVICES = () if CHOSEN != "sqlite" else ("postgres",)
both = [
    pytest.mark.django_db(databases=["default", SECOND], transaction=True),
    pytest.mark.requires(*SERVICES),
]


class Router:
    """Writes runs to the second database."""

    def db_for_write(self, model: type[Any], **hints: object) -> str | None:
        return SECOND if model._meta.app_label == "trigger_celery" else None

    db_for_read = db_for_write


@durable_task(name="second-database")
def noted(number: int) -> int:
    return number


@pytest.fixture
def _second(settings: Any) -> Iterator[None]:
    settings.DATABASE_ROUTERS = [Router()]
    engine = build_engine()
    assert isinstance(engine.store, DjangoStore)
    assert engine.store.alias == SECOND
    with using_engine(engine):
        yield


def stored() -> int:
    return Run.objects.using(SECOND).count()


def use_second(test: Any) -> Any:
    for mark in (*both, pytest.mark.usefixtures("_second")):
        test = mark(test)
    return test


@use_second
def test_a_run_follows_the_commit_of_the_callers_database() -> None:
    with transaction.atomic():
        Effect.objects.create(run="second", step="row", n=1)
        noted.delay_on_commit(1)
        noted.apply_async_on_commit((2,), countdown=60)
        assert stored() == 0
    assert stored() == 2


@use_second
def test_a_run_is_not_created_if_the_callers_database_rolls_back() -> None:
    with transaction.atomic():
        noted.delay_on_commit(1)
        transaction.set_rollback(True)
    assert stored() == 0


@use_second
def test_an_eager_call_executes_its_run_after_the_commit_of_the_callers_database() -> None:
    current_app.conf.task_always_eager = True
    try:
        with transaction.atomic():
            result = noted.delay(1)
            assert Run.objects.using(SECOND).get().state == "queued"
    finally:
        current_app.conf.task_always_eager = False
    assert get_run(result.id).output == 1


@use_second
def test_of_two_transactions_the_last_one_counts() -> None:
    with transaction.atomic():
        with transaction.atomic(using=SECOND):
            noted.delay_on_commit(1)
        assert stored() == 0
    assert stored() == 1
    with transaction.atomic(using=SECOND):
        noted.delay_on_commit(2)
        assert stored() == 2, "a part of the caller's transaction"
        transaction.set_rollback(True, using=SECOND)
    assert stored() == 1


@use_second
def test_without_a_transaction_the_run_is_there_at_once() -> None:
    noted.delay_on_commit(1)
    assert stored() == 1


@use_second
def test_wrong_arguments_are_refused_by_the_call_and_not_by_the_commit() -> None:
    with transaction.atomic(), pytest.raises(TypeError, match="second-database"):
        noted.delay_on_commit(1, 2)


def test_a_second_database_is_warned_of(settings: Any) -> None:
    def found() -> list[CheckMessage]:
        return [each for each in check_setup() if each.id == "trigger_celery.W010"]

    assert found() == []
    settings.DATABASE_ROUTERS = [Router()]
    [message] = found()
    assert repr(SECOND) in message.msg
    assert "delay_on_commit()" in str(message.hint)
    assert not message.is_serious()
