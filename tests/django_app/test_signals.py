"""Django's signals for runs: senders, receivers, and the transactions they wait for."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from django.db import transaction

from testproject.shop.tasks import linear
from trigger_celery import RetryPolicy
from trigger_celery.client.access import installed_engine
from trigger_celery.declare.definition import TaskDefinition, TaskRegistry, define
from trigger_celery.engine import notifications
from trigger_celery.engine.core import Engine
from trigger_celery.engine.execution.runner import execute
from trigger_celery.engine.runs import control as run_control
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.engine.waking.events import send_event
from trigger_celery.vocabulary.news import EventNews, RunNews, Topic
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django import signals
from trigger_celery_django.models import History, Run
from trigger_celery_django.signals import SIGNALS, DjangoListeners, TriggerSignal
from trigger_celery_django.store import DjangoStore

pytestmark = pytest.mark.django_db(transaction=True)

Listen = Callable[..., list[tuple[Any, Any]]]


def _echo(value: int) -> int:
    return value


@pytest.fixture
def engine() -> Engine:
    return Engine(store=DjangoStore("default"), tasks=TaskRegistry(), listeners=DjangoListeners())


@pytest.fixture
def echo(engine: Engine) -> TaskDefinition:
    task = define(_echo, name="shop.echo")
    engine.tasks.add(task)
    return task


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Return a function that connects a receiver and returns the list it fills."""
    connected: list[tuple[TriggerSignal, Any, object]] = []

    def connect(signal: TriggerSignal, sender: object = None) -> list[tuple[Any, Any]]:
        received: list[tuple[Any, Any]] = []

        def receiver(sender: object, news: object, **kwargs: object) -> None:
            assert set(kwargs) == {"signal"}
            received.append((sender, news))

        signal.connect(receiver, sender=sender, weak=False)
        connected.append((signal, receiver, sender))
        return received

    yield connect
    for signal, receiver, sender in connected:
        assert signal.disconnect(receiver, sender=sender)


def test_every_topic_has_the_signal_of_its_name() -> None:
    assert {topic.value: getattr(signals, topic.value) for topic in Topic} == {
        topic.value: signal for topic, signal in SIGNALS.items()
    }


def test_the_engine_of_the_process_sends_them() -> None:
    assert isinstance(installed_engine().listeners, DjangoListeners)


def test_signals_of_a_run_have_its_task_as_the_sender(
    engine: Engine, echo: TaskDefinition, listen: Listen
) -> None:
    created, completed = listen(signals.run_created), listen(signals.run_completed)
    run_id = trigger(engine, echo, (3,))
    assert created == [
        ("shop.echo", RunNews(run_id=run_id, task="shop.echo", state=RunState.QUEUED))
    ]
    execute(engine, run_id, echo)
    assert completed == [
        ("shop.echo", RunNews(run_id=run_id, task="shop.echo", state=RunState.COMPLETED))
    ]


def test_a_receiver_hears_of_its_sender_alone(
    engine: Engine, echo: TaskDefinition, listen: Listen
) -> None:
    mine = listen(signals.run_created, "".join(["shop", ".", "echo"]))
    another, task = listen(signals.run_created, "shop.other"), listen(signals.run_created, linear)
    run_id = trigger(engine, echo, (3,))
    assert [news.run_id for _, news in mine] == [run_id]
    assert (another, task) == ([], [])
    run_id = trigger(engine, linear.durable, (3,))
    assert [(sender, news.run_id) for sender, news in task] == [("linear", run_id)]


def test_the_signal_of_an_event_has_its_name_as_the_sender(engine: Engine, listen: Listen) -> None:
    received, other = listen(signals.event_received, "paid"), listen(signals.event_received, "sent")
    event_id = send_event(engine, "paid", {"secret": 1}, source="bank")
    assert received == [("paid", EventNews(event_id=event_id, name="paid", source="bank"))]
    assert other == []


