"""Where a run goes: queue, concurrency key and priority, and which declaration decides."""

from __future__ import annotations

import logging
from enum import Enum, IntEnum, StrEnum
from typing import Any
from uuid import UUID

import pytest

from trigger_celery import Event, Queue, TriggerOptions
from trigger_celery.config import Config
from trigger_celery.declare.definition import TaskDefinition
from trigger_celery.declare.queue import queues
from trigger_celery.engine.runs.trigger import Request, start, trigger
from trigger_celery.errors import InvalidName, InvalidOption, QueueNotFound
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.records import NO_LIMITS, Limits, Run, StoredQueue

ID = UUID("0199d3c5-2f5b-7c1e-8a55-2b1f6a8e4d10")


class Plan(StrEnum):
    """A text."""

    GOLD = "gold"


class Old(str, Enum):  # noqa: UP042  # it shows itself as Old.GOLD
    """A text that shows itself in another way."""

    GOLD = "gold"


class Level(IntEnum):
    """A whole number."""

    ONE = 1


def mail(tenant: Any, to: str = "ann") -> str:
    return to


def triggered(
    harness: Harness, task: TaskDefinition, *args: Any, **options: Any
) -> tuple[str, str, int]:
    """Return queue, key and priority of a run that is started with these options."""
    run_id = trigger(harness.engine, task, args, options=TriggerOptions(**options))
    return placed(harness.stored(run_id))


def placed(run: Run) -> tuple[str, str, int]:
    return run.spec.queue, run.spec.concurrency_key, run.spec.priority


@pytest.mark.parametrize(
    ("tenant", "key"),
    [
        ("t1", "t1"),
        (7, "7"),
        (-7, "-7"),
        (ID, str(ID)),
        (None, ""),
        ("x" * 200, "x" * 200),
        ("straße 9", "straße 9"),
    ],
)
def test_a_key_is_the_value_of_a_parameter(harness: Harness, tenant: object, key: str) -> None:
    task = harness.task(mail, concurrency_key="tenant")
    assert triggered(harness, task, tenant) == ("", key, 0)


@pytest.mark.parametrize(
    ("value", "key"), [(Plan.GOLD, "gold"), (Old.GOLD, "gold"), (Level.ONE, "1")]
)
def test_a_member_of_an_enum_is_the_key_that_it_stands_for(
    harness: Harness, value: object, key: str
) -> None:
    task = harness.task(mail, concurrency_key=lambda tenant: value)
    assert triggered(harness, task, 1) == ("", key, 0)


@pytest.mark.parametrize(
    ("tenant", "error"),
    [
        (True, InvalidOption),
        (1.5, InvalidOption),
        ([1], InvalidOption),
        ("", InvalidName),
        ("x" * 201, InvalidName),
        ("a\n", InvalidName),
        ("a\0", InvalidName),
        (10**200, InvalidName),
    ],
)
def test_a_value_that_is_no_key_is_refused_before_anything_is_written(
    harness: Harness, tenant: object, error: type[Exception]
) -> None:
    task = harness.task(mail, concurrency_key="tenant")
    before = harness.memory.dump()
    with pytest.raises(error, match="the concurrency key in tenant"):
        trigger(harness.engine, task, (tenant,))
    good = Request(definition=task, args=("t",))
    with pytest.raises(error):
        start(harness.engine, [good, Request(definition=task, args=(tenant,))])
    assert harness.memory.dump() == before


def test_defaults_and_functions_give_keys_too(harness: Harness) -> None:
    def of_host(tenant: str, to: str = "ann@example.com") -> str | None:
        return to.partition("@")[2] or None

    by_default = harness.task(mail, name="a", concurrency_key="to")
    assert triggered(harness, by_default, 1) == ("", "ann", 0)
    by_function = harness.task(mail, name="b", concurrency_key=of_host)
    assert triggered(harness, by_function, 1) == ("", "example.com", 0)
    assert triggered(harness, by_function, 1, "bob") == ("", "", 0)


def test_a_function_that_fails_or_returns_no_key_starts_nothing(harness: Harness) -> None:
    task = harness.task(mail, concurrency_key=lambda tenant: tenant["id"])
    with pytest.raises(InvalidOption, match="<lambda> finds no concurrency key.*: KeyError"):
        trigger(harness.engine, task, ({},))
    with pytest.raises(InvalidOption, match="that <lambda> returned to be text"):
        trigger(harness.engine, task, ({"id": 0.5},))
    assert not harness.memory.open_runs()


