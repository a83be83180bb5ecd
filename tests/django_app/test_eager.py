"""Under ``task_always_eager`` a call executes its run in the caller, and the run is stored."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import chain, current_app, shared_task
from django.db import transaction
from pytest_django import DjangoCaptureOnCommitCallbacks

from trigger_celery import durable_task, get_run, sleep, step
from trigger_celery.celery import dispatcher
from trigger_celery.client.access import installed_engine
from trigger_celery.vocabulary.records import Limits
from trigger_celery_django.models import Run
from trigger_celery_django.testing import drain

pytestmark = pytest.mark.django_db
LOG: list[Any] = []


@step
def double(number: int) -> int:
    LOG.append(number)
    return number * 2


@durable_task(name="eager-doubled")
def doubled(number: int) -> int:
    if number < 0:
        raise LookupError("negative")
    return double(number)


async def double_later(number: int) -> int:
    LOG.append(number)
    return number * 2


@durable_task(name="eager-async")
async def doubled_async(number: int) -> int:
    return await double_later(number)


@durable_task(name="eager-waiting", bind=True)
def waiting(self: Any, number: int) -> Any:
    sleep(timedelta(days=1))
    return [self.request.id, double(number)]


@shared_task(name="eager-plain")
def plain(number: int) -> int:
    return number + 1


@pytest.fixture(autouse=True)
def _eager() -> Iterator[None]:
    LOG.clear()
    conf = current_app.conf
    before = conf.task_always_eager, conf.task_eager_propagates
    conf.task_always_eager, conf.task_eager_propagates = True, False
    yield
    conf.task_always_eager, conf.task_eager_propagates = before


def test_a_call_executes_its_run_and_returns_its_result() -> None:
    result = doubled.delay(4)
    assert (result.state, result.get()) == ("SUCCESS", 8)
    run = get_run(result.id)
    assert (run.state, run.output, run.attempt) == ("completed", 8, 1)
    assert doubled_async.apply_async([5]).get() == 10
    assert LOG == [4, 5]


def test_a_failure_is_the_results_or_is_raised() -> None:
    result = doubled.delay(-1)
    assert result.state == "FAILURE"
    assert get_run(result.id).state == "failed"
    current_app.conf.task_eager_propagates = True
    with pytest.raises(LookupError, match="negative"):
        doubled.delay(-1)


def test_parts_of_chains_have_runs() -> None:
    assert chain(doubled.s(1), plain.s(), doubled.s()).delay().get() == 6
    assert Run.objects.filter(task="eager-doubled", state="completed").count() == 2


def test_a_run_that_waits_is_left_and_drained(caplog: pytest.LogCaptureFixture) -> None:
    result = waiting.delay(3)
    assert get_run(result.id).state == "suspended"
    assert "drain()" in caplog.text
    drain()
    assert get_run(result.id).output == [result.id, 6]


def test_in_a_transaction_the_run_follows_the_commit(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        result = doubled.delay(7)
        assert LOG == []
    assert LOG == [7]
    assert get_run(result.id).output == 14


def test_apply_calls_the_function_alone_without_the_setting() -> None:
    current_app.conf.task_always_eager = False
    assert doubled.apply((2,)).get() == 4
    assert not Run.objects.exists()


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the tasks of nudges instead of publishing them."""
    found: list[str] = []
    monkeypatch.setattr(
        dispatcher, "_publish", lambda app, producer, nudge: found.append(nudge.task)
    )
    return found


@pytest.mark.django_db(transaction=True)
def test_no_message_is_published_for_a_run_that_its_caller_executes(published: list[str]) -> None:
    assert chain(doubled.s(1), doubled.s()).delay().get() == 4
    assert published == []
    with transaction.atomic():
        assert doubled.delay(7).id
    assert published == []
    doubled.trigger(1)
    assert published == ["eager-doubled"]


@pytest.mark.django_db(transaction=True)
def test_no_message_is_published_for_one_of_a_limited_queue_either(published: list[str]) -> None:
    # Not in the module: the queue of each task that is imported is declared in other tests too.
    @durable_task(name="eager-limited", concurrency_limit=1)
    def limited(number: int) -> int:
        return double(number)

    installed_engine().store.queues.declare({"task/eager-limited": Limits(concurrency=1)})
    assert limited.delay(1).get() == 2
    with transaction.atomic():
        result = limited.delay(2)
    assert get_run(result.id).output == 4
    assert published == []
    limited.trigger(3)
    assert published == ["eager-limited"]


@durable_task(name="eager-parent")
def parent(number: int) -> Any:
    child = doubled.delay(number)
    return [child.get(disable_sync_subtasks=False), double(number + 1)]


def test_a_body_may_call_another_task() -> None:
    result = parent.delay(3)
    assert result.get() == [6, 8]
    assert LOG == [3, 4]
    child = Run.objects.get(task="eager-doubled")
    assert (child.state, str(child.parent_id)) == ("completed", result.id)
