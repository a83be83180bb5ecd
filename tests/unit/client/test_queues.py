"""What people ask of durable queues: each verb of the Python functions, and each bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from trigger_celery import (
    QueueInfo,
    RateLimit,
    get_queue,
    get_run,
    limit_queue,
    list_queues,
    pause_queue,
    queue_holders,
    release_slot,
    reset_queue,
    resume_queue,
    wait_for_event,
)
from trigger_celery.config import Config
from trigger_celery.declare.definition import TaskDefinition
from trigger_celery.declare.options import TriggerOptions
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.engine.segment.outcome import Left
from trigger_celery.errors import (
    IllegalTransition,
    InvalidName,
    InvalidOption,
    QueueNotFound,
    RunNotFound,
)
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.identity import new_token
from trigger_celery.vocabulary.news import News, QueueNews, Topic
from trigger_celery.vocabulary.records import Claim, Limits, Rate
from trigger_celery.vocabulary.states import RunState

NOW = timedelta(0)
MINUTE = timedelta(minutes=1)
MISSING = UUID(int=7)


def mail(to: str = "ann") -> str:
    return f"mailed {to}"


def hold() -> object:
    return wait_for_event("go").payload


@pytest.fixture
def task(harness: Harness) -> TaskDefinition:
    """Return a task; the store knows the queues ``emails``, of two slots, and ``reports``."""
    harness.memory.queues.declare({"emails": Limits(concurrency=2), "reports": Limits()})
    return harness.task(mail)


def put(harness: Harness, task: TaskDefinition, queue: str | None = "emails") -> UUID:
    return trigger(harness.engine, task, options=TriggerOptions(queue=queue))


def take(harness: Harness, run_id: UUID, worker: str = "w1") -> bool:
    """Claim a run as a worker would; return whether it may execute."""
    asked = Claim(
        run_id=run_id,
        task=harness.run(run_id).task,
        worker=worker,
        version="",
        length=MINUTE,
        token=new_token(),
    )
    return harness.memory.runs.claim(asked) is not None


def nudged(harness: Harness) -> list[UUID]:
    """Return the runs that were nudged since the last call."""
    found = [nudge.run_id for nudge in harness.dispatcher.nudges]
    harness.dispatcher.nudges.clear()
    return found


def full(harness: Harness, task: TaskDefinition) -> tuple[UUID, UUID, UUID]:
    """Return two runs that hold the slots of ``emails``, and one that waits."""
    first, second = put(harness, task), put(harness, task)
    assert take(harness, first)
    assert take(harness, second, "w2")
    third = put(harness, task)
    nudged(harness)
    return first, second, third


def names() -> list[str]:
    return [queue.name for queue in list_queues()]


# look


def test_a_queue_shows_its_limits_and_how_full_it_is(
    harness: Harness, task: TaskDefinition
) -> None:
    full(harness, task)
    assert get_queue("emails") == QueueInfo(
        name="emails",
        declared=Limits(concurrency=2),
        limits=Limits(concurrency=2),
        held=2,
        waiting=1,
        waiting_since=harness.clock.now,
    )
    assert names() == ["emails", "reports"]
    assert list_queues()[0] == get_queue("emails")


def test_a_run_names_the_line_it_stands_in_until_it_is_let_in(
    harness: Harness, task: TaskDefinition
) -> None:
    first, _, third = full(harness, task)
    assert [get_run(each).in_line_of for each in (first, third)] == ["", "emails"]
    limit_queue("emails", concurrency_limit=3)
    assert nudged(harness) == [third]
    assert get_run(third).in_line_of == ""


def test_without_queues_there_is_nothing_to_list(harness: Harness) -> None:
    assert list(list_queues()) == []


def test_a_line_that_only_the_deployment_limits_is_listed(harness: Harness) -> None:
    limit_queue("*", concurrency_limit=1)
    task = harness.task(mail)
    assert take(harness, put(harness, task, None))
    put(harness, task, None)
    loads = [(each.name, each.held, each.waiting) for each in list_queues()]
    assert loads == [("*", 1, 1), ("task/mail", 1, 1)]


VERBS: dict[str, Callable[[Any], object]] = {
    "get": get_queue,
    "pause": pause_queue,
    "resume": resume_queue,
    "limit": lambda name: limit_queue(name, concurrency_limit=1),
    "reset": reset_queue,
    "holders": queue_holders,
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
@pytest.mark.parametrize("name", ["emailz", "", "task/", "task/undeclared", "a\0b", None, 7])
def test_no_verb_knows_a_queue_that_is_not_there(
    harness: Harness, task: TaskDefinition, verb: Callable[[Any], object], name: object
) -> None:
    with pytest.raises(QueueNotFound):
        verb(name)
    assert names() == ["emails", "reports"]


def test_an_unknown_name_is_refused_with_the_closest(
    harness: Harness, task: TaskDefinition
) -> None:
    with pytest.raises(QueueNotFound, match=r"'emailz'; did you mean 'emails'\?"):
        pause_queue("emailz")


def test_an_unknown_name_is_refused_where_no_queue_is_declared(harness: Harness) -> None:
    with pytest.raises(QueueNotFound, match="none is declared"):
        pause_queue("emails")


# pause, resume


def test_a_paused_queue_accepts_runs_and_starts_none(
    harness: Harness, task: TaskDefinition
) -> None:
    assert pause_queue("emails", reason="gateway away", by="ann")
    run_id = put(harness, task)
    assert nudged(harness) == []
    assert not take(harness, run_id)
    queue = get_queue("emails")
    assert (queue.paused_at, queue.paused_by) == (harness.clock.now, "ann")
    assert (queue.pause_reason, queue.stopped) == ("gateway away", "paused")
    assert queue.waiting == 1


def test_a_second_pause_changes_nothing(harness: Harness, task: TaskDefinition) -> None:
    assert pause_queue("emails", by="ann")
    assert not pause_queue("emails", by="bob")
    assert get_queue("emails").paused_by == "ann"


def test_executing_runs_of_a_paused_queue_go_on(harness: Harness, task: TaskDefinition) -> None:
    first, *_ = full(harness, task)
    pause_queue("emails")
    assert harness.run(first).state is RunState.EXECUTING
    assert get_queue("emails").held == 2


def test_a_suspended_run_of_a_paused_queue_goes_on_after_the_pause(
    harness: Harness, task: TaskDefinition
) -> None:
    run_id = put(harness, harness.task(hold))
    harness.run_until_idle(NOW)
    pause_queue("emails")
    harness.send_event("go", 7)
    harness.run_until_idle(NOW)
    assert harness.run(run_id).state is RunState.QUEUED
    resume_queue("emails")
    harness.run_until_idle(NOW)
    assert harness.result(run_id) == 7


def test_runs_in_line_are_nudged_as_soon_as_a_queue_is_resumed(
    harness: Harness, task: TaskDefinition
) -> None:
    pause_queue("emails", by="ann", reason="gateway away")
    waiting = [put(harness, task) for _ in range(3)]
    assert resume_queue("emails")
    assert nudged(harness) == waiting[:2]
    queue = get_queue("emails")
    assert (queue.paused_at, queue.paused_by, queue.pause_reason) == (None, "", "")
    assert not resume_queue("emails")
    assert nudged(harness) == []


def test_a_pause_of_everything_stops_all_lines_until_it_ends(
    harness: Harness, task: TaskDefinition
) -> None:
    assert pause_queue("*", by="ann")
    waiting = [put(harness, task, name) for name in ("emails", "reports", None)]
    assert nudged(harness) == []
    assert not any(take(harness, run_id) for run_id in waiting)
    stopped = {queue.name: queue.stopped for queue in list_queues()}
    assert stopped == {
        "*": "paused",
        "emails": "everything is paused",
        "reports": "everything is paused",
        "task/mail": "everything is paused",
    }
    assert get_queue("emails").stopped == "everything is paused"
    assert resume_queue("*")
    assert set(nudged(harness)) == set(waiting)
    assert get_queue("emails").stopped == ""


def test_a_task_can_be_paused_in_whatever_queue(harness: Harness, task: TaskDefinition) -> None:
    assert pause_queue("task/mail")
    waiting = [put(harness, task, name) for name in ("emails", None)]
    other = put(harness, harness.task(hold))
    assert nudged(harness) == [other]
    assert resume_queue("task/mail")
    assert set(nudged(harness)) == set(waiting)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"by": "x" * 201}, InvalidName),
        ({"by": "a\nb"}, InvalidName),
        ({"by": 7}, InvalidName),
        ({"reason": "x" * 1_001}, InvalidOption),
        ({"reason": "a\0b"}, InvalidOption),
        ({"reason": None}, InvalidOption),
    ],
)
def test_a_pause_that_could_not_be_stored_is_refused(
    harness: Harness, task: TaskDefinition, given: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        pause_queue("emails", **given)
    assert get_queue("emails").paused_at is None
    with pytest.raises(error):
        resume_queue("emails", **given)


def test_listeners_receive_each_pause_and_its_end(harness: Harness, task: TaskDefinition) -> None:
    received: list[tuple[Topic, News]] = []

    class Listeners:
        def wants(self, topic: Topic) -> bool:
            return True

        def send(self, topic: Topic, news: News) -> None:
            received.append((topic, news))

    harness.engine.listeners = Listeners()
    pause_queue("emails", by="ann", reason="gateway away")
    pause_queue("emails")
    resume_queue("emails", by="bob")
    resume_queue("emails")
    assert received == [
        (Topic.QUEUE_PAUSED, QueueNews(name="emails", by="ann", reason="gateway away")),
        (Topic.QUEUE_RESUMED, QueueNews(name="emails", by="bob")),
    ]


# limit, reset


def test_a_higher_limit_lets_more_in_at_once(harness: Harness, task: TaskDefinition) -> None:
    *_, third = full(harness, task)
    assert limit_queue("emails", concurrency_limit=3)
    assert nudged(harness) == [third]
    assert not limit_queue("emails", concurrency_limit=3)
    queue = get_queue("emails")
    assert (queue.declared.concurrency, queue.limits.concurrency) == (2, 3)
    assert queue.overridden == ("concurrency",)


def test_a_changed_limit_survives_deployments_and_reset_returns_to_the_code(
    harness: Harness, task: TaskDefinition
) -> None:
    limit_queue("emails", concurrency_limit=1)
    harness.memory.queues.declare({"emails": Limits(concurrency=5)})
    assert get_queue("emails").limits == Limits(concurrency=1)
    waiting = [put(harness, task) for _ in range(3)]
    nudged(harness)
    assert reset_queue("emails")
    assert nudged(harness) == waiting[1:]
    assert get_queue("emails").limits == Limits(concurrency=5)
    assert get_queue("emails").overridden == ()
    assert not reset_queue("emails")


def test_limits_that_are_not_given_stay_as_they_are(harness: Harness, task: TaskDefinition) -> None:
    limit_queue("emails", key_limit=1, rate_limit=RateLimit(100, per=MINUTE, burst=5))
    limit_queue("emails", key_rate_limit=RateLimit(1, per=1))
    limit_queue("emails", key_limit=None)
    queue = get_queue("emails")
    assert queue.limits == Limits(
        concurrency=2,
        rate=Rate(interval=timedelta(seconds=0.6), burst=5),
        key_rate=Rate(interval=timedelta(seconds=1)),
    )
    assert queue.overridden == ("key_concurrency", "key_rate", "rate")


def test_none_lifts_a_limit_that_code_declares(harness: Harness, task: TaskDefinition) -> None:
    *_, third = full(harness, task)
    limit_queue("emails", concurrency_limit=None)
    assert nudged(harness) == [third]
    assert get_queue("emails").limits == Limits()
    assert get_queue("emails").overridden == ("concurrency",)


def test_a_limit_of_zero_starts_nothing_and_says_so(harness: Harness, task: TaskDefinition) -> None:
    limit_queue("emails", concurrency_limit=0)
    run_id = put(harness, task)
    assert not take(harness, run_id)
    assert get_queue("emails").stopped == "paused by its limit of 0"
    limit_queue("emails", concurrency_limit=1)
    assert nudged(harness) == [run_id]
    limit_queue("*", concurrency_limit=0)
    assert get_queue("emails").stopped == "paused by the limit of 0 of everything"


def test_a_limit_of_everything_holds_across_queues(harness: Harness, task: TaskDefinition) -> None:
    limit_queue("*", concurrency_limit=1)
    first, second = put(harness, task), put(harness, task, "reports")
    assert take(harness, first)
    assert not take(harness, second)
    nudged(harness)
    limit_queue("*", concurrency_limit=2)
    assert nudged(harness) == [second]


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("emails", {}),
        ("emails", {"concurrency_limit": -1}),
        ("emails", {"concurrency_limit": True}),
        ("emails", {"concurrency_limit": 1.5}),
        ("emails", {"key_limit": 0}),
        ("emails", {"rate_limit": 100}),
        ("emails", {"rate_limit": "100/m"}),
        ("emails", {"key_rate_limit": (1, 60)}),
        ("*", {"key_limit": 1}),
        ("*", {"key_rate_limit": RateLimit(1, per=1)}),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(
    harness: Harness, task: TaskDefinition, name: str, given: dict[str, Any]
) -> None:
    with pytest.raises(InvalidOption):
        limit_queue(name, **given)
    assert get_queue("emails").overridden == ()
    assert names() == ["emails", "reports"]


def test_a_queue_in_settings_can_be_changed_before_any_worker_stored_it() -> None:
    config = Config(queues={"imports": {"concurrency_limit": 4}})
    with Harness(config=config) as harness:
        assert get_queue("imports").limits == Limits(concurrency=4)
        assert names() == []
        assert pause_queue("imports")
        assert get_queue("imports").declared == Limits(concurrency=4)
        harness.sweep()
        assert get_queue("imports").stopped == "paused"


# holders, release


def test_the_longest_holder_of_a_slot_is_listed_first(
    harness: Harness, task: TaskDefinition
) -> None:
    first = put(harness, task)
    assert take(harness, first)
    harness.advance(MINUTE)
    second = put(harness, task)
    assert take(harness, second, "w2")
    found = queue_holders("emails")
    assert [(each.run_id, each.worker, each.task) for each in found] == [
        (first, "w1", "mail"),
        (second, "w2", "mail"),
    ]
    assert found[1].since - found[0].since == MINUTE
    assert [each.run_id for each in queue_holders("emails", limit=1)] == [first]
    assert list(queue_holders("reports")) == []


@pytest.mark.parametrize("limit", [0, -1, True, "7", None])
def test_how_many_holders_are_listed_is_a_number(
    harness: Harness, task: TaskDefinition, limit: Any
) -> None:
    with pytest.raises(InvalidOption):
        queue_holders("emails", limit=limit)


def test_a_released_slot_counts_as_a_crash_and_the_run_goes_on(
    harness: Harness, task: TaskDefinition
) -> None:
    first, second, third = full(harness, task)
    release_slot(str(first), reason="host is gone", by="ann")
    run = harness.run(first)
    assert (run.state, run.crashes, run.worker) == (RunState.QUEUED, 1, "")
    assert [each.run_id for each in queue_holders("emails")] == [second]
    entries = [(entry.verb, json.loads(entry.data)) for entry in harness.memory.runs.history(first)]
    assert entries[-1] == ("release", {"by": "ann", "reason": "host is gone"})
    assert entries[-2][0] == "recover"
    assert {first, third} >= set(nudged(harness)) != set()
    harness.memory.runs.recover(second, "w2")
    harness.run_until_idle()
    assert {harness.result(each) for each in (first, second, third)} == {"mailed ann"}


def test_the_worker_of_a_released_run_records_nothing_more(
    harness: Harness, task: TaskDefinition
) -> None:
    def body() -> str:
        if not harness.run(run_id).crashes:
            release_slot(run_id)
        return "done"

    run_id = put(harness, harness.task(body))
    assert isinstance(harness.execute(run_id), Left)
    assert harness.run(run_id).state is RunState.QUEUED
    harness.run_until_idle()
    assert harness.result(run_id) == "done"


def test_a_run_that_is_released_too_often_fails(harness: Harness, task: TaskDefinition) -> None:
    run_id = put(harness, task)
    for _ in range(harness.stored(run_id).spec.max_crashes):
        harness.advance(MINUTE)
        assert take(harness, run_id)
        release_slot(run_id)
    assert harness.run(run_id).state is RunState.FAILED


def test_a_run_without_a_slot_is_not_released(harness: Harness, task: TaskDefinition) -> None:
    *_, third = full(harness, task)
    with pytest.raises(IllegalTransition, match="holds no slot: it is queued"):
        release_slot(third)
    free = put(harness, task, "reports")
    assert take(harness, free)
    with pytest.raises(IllegalTransition, match="queue 'reports' did not limit it"):
        release_slot(free)
    assert harness.run(free).crashes == 0


@pytest.mark.parametrize("run_id", [MISSING, str(MISSING), "seven", None])
def test_no_slot_is_taken_from_a_run_that_is_not_there(harness: Harness, run_id: Any) -> None:
    with pytest.raises(RunNotFound):
        release_slot(run_id)