def test_a_trigger_wins_over_its_task_and_that_over_its_queue(harness: Harness) -> None:
    queue = Queue("mine", concurrency_key="tenant", priority=9)
    Queue("other", concurrency_key="to", priority=-4)
    of_queue = harness.task(mail, name="a", queue=queue)
    assert triggered(harness, of_queue, "t") == ("mine", "t", 9)
    assert triggered(harness, of_queue, "t", queue="other") == ("other", "ann", -4)
    own = TriggerOptions(priority=0)
    of_task = harness.task(mail, name="b", queue=queue, concurrency_key="to", defaults=own)
    assert triggered(harness, of_task, "t") == ("mine", "ann", 0)
    given = triggered(harness, of_task, "t", concurrency_key="k", priority=3)
    assert given == ("mine", "k", 3)
    plain = harness.task(mail, name="c")
    assert triggered(harness, plain, "t") == ("", "", 0)
    assert triggered(harness, plain, "t", queue=queue) == ("mine", "t", 9)


def test_a_task_whose_key_is_none_does_not_use_that_of_its_queue(harness: Harness) -> None:
    queue = Queue("mine", concurrency_key="tenant")
    task = harness.task(mail, queue=queue, concurrency_key=lambda tenant: None)
    assert triggered(harness, task, "t") == ("mine", "", 0)


def test_a_queue_key_that_is_no_parameter_of_the_task_needs_one_of_the_trigger(
    harness: Harness,
) -> None:
    Queue("mine", concurrency_key="customer")
    task = harness.task(mail)
    with pytest.raises(InvalidOption, match="'customer', which the task does not have"):
        trigger(harness.engine, task, ("t",), options=TriggerOptions(queue="mine"))
    assert triggered(harness, task, "t", queue="mine", concurrency_key="c")[1] == "c"


def test_an_unknown_queue_is_refused_with_the_closest_name(harness: Harness) -> None:
    Queue("emails")
    harness.config = Config(queues={"settled": {}})
    task = harness.task(mail)
    for asked, close in (("email", "emails"), ("setled", "settled")):
        with pytest.raises(QueueNotFound, match=rf"'{asked}'; did you mean '{close}'\? Declare"):
            trigger(harness.engine, task, (1,), options=TriggerOptions(queue=asked))
    assert not harness.memory.open_runs()
    assert triggered(harness, task, 1, queue="settled") == ("settled", "", 0)


def test_a_queue_that_another_process_declared_is_known(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.memory.queues.declare({"elsewhere": Limits(concurrency=5)})
    reads: list[str] = []
    read = type(harness.memory.queues).get

    def get(self: Any, name: str) -> StoredQueue | None:
        reads.append(name)
        return read(self, name)

    monkeypatch.setattr(type(harness.memory.queues), "get", get)
    task = harness.task(mail)
    options = TriggerOptions(queue="elsewhere")
    runs = start(
        harness.engine, [Request(definition=task, args=(n,), options=options) for n in range(3)]
    )
    assert {harness.stored(run.id).spec.queue for run in runs} == {"elsewhere"}
    assert reads == ["elsewhere"]


def test_a_task_knows_its_own_queue_whatever_was_forgotten(harness: Harness) -> None:
    task = harness.task(mail, queue=Queue("mine"))
    queues.remove("mine")
    assert triggered(harness, task, 1) == ("mine", "", 0)


def of_tenant(event: Event) -> str:
    return str(event.payload["tenant"])


def test_a_run_that_an_event_starts_gets_its_key_from_the_event(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    seen = []

    def body(event: Event) -> None:
        seen.append(event.payload)

    queue = Queue("mine", concurrency_key=of_tenant, priority=2)
    task = harness.task(body, on_event="paid", queue=queue)
    harness.send_event("paid", {"tenant": "t1"})
    (run_id,) = harness.memory.open_runs()
    assert placed(harness.stored(run_id)) == ("mine", "t1", 2)
    harness.run_until_idle()
    with caplog.at_level(logging.ERROR, "trigger_celery.queues"):
        harness.send_event("paid", {})
    (run_id,) = harness.memory.open_runs()
    assert placed(harness.stored(run_id)) == ("mine", "", 2)
    assert f"task {task.name!r} is started by an event without its concurrency key" in caplog.text
    harness.run_until_idle()
    assert seen == [{"tenant": "t1"}, {}]


def test_a_task_says_nothing_of_queues_by_default(harness: Harness) -> None:
    task = harness.task(mail)
    assert (task.queueing.queue, task.queueing.limits) == (None, NO_LIMITS)
    assert task.defaults.queue is None
