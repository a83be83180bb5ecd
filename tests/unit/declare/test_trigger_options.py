"""What may be said of a run: each option, its limits, and that a mistake writes nothing."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from trigger_celery import Debounce, RetryPolicy, TriggerOptions, current_run
from trigger_celery.config import Config
from trigger_celery.declare.options import OptionValues
from trigger_celery.engine.runs.trigger import Request, start, trigger
from trigger_celery.errors import (
    EncodeError,
    IdempotencyConflict,
    InvalidName,
    InvalidOption,
    InvalidTime,
    PayloadTooLarge,
    QueueNotFound,
    UnknownOption,
)
from trigger_celery.testing import Harness

MINUTE = timedelta(minutes=1)


def add(a: int, b: int = 0) -> int:
    return a + b


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"delay": -1}, InvalidTime, "delay to be zero or more"),
        ({"delay": datetime(2030, 1, 1)}, InvalidTime, "delay to be an aware datetime"),
        ({"delay": "soon"}, InvalidTime, "delay to be a timedelta or seconds"),
        ({"delay": float("nan")}, InvalidTime, "delay"),
        ({"delay": 10**400}, InvalidTime, "delay to be at most a hundred years"),
        ({"delay": datetime.max.replace(tzinfo=UTC)}, InvalidTime, "the years 1900 and 9000"),
        ({"delay": datetime.min.replace(tzinfo=UTC)}, InvalidTime, "the years 1900 and 9000"),
        ({"ttl": 0}, InvalidOption, "ttl to be more than zero"),
        ({"ttl": -1}, InvalidTime, "ttl"),
        ({"max_duration": 0}, InvalidOption, "max_duration to be more than zero"),
        ({"idempotency_key": "k" * 2049}, InvalidOption, "2,048 characters, got: 2,049"),
        ({"idempotency_key": ["a" * 1025] * 2}, InvalidOption, "2,048 characters in all"),
        ({"idempotency_key": ""}, InvalidOption, "idempotency key"),
        ({"idempotency_key": []}, InvalidOption, "idempotency key"),
        ({"idempotency_key": ["a", 1]}, InvalidOption, "idempotency key"),
        ({"idempotency_key": 7}, InvalidOption, "idempotency key"),
        ({"idempotency_key": "a\n"}, InvalidOption, "printable"),
        ({"idempotency_scope": "task"}, InvalidOption, "'run', 'attempt', 'global'"),
        ({"idempotency_ttl": 0}, InvalidOption, "idempotency_ttl"),
        ({"debounce": "k"}, InvalidOption, "expected debounce to be a Debounce"),
        ({"tags": "vip"}, InvalidOption, "tags to be a list"),
        ({"tags": [""]}, InvalidOption, "1 to 128 characters"),
        ({"tags": ["t" * 129]}, InvalidOption, "1 to 128 characters, got: 129"),
        ({"tags": [1]}, InvalidOption, "a tag"),
        ({"tags": [str(n) for n in range(11)]}, InvalidOption, "at most 10 tags, got 11"),
        ({"metadata": [1]}, InvalidOption, "metadata to be a mapping"),
        ({"priority": 1.5}, InvalidOption, "priority"),
        ({"priority": True}, InvalidOption, "priority"),
        ({"priority": 2**31}, InvalidOption, "priority"),
        ({"max_attempts": 0}, InvalidOption, "max_attempts to be a whole number from 1 to 250"),
        ({"max_attempts": 251}, InvalidOption, "max_attempts"),
        ({"concurrency_key": ""}, InvalidName, "concurrency_key"),
        ({"queue": "q" * 201}, InvalidName, "queue"),
        ({"queue": "*"}, InvalidName, "queue to begin with neither"),
        ({"queue": "task/add"}, InvalidName, "queue to begin with neither"),
        ({"parent_close": "kill"}, InvalidOption, "'abandon', 'cancel'"),
    ],
)
def test_an_option_outside_its_limits_is_refused_at_once(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        TriggerOptions(**options)


@pytest.mark.parametrize(
    ("debounce", "error", "message"),
    [
        ({"key": "k" * 513, "delay": 1}, InvalidOption, "512"),
        ({"key": "", "delay": 1}, InvalidOption, "debounce key"),
        ({"key": "k", "delay": 0.5}, InvalidOption, "a second or more"),
        ({"key": "k", "delay": -1}, InvalidTime, "delay"),
        ({"key": "k", "delay": 5, "mode": "last"}, InvalidOption, "'leading' or 'trailing'"),
        ({"key": "k", "delay": 5, "max_delay": 5}, InvalidOption, "less than its max_delay"),
        ({"key": "k", "delay": 5, "max_delay": 4}, InvalidOption, "less than its max_delay"),
    ],
)
def test_a_debounce_outside_its_limits_is_refused_at_once(
    debounce: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Debounce(**debounce)


@pytest.mark.parametrize("other", [{"delay": 5}, {"idempotency_key": "k"}])
def test_a_debounce_cannot_be_combined_with_what_says_the_same(other: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match="debounce and .* cannot be combined"):
        TriggerOptions(debounce=Debounce(key="k", delay=5), **other)


def test_an_unknown_option_is_refused_with_the_closest_name() -> None:
    with pytest.raises(UnknownOption, match="no option 'idempotent_key'.*'idempotency_key'"):
        TriggerOptions.of({"idempotent_key": "k"})


def test_the_limits_themselves_are_taken() -> None:
    options = TriggerOptions(
        idempotency_key=["a" * 1024, "b" * 1024],
        tags=[f"{n}" * 128 for n in range(10)],
        max_attempts=250,
        priority=-(2**31) + 1,
        delay=datetime(2030, 1, 1, tzinfo=UTC),
    )
    assert len(options.tags) == 10
    assert Debounce(key="k" * 512, delay=1, max_delay=1.5).delay == timedelta(seconds=1)


def test_type_checkers_know_all_options() -> None:
    assert list(OptionValues.__annotations__) == [field.name for field in fields(TriggerOptions)]


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((object(),), {}, EncodeError, r"\$\[0\]\[0\]"),
        ((1, 2, 3), {}, TypeError, "task 'add': too many"),
        ((1,), {"metadata": {"a": object()}}, EncodeError, r"\$\.a"),
        ((1,), {"metadata": {"a": "x" * 262_144}}, InvalidOption, "the metadata of task 'add'"),
        ((1,), {"metadata": {"a": "x" * 1_000_001}}, PayloadTooLarge, "metadata"),
        ((1,), {"idempotency_key": "k", "idempotency_scope": "run"}, InvalidOption, "'global'"),
        ((1,), {"tags": ["a", "b"]}, InvalidOption, "at most 10 tags"),
        ((1,), {"queue": "nope"}, QueueNotFound, "no durable queue is called 'nope'"),
    ],
)
def test_a_mistake_of_a_call_writes_nothing(
    harness: Harness,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    task = harness.task(add, defaults=TriggerOptions(tags=[str(n) for n in range(9)]))
    before = harness.memory.dump()
    with pytest.raises(error, match=message):
        trigger(harness.engine, task, arguments, options=TriggerOptions(**options))
    good = Request(definition=task, args=(1,), options=TriggerOptions(idempotency_key="good"))
    bad = Request(definition=task, args=arguments, options=TriggerOptions(**options))
    with pytest.raises(error, match=message):
        start(harness.engine, [good, bad])
    assert harness.memory.dump() == before
    run_id = trigger(harness.engine, task, (2,), options=good.options)
    assert harness.stored(run_id).spec.input == "[[2],{}]"


def test_a_conflict_in_a_batch_starts_none_of_it(harness: Harness) -> None:
    task = harness.task(add)
    key = TriggerOptions(idempotency_key="k")
    with pytest.raises(IdempotencyConflict):
        start(
            harness.engine,
            [
                Request(definition=task, args=(1,), options=key),
                Request(definition=task, args=(2,), options=key),
            ],
        )
    assert not harness.memory.open_runs()
    run_id = trigger(harness.engine, task, (3,), options=key)
    assert harness.stored(run_id).spec.input == "[[3],{}]"


def test_what_a_trigger_leaves_out_is_what_the_task_was_declared_with(harness: Harness) -> None:
    defaults = TriggerOptions(ttl=60, max_duration=120, priority=3, tags=["all"])
    task = harness.task(add, defaults=defaults)
    plain = harness.stored(trigger(harness.engine, task, (1,)))
    assert plain.deadline_at == plain.available_at + MINUTE
    assert (plain.spec.max_duration, plain.spec.priority, plain.spec.tags) == (
        2 * MINUTE,
        3,
        ("all",),
    )
    given = TriggerOptions(ttl=30, priority=0, tags=["mine"])
    run = harness.stored(trigger(harness.engine, task, (1,), options=given))
    assert run.deadline_at == run.available_at + MINUTE / 2
    assert (run.spec.max_duration, run.spec.priority, run.spec.tags) == (
        2 * MINUTE,
        0,
        ("all", "mine"),
    )


def test_a_body_sees_what_its_run_was_started_with(harness: Harness) -> None:
    def body() -> list[Any]:
        run = current_run()
        assert run.deadline is not None
        return [list(run.tags), dict(run.metadata), run.priority, run.max_attempts,
                run.deadline, run.queue, run.concurrency_key]  # fmt: skip

    harness.config = Config(queues={"q": {}})
    task = harness.task(body, retry=RetryPolicy(max_attempts=5))
    options = TriggerOptions(
        tags=["a"],
        metadata={"n": (1, 2)},
        priority=-2,
        max_attempts=4,
        max_duration=60,
        queue="q",
        concurrency_key="c",
    )
    run_id = trigger(harness.engine, task, options=options)
    harness.run_until_idle()
    deadline = harness.run(run_id).started_at
    assert deadline is not None
    assert harness.result(run_id) == [
        ["a"], {"n": (1, 2)}, -2, 4, deadline + MINUTE, "q", "c"
    ]  # fmt: skip


def test_a_run_starts_at_the_time_it_was_given(harness: Harness) -> None:
    task = harness.task(add)
    when = harness.clock.now + timedelta(hours=3)
    later = trigger(harness.engine, task, (1,), options=TriggerOptions(delay=when))
    soon = trigger(harness.engine, task, (1,), options=TriggerOptions(delay=60))
    assert harness.dispatcher.nudges == []
    harness.run_until_idle(max_virtual_time=timedelta(hours=1))
    assert (harness.run(soon).state, harness.run(later).state) == ("completed", "queued")
    harness.run_until_idle()
    assert harness.run(later).started_at == when


@pytest.mark.parametrize("allowed", [1, 2, 6])
def test_max_attempts_of_a_run_stands_in_for_its_tasks_policy(
    harness: Harness, allowed: int
) -> None:
    tried = []

    def failing() -> None:
        tried.append(current_run().max_attempts)
        raise OSError("no")

    task = harness.task(failing, retry=RetryPolicy(max_attempts=3, min_delay=0))
    run_id = trigger(harness.engine, task, options=TriggerOptions(max_attempts=allowed))
    harness.run_until_idle()
    assert tried == [allowed] * allowed
    assert harness.run(run_id).state == "failed"
