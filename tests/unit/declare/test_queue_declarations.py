"""Declaring durable queues: what is taken, what is refused at once, and what settings say."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from celery.exceptions import CDeprecationWarning

from trigger_celery import Queue, RateLimit, durable_task
from trigger_celery.config import Config
from trigger_celery.declare.declared_queues import declared_queues, limits_in_settings
from trigger_celery.declare.definition import TaskDefinition, declared_tasks
from trigger_celery.declare.queue import queues
from trigger_celery.errors import (
    DeclarationError,
    DuplicateQueue,
    InvalidName,
    UnknownOption,
)
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.admission import Gate, Room
from trigger_celery.vocabulary.records import NO_LIMITS, Limits, Rate, Standing

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


def declared(**options: Any) -> Any:
    """Return a small Celery task with these options."""

    @durable_task(name="under-test", **options)  # type: ignore[untyped-decorator]
    def under_test(tenant: int, *rest: int, size: str = "", **more: int) -> int:
        return tenant

    return under_test


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RateLimit(0, per=60), "limit of a RateLimit to be a whole number of 1 or more"),
        (lambda: RateLimit(-1, per=60), "limit of a RateLimit"),
        (lambda: RateLimit(True, per=60), "limit of a RateLimit"),
        (lambda: RateLimit(1.5, per=60), "limit of a RateLimit"),  # type: ignore[arg-type]
        (lambda: RateLimit("5", per=60), "limit of a RateLimit"),  # type: ignore[arg-type]
        (lambda: RateLimit(1, per=60, burst=0), "burst of a RateLimit"),
        (lambda: RateLimit(1, per=0), "a microsecond or more between two starts"),
        (lambda: RateLimit(1_000_001, per=1), "a microsecond or more between two starts"),
        (lambda: RateLimit(1, per=-1), "per of a RateLimit to be zero or more"),
        (lambda: RateLimit(1, per="m"), "a timedelta or seconds"),  # type: ignore[arg-type]
        (lambda: RateLimit(1, per=float("nan")), "per of a RateLimit"),
        (lambda: RateLimit(1, per=86_400, burst=40_000), "earned again within a hundred years"),
        (lambda: RateLimit(1, per=1, burst=10**30), "earned again within a hundred years"),
    ],
)
def test_a_rate_that_makes_no_sense_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        make()


def test_a_rate_is_an_interval_that_never_lets_more_pass() -> None:
    assert RateLimit(100, per=60).rate == Rate(interval=timedelta(seconds=0.6))
    assert RateLimit(100, per=MINUTE, burst=5).rate.burst == 5
    assert RateLimit(100, per=60) == RateLimit(100, per=MINUTE)
    third = RateLimit(3, per=SECOND).rate.interval
    assert SECOND <= third * 3 < SECOND + timedelta(microseconds=3)


@pytest.mark.parametrize(("limit", "burst"), [(1, 1), (3, 1), (10, 1), (3, 4), (7, 7)])
def test_any_stretch_of_per_has_at_most_limit_and_burst_less_one_starts(
    limit: int, burst: int
) -> None:
    gate = Gate(name="q", limits=Limits(rate=RateLimit(limit, per=1, burst=burst).rate))
    now = datetime(2030, 1, 1, tzinfo=UTC)
    run = Standing(run_id=UUID(int=1), queue="q", key="", task="t", starts=True)
    due: dict[tuple[str, str], datetime] = {}
    starts: list[datetime] = []
    for tick in range(400):
        at = now + timedelta(milliseconds=10 * tick)
        room = Room([gate], due=due, now=at)
        while room.take(run):
            starts.append(at)
        due = room.due
    counts = [sum(first <= at < first + SECOND for at in starts) for first in starts]
    assert max(counts) == limit + burst - 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"concurrency_limit": -1}, DeclarationError, "concurrency_limit of queue 'bad' to be a"),
        ({"concurrency_limit": True}, DeclarationError, "whole number of 0 or more, got: True"),
        ({"concurrency_limit": 2.0}, DeclarationError, "concurrency_limit"),
        ({"concurrency_limit": "2"}, DeclarationError, "concurrency_limit"),
        ({"key_limit": -1}, DeclarationError, "key_limit"),
        ({"key_limit": 0}, DeclarationError, "key_limit of queue 'bad' to be 1 or more"),
        ({"key_limit": False}, DeclarationError, "key_limit"),
        ({"concurrency_limit": 2, "key_limit": 3}, DeclarationError, "no key could ever reach it"),
        ({"rate_limit": "100/m"}, DeclarationError, "rate_limit of queue 'bad' to be a RateLimit"),
        ({"key_rate_limit": 5}, DeclarationError, "key_rate_limit"),
        ({"priority": 2**31}, DeclarationError, "priority of queue 'bad' to be at most"),
        ({"priority": None}, DeclarationError, "priority"),
        ({"concurrency_key": 5}, DeclarationError, "the name of a parameter, or a function"),
        ({"concurrency_key": "not a name"}, DeclarationError, "the name of a parameter"),
        ({"name": ""}, InvalidName, "a queue's name"),
        ({"name": "q" * 201}, InvalidName, "a queue's name"),
        ({"name": "a\nb"}, InvalidName, "a queue's name"),
        ({"name": "*"}, InvalidName, "begin with neither"),
        ({"name": "task/mine"}, InvalidName, "begin with neither"),
        ({"name": 7}, InvalidName, "a queue's name"),
    ],
)
def test_a_queue_that_makes_no_sense_is_refused_and_not_registered(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    name = options.pop("name", "bad")
    with pytest.raises(error, match=message):
        Queue(name, **options)
    assert name not in {queue.name for queue in queues}


async def _key(tenant: int) -> str:
    return str(tenant)


def test_a_key_cannot_be_awaited() -> None:
    with pytest.raises(DeclarationError, match="to be a plain def"):
        Queue("bad", concurrency_key=_key)  # type: ignore[arg-type]


def test_a_queue_says_what_its_runs_are_held_to() -> None:
    queue = Queue(
        "mine",
        concurrency_limit=10,
        key_limit=2,
        rate_limit=RateLimit(60, per=MINUTE, burst=3),
        key_rate_limit=RateLimit(1, per=1),
    )
    assert queue.limits == Limits(
        concurrency=10,
        key_concurrency=2,
        rate=Rate(interval=SECOND, burst=3),
        key_rate=Rate(interval=SECOND),
    )
    assert queues.get("mine") is queue
    assert Queue("paused", concurrency_limit=0, key_limit=1).limits.concurrency == 0
    assert Queue("free").limits == NO_LIMITS


def test_one_name_stands_for_one_declaration() -> None:
    def by_tenant(tenant: int) -> int:
        return tenant

    def made() -> Queue:
        return Queue("mine", concurrency_limit=3, concurrency_key=by_tenant)

    made()
    again = made()
    assert queues.get("mine") is again
    with pytest.raises(DuplicateQueue) as refused:
        Queue("mine", concurrency_limit=4, concurrency_key=by_tenant)
    assert "concurrency_limit=3" in str(refused.value)
    assert "concurrency_limit=4" in str(refused.value)
    with pytest.raises(DuplicateQueue):
        replace(again, priority=5)
    assert queues.get("mine") is again
    queues.remove("mine")
    assert Queue("mine", concurrency_limit=4).limits.concurrency == 4


def test_a_function_that_a_reload_made_anew_is_the_same_key() -> None:
    def made() -> Queue:
        return Queue("mine", concurrency_key=lambda tenant: str(tenant))

    first, second = made(), made()
    assert first.concurrency_key is not second.concurrency_key
    assert queues.get("mine") is second


def test_a_task_takes_a_queue_and_limits_of_its_own() -> None:
    queue = Queue("mine", concurrency_key="tenant")
    task = declared(queue=queue, concurrency_limit=3, rate_limit=RateLimit(1, per=1))
    queueing = task.durable.queueing
    assert queueing.queue is queue
    assert queueing.limits == Limits(concurrency=3, rate=Rate(interval=SECOND))
    assert task.durable.defaults.queue == "mine"
    assert (getattr(task, "queue", None), task.rate_limit) == (None, None)
    assert not hasattr(task, "concurrency_limit")


def test_texts_stay_what_celery_knows() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CDeprecationWarning)  # of Celery 5.7, about task.queue
        task = declared(queue="emails", rate_limit="10/m")
    assert (task.queue, task.rate_limit) == ("emails", "10/m")
    assert task.durable.queueing.limits == NO_LIMITS
    assert task.durable.defaults.queue is None


def test_calls_of_celery_take_a_queue_and_send_a_text_to_the_broker() -> None:
    task = declared(concurrency_key="tenant")
    with Harness() as harness:
        made = [task.apply_async((7,), queue=each) for each in (Queue("mine"), "emails")]
        runs = [harness.stored(UUID(result.id)) for result in made]
    assert [(run.spec.queue, run.spec.concurrency_key) for run in runs] == [
        ("mine", "7"),
        ("", "7"),
    ]
    assert ["emails" in run.spec.canvas for run in runs] == [False, True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concurrency_limit": -1}, "concurrency_limit of task 'under-test'"),
        ({"concurrency_key": "tennant"}, r"parameters \(tenant, size\).*'tennant'"),
        ({"concurrency_key": "rest"}, "one of its parameters"),
        ({"concurrency_key": "more"}, "one of its parameters"),
        ({"concurrency_key": 5}, "concurrency_key of task 'under-test'"),
        ({"concurrency_key": ""}, "concurrency_key of task 'under-test'"),
    ],
)
def test_a_task_whose_limits_make_no_sense_is_refused(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DeclarationError, match=message):
        declared(**options)
    assert declared_tasks.get("under-test") is None


def test_a_key_of_the_queue_is_looked_for_in_each_task_that_is_declared_with_it() -> None:
    queue = Queue("mine", concurrency_key="customer")
    with pytest.raises(DeclarationError, match="of queue 'mine', used by task 'under-test'"):
        declared(queue=queue)
    assert declared(queue=queue, concurrency_key="size").durable.queueing.queue is queue


def config(**queues: object) -> Config:
    return Config.from_mapping({"QUEUES": queues})


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"mine": 5}, DeclarationError, r"QUEUES'\]\['mine'\] to be a mapping"),
        ({"mine": {"limit": 5}}, UnknownOption, "has no limit 'limit'.*'key_limit'"),
        ({"mine": {"concurrency_limit": -1}}, DeclarationError, "concurrency_limit of TRIGGER"),
        (
            {"mine": {"rate_limit": [0, 60]}},
            DeclarationError,
            r"\['mine'\]: .*limit of a RateLimit",
        ),
        (
            {"mine": {"rate_limit": [1]}},
            DeclarationError,
            r"\['mine'\] to be \[limit, per.*: \[1\]",
        ),
        (
            {"mine": {"key_rate_limit": "1/m"}},
            DeclarationError,
            "key_rate_limit of .* to be .limit",
        ),
        ({"task/x": {}}, DeclarationError, "begin with neither"),
        ({"": {}}, DeclarationError, "the name in TRIGGER_CELERY"),
    ],
)
def test_settings_of_queues_that_make_no_sense_are_refused(
    given: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        limits_in_settings(config(**given))


def test_settings_win_limit_by_limit() -> None:
    Queue("mine", concurrency_limit=10, key_limit=2, rate_limit=RateLimit(5, per=1))
    found = declared_queues(
        config(
            mine={"concurrency_limit": 1, "rate_limit": None},
            settled={"rate_limit": [60, 60], "key_rate_limit": (60, MINUTE, 5)},
            plain={"rate_limit": RateLimit(1, per=1)},
        ),
        [],
    )
    second = Rate(interval=SECOND)
    assert found["mine"] == Limits(concurrency=1, key_concurrency=2)
    assert found["settled"] == Limits(rate=second, key_rate=replace(second, burst=5))
    assert found["plain"] == Limits(rate=second)


def test_what_is_declared_is_queues_tasks_and_the_deployment() -> None:
    limited: TaskDefinition = declared(concurrency_limit=2).durable
    queue = Queue("mine", concurrency_limit=1)
    queues.remove("mine")
    in_queue = replace(limited, name="other", queueing=replace(limited.queueing, queue=queue))
    free = replace(limited, name="free", queueing=replace(limited.queueing, limits=NO_LIMITS))
    found = declared_queues(Config(concurrency_limit=7), [limited, in_queue, free])
    assert (
        found.items()
        >= {
            "*": Limits(concurrency=7),
            "task/under-test": Limits(concurrency=2),
            "mine": Limits(concurrency=1),
        }.items()
    )
    assert "task/free" not in found


def test_a_limit_that_left_the_code_is_declared_as_none_where_one_is_stored() -> None:
    free: TaskDefinition = declared().durable
    assert not {"*", "task/under-test"} & declared_queues(Config(), [free]).keys()
    stored = {"*", "task/under-test", "task/elsewhere", "queue-elsewhere"}
    found = declared_queues(Config(), [free], stored=stored)
    assert found["*"] == found["task/under-test"] == NO_LIMITS
    assert not {"task/elsewhere", "queue-elsewhere"} & found.keys()
