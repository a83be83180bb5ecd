"""What a person may ask of a run: each verb of the Python functions, and each bad input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from support.store_rows import said
from trigger_celery import (
    RetryPolicy,
    cancel_run,
    fork_run,
    get_run,
    heartbeat,
    pause_run,
    rerun,
    reschedule_run,
    resume_run,
    retry_run,
    sleep,
    step,
    wait_for_event,
)
from trigger_celery.client.copies import before
from trigger_celery.config import Config
from trigger_celery.declare.options import TriggerOptions
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.engine.segment.outcome import Left
from trigger_celery.errors import (
    EncodeError,
    IllegalTransition,
    InvalidTime,
    RunNotFound,
    StepNotFound,
    UnknownTask,
)
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import RecordedCall, StepKind
from trigger_celery.vocabulary.states import RunState

NOW = timedelta(0)
HOUR = timedelta(hours=1)
MISSING = UUID(int=7)
LOG: list[object] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    LOG.clear()


@pytest.fixture
def harness() -> Iterator[Harness]:
    with Harness() as harness:
        yield harness


@step
def pay(amount: int) -> str:
    LOG.append(f"pay {amount}")
    return f"paid {amount}"


@step
def mail(to: str) -> str:
    LOG.append(f"mail {to}")
    return f"mailed {to}"


def order(amount: int, *, to: str = "ann") -> list[object]:
    paid = pay(amount)
    sleep(HOUR)
    approval = wait_for_event("approved", timeout=HOUR * 24)
    return [paid, approval.payload, mail(to)]


def finished(harness: Harness) -> UUID:
    """Return a run of ``order`` that went to its end."""
    run_id = harness.trigger(harness.task(order), 7)
    harness.run_until_idle(HOUR)
    harness.send_event("approved", "yes")
    harness.run_until_idle(NOW)
    assert harness.result(run_id) == ["paid 7", "yes", "mailed ann"]
    harness.advance(timedelta(seconds=1))  # what was received before a new run is not its own
    LOG.clear()
    return run_id


def delayed(harness: Harness, **options: Any) -> UUID:
    """Return a run of ``order`` that starts in an hour."""
    return trigger(
        harness.engine, harness.task(order), (7,), options=TriggerOptions(delay=HOUR, **options)
    )


def history(harness: Harness, run_id: UUID) -> list[tuple[str, object]]:
    return [(entry.verb, said(entry.data)) for entry in harness.memory.runs.history(run_id)]


# get


def test_a_run_is_read_with_its_values_decoded(harness: Harness) -> None:
    run_id = finished(harness)
    info = get_run(str(run_id))
    assert (info.id, info.task, info.state) == (run_id, "order", RunState.COMPLETED)
    assert (info.args, info.kwargs) == ((7,), {})
    assert info.output == ["paid 7", "yes", "mailed ann"]
    assert (info.error, info.origin, info.metadata) == (None, {}, {})


def test_a_failed_run_is_read_with_its_failure(harness: Harness) -> None:
    def body() -> None:
        raise ValueError("no such customer")

    run_id = harness.trigger(harness.task(body, retry=RetryPolicy(max_attempts=1)))
    harness.run_until_idle()
    error = get_run(run_id).error
    assert error is not None
    assert (error.kind, error.message) == ("ValueError", "no such customer")


VERBS: dict[str, Callable[[Any], object]] = {
    "get": get_run,
    "cancel": cancel_run,
    "retry": retry_run,
    "rerun": rerun,
    "fork": lambda run_id: fork_run(run_id, step="pay"),
    "reschedule": lambda run_id: reschedule_run(run_id, delay=HOUR),
    "pause": pause_run,
    "resume": resume_run,
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
@pytest.mark.parametrize("run_id", [MISSING, str(MISSING), "seven", "", None])
def test_no_verb_knows_a_run_that_is_not_there(
    harness: Harness, verb: Callable[[Any], object], run_id: object
) -> None:
    with pytest.raises(RunNotFound):
        verb(run_id)
    assert harness.dispatcher.nudges == []


# cancel, retry


def test_a_cancel_records_its_caller_and_reason(harness: Harness) -> None:
    run_id = delayed(harness)
    assert cancel_run(run_id, reason="a typo", by="ann")
    assert not cancel_run(run_id)
    error = get_run(run_id).error
    assert error is not None
    assert error.message == "a typo"
    assert history(harness, run_id)[-1] == ("cancel", {"by": "ann", "reason": "a typo"})


def test_a_retry_keeps_checkpoints_and_records_its_caller_and_reason(harness: Harness) -> None:
    def body() -> str:
        paid: str = pay(1)
        if len(LOG) == 1:
            LOG.append("failed")
            raise ValueError
        return paid

    run_id = harness.trigger(harness.task(body, retry=RetryPolicy(max_attempts=1)))
    harness.run_until_idle()
    retry_run(run_id, reason="fixed", by="bob")
    assert history(harness, run_id)[-1] == ("retry", {"by": "bob", "reason": "fixed"})
    harness.run_until_idle()
    assert harness.result(run_id) == "paid 1"
    assert LOG == ["pay 1", "failed"]


def test_a_completed_run_is_not_retried(harness: Harness) -> None:
    with pytest.raises(IllegalTransition, match="only failed and timed-out runs"):
        retry_run(finished(harness))


# rerun


def test_a_rerun_starts_from_the_top_with_the_same_input(harness: Harness) -> None:
    old = finished(harness)
    new = rerun(old, by="ann", reason="lost mail")
    assert harness.dispatcher.nudges[-1].run_id == new
    harness.run_until_idle(HOUR)
    assert LOG == ["pay 7"]
    info = get_run(new)
    assert (info.args, info.copied_from_id) == ((7,), old)
    assert info.origin == {"kind": "rerun", "by": "ann", "reason": "lost mail"}
    assert get_run(old).state is RunState.COMPLETED


def test_a_rerun_may_have_another_input(harness: Harness) -> None:
    new = rerun(finished(harness), args=[8], kwargs={"to": "bob"})
    info = get_run(new)
    assert (info.args, info.kwargs) == ((8,), {"to": "bob"})
    again = rerun(new, kwargs={})
    assert (get_run(again).args, get_run(again).kwargs) == ((8,), {})


def test_a_rerun_keeps_what_belongs_to_the_work_and_not_to_the_call(harness: Harness) -> None:
    harness.config = Config(queues={"slow": {}})
    old = delayed(
        harness,
        ttl=HOUR,
        idempotency_key="k",
        tags=("vip",),
        metadata={"a": 1},
        priority=5,
        queue="slow",
        concurrency_key="c",
        max_attempts=7,
        max_duration=HOUR,
    )
    new, was = harness.stored(rerun(old)), harness.stored(old)
    kept = (
        "input",
        "tags",
        "metadata",
        "priority",
        "queue",
        "concurrency_key",
        "max_attempts",
        "max_duration",
        "max_crashes",
    )
    assert {name: getattr(new.spec, name) for name in kept} == {
        name: getattr(was.spec, name) for name in kept
    }
    assert new.spec.tags == ("vip",)
    assert new.available_at == harness.clock.now
    assert (new.deadline_at, new.spec.parent_id) == (None, None)


def rolled_back(harness: Harness, old: UUID) -> UUID:
    """Return the id of a rerun whose transaction was rolled back."""
    with suppress(ZeroDivisionError), harness.memory.transaction():
        new = rerun(old)
        raise ZeroDivisionError
    return new


def test_a_rerun_vanishes_with_its_callers_transaction(harness: Harness) -> None:
    old = finished(harness)
    before_it = len(harness.dispatcher.nudges)
    new = rolled_back(harness, old)
    with pytest.raises(RunNotFound):
        get_run(new)
    assert len(harness.dispatcher.nudges) == before_it


@pytest.mark.parametrize("verb", [rerun, lambda run_id, **to: fork_run(run_id, step="pay", **to)])
def test_an_edited_input_is_checked_before_anything_is_written(
    harness: Harness, verb: Callable[..., UUID]
) -> None:
    old = finished(harness)
    before_it = harness.memory.dump()
    with pytest.raises(TypeError, match="order"):
        verb(old, args=[1, 2, 3])
    with pytest.raises(EncodeError):
        verb(old, args=[object()])
    harness.engine.tasks.remove("order")
    with pytest.raises(UnknownTask, match="order"):
        verb(old, args=[1])
    assert harness.memory.dump() == before_it
    assert get_run(verb(old)).args == (7,)


# fork


def test_a_fork_runs_nothing_again_of_what_lies_before_its_step(harness: Harness) -> None:
    old = finished(harness)
    new = fork_run(old, step="mail", kwargs={"to": "bob"}, by="ann")
    assert harness.dispatcher.nudges[-1].run_id == new
    assert harness.steps(new) == {"pay": "paid 7"}
    harness.run_until_idle(NOW)
    assert harness.result(new) == ["paid 7", "yes", "mailed bob"]
    assert LOG == ["mail bob"]
    info = get_run(new)
    assert info.copied_from_id == old
    assert info.origin == {"kind": "fork", "step": "mail", "by": "ann"}
    assert harness.result(old) == ["paid 7", "yes", "mailed ann"]


def test_a_fork_at_the_first_step_copies_nothing(harness: Harness) -> None:
    new = fork_run(finished(harness), step="pay")
    harness.run_until_idle(NOW)
    assert LOG == ["pay 7"]
    assert harness.run(new).state is RunState.SUSPENDED


def test_a_fork_at_a_wait_waits_again(harness: Harness) -> None:
    new = fork_run(finished(harness), step="approved")
    harness.run_until_idle(NOW)
    assert harness.run(new).state is RunState.SUSPENDED
    harness.send_event("approved", "again")
    harness.run_until_idle(NOW)
    assert harness.result(new) == ["paid 7", "again", "mailed ann"]
    assert LOG == ["mail ann"]


def test_a_live_run_is_forked_and_goes_on(harness: Harness) -> None:
    old = harness.trigger(harness.task(order), 7)
    harness.run_until_idle(HOUR)
    new = fork_run(old, step="approved", args=[7])
    harness.send_event("approved", "both")
    harness.run_until_idle(HOUR)
    assert harness.result(old) == ["paid 7", "both", "mailed ann"]
    assert harness.result(new) == ["paid 7", "both", "mailed ann"]
    assert LOG == ["pay 7", "mail ann", "mail ann"]


def test_a_failed_run_is_forked_at_the_step_that_failed(harness: Harness) -> None:
    @step
    def ship(fail: bool) -> str:
        if fail:
            raise ValueError
        return "shipped"

    def body(fail: bool) -> list[str]:
        paid = pay(1)
        try:
            return [paid, ship(fail)]
        except ValueError:
            mail("sorry")
            raise

    old = harness.trigger(harness.task(body, retry=RetryPolicy(max_attempts=1)), True)
    harness.run_until_idle()
    assert list(harness.steps(old)) == ["pay", "mail"]
    new = fork_run(old, step="ship", args=[False])
    harness.run_until_idle()
    assert harness.result(new) == ["paid 1", "shipped"]
    assert LOG == ["pay 1", "mail sorry"]


def test_an_unknown_step_is_refused_with_the_closest_ones(harness: Harness) -> None:
    old = finished(harness)
    before_it = harness.memory.dump()
    with pytest.raises(StepNotFound, match="'mial'; near it: 'mail'"):
        fork_run(old, step="mial")
    with pytest.raises(StepNotFound, match="it recorded none"):
        fork_run(delayed(harness), step="mail")
    assert harness.memory.dump()["checkpoints"] == before_it["checkpoints"]


def at(second: int) -> datetime:
    return datetime(2026, 1, 1, 0, 0, second).astimezone()


def place(key: str, position: int | None, began: int, ended: int | None) -> RecordedCall:
    return RecordedCall(
        key=key,
        kind=StepKind.STEP,
        position=position,
        is_over=ended is not None,
        began_at=at(began),
        ended_at=None if ended is None else at(ended),
    )


def test_of_parallel_branches_a_fork_takes_what_was_over_by_then() -> None:
    places = [
        place("fetch", 10, 0, 1),
        place("branch-1/a", 20, 1, 2),
        place("branch-1/b", 30, 2, 9),
        place("branch-2/a", 20, 1, 3),
        place("branch-2/b", 30, 3, 4),
        place("after", 20, 10, 11),
    ]
    run_id = new_id()
    assert before(places, "after", run_id) == [each.key for each in places[:-1]]
    assert before(places, "branch-2/b", run_id) == ["fetch", "branch-1/a", "branch-2/a"]
    assert before(places, "branch-1/b", run_id) == ["fetch", "branch-1/a"]


def test_a_step_that_was_tried_twice_began_with_its_first_try() -> None:
    places = [place("a", 10, 0, 1), place("beside", 20, 3, 4), place("b", None, 2, None)]
    assert before(places, "b", new_id()) == ["a"]


# reschedule


def test_a_delayed_run_gets_another_start(harness: Harness) -> None:
    run_id = delayed(harness)
    reschedule_run(run_id, delay=HOUR * 3, by="ann")
    start = harness.clock.now + HOUR * 3
    assert harness.run(run_id).available_at == start
    assert history(harness, run_id)[-1] == ("reschedule", {"start": start.isoformat(), "by": "ann"})
    harness.advance(HOUR * 2)
    harness.run_until_idle(NOW)
    assert LOG == []
    harness.run_until_idle(HOUR)
    assert LOG == ["pay 7"]


def test_a_delayed_run_may_start_at_a_time_or_at_once(harness: Harness) -> None:
    run_id = delayed(harness)
    reschedule_run(run_id, delay=harness.clock.now + HOUR * 9)
    assert harness.run(run_id).available_at == harness.clock.now + HOUR * 9
    assert harness.dispatcher.nudges == []
    reschedule_run(run_id, delay=0)
    assert [nudge.run_id for nudge in harness.dispatcher.nudges] == [run_id]
    harness.run_until_idle(NOW)
    assert LOG == ["pay 7"]


BAD_STARTS: list[Any] = [-1, timedelta(days=-1), float("nan"), "tomorrow", datetime(2040, 1, 1)]


@pytest.mark.parametrize("start", [*BAD_STARTS, timedelta(days=366 * 200)])
def test_a_new_start_that_makes_no_sense_is_refused(harness: Harness, start: Any) -> None:
    run_id = delayed(harness)
    before_it = harness.run(run_id)
    with pytest.raises(InvalidTime):
        reschedule_run(run_id, delay=start)
    with pytest.raises(InvalidTime, match="to come"):
        reschedule_run(run_id, delay=harness.clock.now)
    assert harness.run(run_id) == before_it


def test_a_run_that_was_started_is_not_rescheduled(harness: Harness) -> None:
    with pytest.raises(IllegalTransition, match="delayed"):
        reschedule_run(finished(harness), delay=HOUR)


# pause, resume


def test_a_paused_run_waits_until_it_is_resumed(harness: Harness) -> None:
    run_id = harness.trigger(harness.task(order), 7)
    assert pause_run(run_id, reason="look at it", by="ann")
    assert not pause_run(run_id)
    harness.run_until_idle()
    assert LOG == []
    assert resume_run(run_id, by="bob")
    assert not resume_run(run_id)
    harness.run_until_idle(NOW)
    assert LOG == ["pay 7"]
    assert history(harness, run_id)[1:3] == [
        ("pause", {"by": "ann", "reason": "look at it"}),
        ("resume", {"by": "bob"}),
    ]


def test_an_event_ends_the_wait_of_a_paused_run_and_is_used_later(harness: Harness) -> None:
    run_id = harness.trigger(harness.task(order), 7)
    harness.run_until_idle(HOUR)
    pause_run(run_id)
    harness.send_event("approved", "yes")
    harness.run_until_idle(HOUR)
    assert harness.run(run_id).state is RunState.QUEUED
    assert harness.sweep() == 0
    resume_run(run_id)
    harness.run_until_idle(NOW)
    assert harness.result(run_id) == ["paid 7", "yes", "mailed ann"]


def test_a_body_that_is_executing_is_left_at_its_next_boundary(harness: Harness) -> None:
    def body() -> str:
        paid: str = pay(1)
        if len(LOG) == 1:
            pause_run(LOG.append(run_id) or run_id)  # type: ignore[func-returns-value]
            heartbeat()
        return mail(paid)

    run_id = harness.trigger(harness.task(body))
    left = harness.execute(run_id)
    assert isinstance(left, Left)
    assert left.reason == "handed back"
    assert list(LOG) == ["pay 1", run_id]
    harness.run_until_idle()
    assert list(LOG) == ["pay 1", run_id]
    resume_run(run_id)
    harness.run_until_idle()
    assert harness.result(run_id) == "mailed paid 1"
    assert list(LOG) == ["pay 1", run_id, "mail paid 1"]
    assert harness.run(run_id).crashes == 0


def test_a_paused_run_can_be_canceled(harness: Harness) -> None:
    run_id = harness.trigger(harness.task(order), 7)
    pause_run(run_id)
    assert cancel_run(run_id)
    assert not resume_run(run_id)
    with pytest.raises(IllegalTransition, match="ended"):
        pause_run(run_id)
    harness.run_until_idle()
    assert LOG == []
