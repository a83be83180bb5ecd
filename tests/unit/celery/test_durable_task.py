"""``@durable_task``: what it takes, what it refuses, and calls that are plain calls."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from celery import Task

from trigger_celery import DurableTask, NonRetryableError, RetryPolicy, durable_task, step
from trigger_celery.backoff import RetryPolicy as Policy
from trigger_celery.declare.definition import TaskDefinition, declared_tasks
from trigger_celery.engine.core import Engine
from trigger_celery.engine.execution.runner import execute
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.engine.segment.outcome import Finished
from trigger_celery.errors import (
    DeclarationError,
    DuplicateTask,
    InvalidTime,
    RetryAfter,
    SourceUnavailable,
    UnknownOption,
    UsageError,
)
from trigger_celery.testing import Harness, MemoryStore
from trigger_celery.vocabulary.states import RunState

Declare = Callable[..., Any]


def declared(**options: Any) -> TaskDefinition:
    """Return the definition of a small task with these options."""

    @durable_task(  # type: ignore[untyped-decorator]
        name=options.pop("name", "under-test"), **options
    )
    def under_test(value: int = 0) -> int:
        return value

    definition: TaskDefinition = under_test.durable
    return definition


def test_the_bare_decorator_names_the_task_after_its_function() -> None:
    @durable_task
    def plainly() -> None: ...

    assert plainly.name == f"{__name__}.plainly"
    assert declared_tasks.get(plainly.name) is plainly.durable
    assert isinstance(plainly, DurableTask)


def test_an_unknown_option_is_refused_with_the_closest_name() -> None:
    with pytest.raises(UnknownOption, match=r"task 'under-test'.*'max_crash'.*'max_crashes'"):
        declared(max_crash=5)
    with pytest.raises(UnknownOption, match="durable_task takes no pydantic="):
        declared(pydantic=True)
    assert declared_tasks.get("under-test") is None


def test_options_of_ours_reach_the_definition() -> None:
    policy = RetryPolicy(max_attempts=7)
    definition = declared(retry=policy, heartbeat_timeout=5, max_crashes=9)
    assert (definition.retry, definition.max_crashes) == (policy, 9)
    assert definition.heartbeat_timeout == timedelta(seconds=5)


@pytest.mark.parametrize(
    ("options", "policy"),
    [
        (
            {"max_retries": 4},
            Policy(max_attempts=5, factor=1, min_delay=180, max_delay=180, jitter=False),
        ),
        (
            {"max_retries": 0, "default_retry_delay": 5},
            Policy(max_attempts=1, factor=1, min_delay=5, max_delay=5, jitter=False),
        ),
        (
            {"max_retries": None, "default_retry_delay": 1},
            Policy(max_attempts=1_000_000, factor=1, min_delay=1, max_delay=1, jitter=False),
        ),
        (
            {"retry_kwargs": {"max_retries": 2, "countdown": 3}},
            Policy(max_attempts=3, factor=1, min_delay=3, max_delay=3, jitter=False),
        ),
        (
            {"retry_backoff": True},
            Policy(max_attempts=4, factor=2, min_delay=1, max_delay=600, jitter=True),
        ),
        (
            {"retry_backoff": 5, "retry_backoff_max": 30, "retry_jitter": False},
            Policy(max_attempts=4, factor=2, min_delay=5, max_delay=30, jitter=False),
        ),
    ],
)
def test_retry_options_of_celery_are_translated(options: dict[str, Any], policy: Policy) -> None:
    assert declared(**options).retry is None, "they bound what the body asks for by self.retry()"
    assert declared(name="auto", **options, autoretry_for=(OSError,)).retry == policy


def test_a_bare_task_is_not_tried_again_unless_it_asks() -> None:
    assert declared(name="bare").retry is None
    assert declared(name="spared", dont_autoretry_for=(OSError,)).retry is None
    assert declared(name="auto", autoretry_for=(OSError,)).retry == Policy()


def test_exceptions_of_celerys_options_narrow_down_what_is_retried() -> None:
    narrow = declared(name="narrow", autoretry_for=(OSError, KeyError))
    assert [narrow.retries(e) for e in (OSError(), KeyError(), ValueError())] == [True, True, False]
    spared = declared(name="spared", dont_autoretry_for=ValueError)
    assert [spared.retries(e) for e in (OSError(), ValueError())] == [True, False]


def test_two_ways_to_say_how_to_retry_are_one_too_many() -> None:
    with pytest.raises(DeclarationError, match="both retry= and max_retries="):
        declared(retry=RetryPolicy(), max_retries=3)


def test_two_functions_cannot_share_a_name() -> None:
    @durable_task(name="twice")
    def one() -> None: ...

    with pytest.raises(DuplicateTask, match=r"'twice'.*one.*other"):

        @durable_task(name="twice")
        def other() -> None: ...


def test_the_base_must_be_a_durable_task() -> None:
    class Own(DurableTask[Any, Any]):
        abstract = True

    @durable_task(name="own-base", base=Own)
    def own_base() -> None: ...

    assert isinstance(own_base, Own)
    with pytest.raises(DeclarationError, match="expected base of task 'under-test'"):
        declared(base=Task)


@pytest.mark.parametrize("thing", [3, "text", int, len, object()])
def test_only_functions_can_be_tasks(thing: Any) -> None:
    with pytest.raises(DeclarationError, match="expected a durable task to be a def"):
        durable_task(thing, name="not-a-function")


def test_generators_cannot_be_tasks() -> None:
    def counts() -> Iterator[int]:
        yield 1

    async def counts_slowly() -> Any:
        yield 1

    for generator in (counts, counts_slowly):
        with pytest.raises(DeclarationError, match="yields"):
            durable_task(generator, name="yields")


def test_an_async_body_without_source_is_refused_unless_it_checkpoints_itself() -> None:
    names: dict[str, Any] = {"__name__": "nowhere"}
    exec("async def hidden(): return await other()", names)
    with pytest.raises(SourceUnavailable):
        durable_task(names["hidden"], name="hidden")
    task = durable_task(names["hidden"], name="hidden", checkpoint="explicit")
    assert task.durable.is_async


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"checkpoint": "never"}, "expected checkpoint of task 'under-test'"),
        ({"retry": 3}, "expected retry of task 'under-test' to be a RetryPolicy"),
        ({"max_crashes": 0}, "expected max_crashes of task 'under-test' to be at least 1"),
        ({"heartbeat_timeout": 0.1}, "at least one second"),
    ],
)
def test_values_that_make_no_sense_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(DeclarationError, match=text):
        declared(**options)


def test_options_for_acknowledgement_are_taken_and_mean_nothing() -> None:
    @durable_task(name="late", acks_late=True, reject_on_worker_lost=True, typing=True)
    def late() -> None: ...

    assert (late.acks_late, late.typing) == (False, False)


def test_started_is_left_to_us_because_celery_would_overwrite_results() -> None:
    @durable_task(name="tracks", track_started=True)
    def tracks() -> None: ...

    assert (tracks.track_started, tracks.tracks_started) == (False, True)


@step
def double(value: int) -> int:
    return value * 2


def test_a_direct_call_is_a_plain_call() -> None:
    @durable_task(name="direct")
    def direct(value: int) -> int:
        return double(value) + 1

    @durable_task(name="direct-bound", bind=True)
    def bound(self: Any, value: int) -> list[Any]:
        return [self.name, value]

    assert direct(2) == 5
    assert bound(1) == ["direct-bound", 1]


def test_a_direct_call_of_an_async_task_is_awaited() -> None:
    async def fetch() -> int:
        return 3

    @durable_task(name="direct-async")
    async def direct() -> int:
        return await fetch() + 1

    async def caller() -> int:
        return int(await direct())

    assert asyncio.run(caller()) == 4


def test_apply_runs_plainly_in_this_process() -> None:
    @durable_task(name="applied")
    def applied(value: int) -> list[int]:
        return [double(value), os.getpid()]

    @durable_task(name="applied-async")
    async def slowly(value: int) -> int:
        return value + 1

    assert applied.apply((4,)).get() == [8, os.getpid()]
    value: Any = slowly.apply((4,)).get()
    assert value == 5


def test_a_task_that_calls_itself_inside_a_run_makes_a_plain_call() -> None:
    @durable_task(name="countdown")
    def down(value: int) -> int:
        return value if value == 0 else down(double(value) - value - 1)

    engine = Engine(store=MemoryStore())
    run_id = trigger(engine, down.durable, (2,))
    executed = execute(engine, run_id, down.durable, body=down)
    assert isinstance(executed, Finished)
    assert executed.value == 0
    assert len(engine.store.checkpoints.load(run_id, run_attempt=1).recorded) == 2


def test_a_durable_task_cannot_be_replaced() -> None:
    @durable_task(name="replaced", bind=True)
    def replaced(self: Any) -> None:
        self.replace(self.s())

    with pytest.raises(UsageError, match="cannot be replaced"):
        replaced()


def test_retry_raises_what_it_was_given_or_asks_for_a_time() -> None:
    @durable_task(name="retried", bind=True)
    def retried(self: Any, /, **options: Any) -> None:
        self.retry(**options)

    with pytest.raises(NonRetryableError):
        retried(exc=NonRetryableError("no"))
    with pytest.raises(RetryAfter) as caught:
        retried(countdown=5)
    assert caught.value.delay == timedelta(seconds=5)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"expires": 5, "ttl": 5}, "expected ttl or expires, got both"),
        ({"expires": -1}, "expected expires to be zero or more"),
        ({"expires": datetime(2030, 1, 1)}, "expected expires to be an aware datetime"),
        ({"expires": "soon"}, "expected expires to be seconds or an aware datetime"),
        ({"colour": "red"}, "does not know the option colour="),
        ({"task_id": "mine"}, "to be a UUID"),
        ({"countdown": -1}, "countdown"),
    ],
)
def test_options_of_a_call_that_cannot_be_honoured_are_refused(
    options: dict[str, Any], text: str
) -> None:
    @durable_task(name="called")
    def called() -> None: ...

    with pytest.raises(UsageError, match=text):
        called.apply_async(**options)


def test_arguments_are_checked_before_anything_is_written() -> None:
    @durable_task(name="checked", bind=True)
    def checked(self: Any, value: int) -> None: ...

    with pytest.raises(TypeError, match=r"task 'checked'.*value"):
        checked.apply_async()
    with pytest.raises(TypeError, match="expected args of task 'checked' to be a list"):
        checked.apply_async("ab")


@pytest.fixture
def harness() -> Iterator[Harness]:
    with Harness() as harness:
        yield harness


DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("options", "after"),
    [
        ({"expires": 60}, MINUTE),
        ({"expires": 60.0}, MINUTE),
        ({"expires": MINUTE}, MINUTE),
        ({"expires": 0}, timedelta(0)),
        ({"expires": 90, "countdown": 30}, timedelta(seconds=90)),
        ({"expires": 10, "countdown": 30}, timedelta(seconds=10)),
        ({"expires": None}, None),
        ({"ttl": 60}, MINUTE),
        ({"ttl": 60, "countdown": 30}, timedelta(seconds=90)),
    ],
)
def test_expires_of_a_call_is_when_the_run_expires(
    harness: Harness, options: dict[str, Any], after: timedelta | None
) -> None:
    @durable_task(name="called")
    def called() -> None: ...

    result = called.apply_async(**options)
    run = harness.stored(UUID(result.id))
    assert run.deadline_at == (None if after is None else harness.clock.now + after)


@pytest.mark.parametrize("as_text", [False, True])
def test_expires_may_be_a_time(harness: Harness, as_text: bool) -> None:
    @durable_task(name="called")
    def called() -> None: ...

    for when in (harness.clock.now + DAY, harness.clock.now - DAY):
        expires = when.isoformat() if as_text else when
        for eta in (None, harness.clock.now + 2 * DAY):
            result = called.apply_async(expires=expires, eta=eta)
            assert harness.stored(UUID(result.id)).deadline_at == when
    assert harness.stored(UUID(called.options(ttl=when).trigger().id.hex)).deadline_at == when


def test_expires_of_a_signature_and_of_the_task_expire_its_runs(harness: Harness) -> None:
    @durable_task(name="hasty", expires=60)
    def hasty() -> None: ...

    assert hasty.durable.defaults.ttl == MINUTE
    of_task = hasty.delay()
    of_call = hasty.s().set(expires=30).apply_async()
    in_time = hasty.s().set(expires=3600).delay()
    deadlines = [harness.stored(UUID(each.id)).deadline_at for each in (of_task, of_call, in_time)]
    now = harness.clock.now
    assert deadlines == [now + MINUTE, now + MINUTE / 2, now + timedelta(hours=1)]
    harness.advance(MINUTE)
    harness.sweep()
    states = [harness.stored(UUID(each.id)).state for each in (of_task, of_call, in_time)]
    assert states == [RunState.EXPIRED, RunState.EXPIRED, RunState.QUEUED]


def test_an_expiry_is_declared_once_and_makes_sense() -> None:
    with pytest.raises(DeclarationError, match="both ttl= and expires="):
        declared(ttl=5, expires=5)
    with pytest.raises(InvalidTime, match="ttl to be an aware datetime"):
        declared(expires=datetime(2030, 1, 1))
    until = datetime(2030, 1, 1, tzinfo=UTC)
    assert declared(expires=until).defaults.ttl == until
