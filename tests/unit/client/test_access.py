"""Which callers may call a verb, and what is recorded of the call: decided once for all verbs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

import trigger_celery
from trigger_celery.client.access import Caller, acting
from trigger_celery.errors import InvalidName, InvalidOption
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.identity import new_id

UNKNOWN = new_id()


class Refused(Exception):
    """What the hook of these tests raises."""


@pytest.fixture
def harness() -> Iterator[Harness]:
    with Harness() as harness:
        yield harness


def task() -> None:
    return None


BY_ID: dict[str, Callable[..., Any]] = {
    "get_run": partial(trigger_celery.get_run, UNKNOWN),
    "cancel_run": partial(trigger_celery.cancel_run, UNKNOWN),
    "retry_run": partial(trigger_celery.retry_run, UNKNOWN),
    "pause_run": partial(trigger_celery.pause_run, UNKNOWN),
    "resume_run": partial(trigger_celery.resume_run, UNKNOWN),
    "reschedule_run": partial(trigger_celery.reschedule_run, UNKNOWN, delay=1),
    "rerun": partial(trigger_celery.rerun, UNKNOWN),
    "fork_run": partial(trigger_celery.fork_run, UNKNOWN, step="x"),
    "release_slot": partial(trigger_celery.release_slot, UNKNOWN),
    "list_runs": trigger_celery.list_runs,
    "list_queues": trigger_celery.list_queues,
    "get_queue": partial(trigger_celery.get_queue, "mail"),
    "pause_queue": partial(trigger_celery.pause_queue, "mail"),
    "resume_queue": partial(trigger_celery.resume_queue, "mail"),
    "limit_queue": partial(trigger_celery.limit_queue, "mail", key_limit=1),
    "reset_queue": partial(trigger_celery.reset_queue, "mail"),
    "queue_holders": partial(trigger_celery.queue_holders, "mail"),
    "open_waits": trigger_celery.open_waits,
    "complete_wait": partial(trigger_celery.complete_wait, 1),
    "skip_wait": partial(trigger_celery.skip_wait, 1),
    "extend_wait": partial(trigger_celery.extend_wait, 1, 1),
    "list_events": trigger_celery.list_events,
    "send_event": partial(trigger_celery.send_event, "paid"),
    "create_token": trigger_celery.create_token,
    "complete_token": partial(trigger_celery.complete_token, UNKNOWN),
    "cancel_token": partial(trigger_celery.cancel_token, UNKNOWN),
    "list_schedules": trigger_celery.list_schedules,
    "pause_schedule": partial(trigger_celery.pause_schedule, "daily"),
    "resume_schedule": partial(trigger_celery.resume_schedule, "daily"),
    "delete_schedule": partial(trigger_celery.delete_schedule, "daily"),
    "run_schedule": partial(trigger_celery.run_schedule, "daily"),
    "trigger": partial(trigger_celery.trigger, "task"),
    "reset_idempotency_key": partial(trigger_celery.reset_idempotency_key, "task", "key"),
}


@pytest.mark.parametrize("verb", BY_ID)
def test_each_verb_asks_before_it_says_whether_its_object_exists(
    harness: Harness, verb: str
) -> None:
    asked: list[tuple[str, str]] = []

    def authorize(name: str, subject: object, by: str) -> None:
        asked.append((name, by))
        raise Refused

    with acting(Caller(by="api:1", authorize=authorize)), pytest.raises(Refused):
        BY_ID[verb]()
    assert asked == [(verb, "api:1")]


def test_the_caller_is_recorded_where_a_verb_names_no_other(harness: Harness) -> None:
    run_id = harness.trigger(harness.task(task))
    with acting(Caller(by="admin:ann")):
        trigger_celery.pause_run(run_id, reason="night")
        trigger_celery.resume_run(run_id, by="bob")
    trigger_celery.pause_run(run_id)
    noted = [json.loads(entry.data) for entry in harness.memory.runs.history(run_id)[1:]]
    calls = [data.pop("call") for data in noted]
    assert noted == [{"by": "admin:ann", "reason": "night"}, {"by": "bob"}, {}]
    assert len({*calls}) == 3


def test_a_run_that_is_started_from_outside_names_its_caller(harness: Harness) -> None:
    harness.task(task)
    with acting(Caller(by="api:1", via="api")):
        handle = trigger_celery.trigger("task")
    assert trigger_celery.get_run(handle.id).origin == {"kind": "api", "by": "api:1"}
    assert trigger_celery.get_run(trigger_celery.trigger("task").id).origin == {}


@pytest.mark.parametrize("verb", ["cancel_run", "retry_run", "rerun", "pause_queue"])
def test_by_and_reason_are_checked_alike(harness: Harness, verb: str) -> None:
    for by in ("x" * 201, "a\nb"):
        with pytest.raises(InvalidName, match=rf"the by of {verb}\(\)"):
            BY_ID[verb](by=by)
    for reason in ("x" * 1_001, "a\nb", 5):
        with pytest.raises(InvalidOption, match=rf"the reason given to {verb}\(\)"):
            BY_ID[verb](reason=reason)