def test_signals_wait_for_the_callers_commit_and_go_with_its_rollback(
    engine: Engine, echo: TaskDefinition, listen: Listen
) -> None:
    created, received = listen(signals.run_created), listen(signals.event_received)
    with transaction.atomic():
        trigger(engine, echo, (1,))
        send_event(engine, "paid", None)
        assert (created, received) == ([], [])
    assert (len(created), len(received)) == (1, 1)
    with transaction.atomic():
        trigger(engine, echo, (1,))
        send_event(engine, "paid", None)
        transaction.set_rollback(True)
    assert (len(created), len(received)) == (1, 1)


def test_a_receiver_reads_the_committed_state_of_the_run(
    engine: Engine, echo: TaskDefinition
) -> None:
    seen: list[str] = []

    def receiver(sender: str, news: RunNews, **kwargs: object) -> None:
        seen.append(Run.objects.get(pk=news.run_id).state)

    signals.run_canceled.connect(receiver)
    try:
        run_control.cancel(engine, trigger(engine, echo, (1,)), "sold out")
    finally:
        signals.run_canceled.disconnect(receiver)
    assert seen == ["canceled"]


def test_a_receiver_that_raises_disturbs_no_run_and_no_other_receiver(
    engine: Engine, echo: TaskDefinition, listen: Listen, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(sender: str, **kwargs: object) -> None:
        raise ValueError("broken receiver")

    signals.run_completed.connect(broken)
    try:
        completed = listen(signals.run_completed)
        run_id = trigger(engine, echo, (1,))
        with caplog.at_level(logging.ERROR, "django.dispatch"):
            execute(engine, run_id, echo)
    finally:
        signals.run_completed.disconnect(broken)
    assert Run.objects.get(pk=run_id).state == RunState.COMPLETED
    assert len(completed) == 1
    assert "broken receiver" in caplog.text


def test_a_topic_without_a_receiver_is_not_wanted(listen: Listen) -> None:
    listeners = DjangoListeners()
    assert not any(map(listeners.wants, Topic))
    listen(signals.run_failed)
    assert [topic for topic in Topic if listeners.wants(topic)] == [Topic.RUN_FAILED]


def test_without_a_receiver_a_step_costs_two_calls_more(
    engine: Engine, echo: TaskDefinition
) -> None:
    run = run_control.get(engine, trigger(engine, echo, (1,)))
    called: list[str] = []

    def note(frame: FrameType, what: str, argument: object) -> None:
        if what == "call":
            called.append(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        notifications.step_completed(engine, run, "key", 1)
    finally:
        sys.setprofile(None)
    assert called == ["step_completed", "wants"]


def test_a_body_that_leaves_a_transaction_open_fails_with_its_own_error(engine: Engine) -> None:
    def careless(**given: object) -> None:
        transaction.set_autocommit(False)
        History.objects.all().delete()
        raise LookupError("no such order")

    hooked = define(_echo, name="careless-hook", on_start=careless)
    failing = define(careless, name="careless-body", retry=RetryPolicy(max_attempts=1))
    for task, end in ((hooked, RunState.COMPLETED), (failing, RunState.FAILED)):
        engine.tasks.add(task)
        arguments = (1,) if task is hooked else ()
        run_id = trigger(engine, task, arguments)
        execute(engine, run_id, task)
        assert transaction.get_autocommit()
        run = Run.objects.get(pk=run_id)
        assert run.state == end
        assert end is RunState.COMPLETED or "no such order" in str(run.error)


def test_hooks_that_leave_a_transaction_open_change_nothing(engine: Engine) -> None:
    def careless(run: object, output: object) -> None:
        transaction.set_autocommit(False)
        History.objects.all().delete()

    task = define(_echo, name="careless", on_success=careless)
    engine.tasks.add(task)
    run_id = trigger(engine, task, (1,))
    execute(engine, run_id, task)
    assert transaction.get_autocommit()
    verbs = list(History.objects.filter(run=run_id).values_list("verb", flat=True))
    assert verbs == ["trigger", "claim", "complete", "hook"]
