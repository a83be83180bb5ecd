"""``wait_any`` in ``def`` and ``async def`` bodies: one winner, recorded; the others let go of."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, Literal

import pytest

from support.charging import LOG, charge
from trigger_celery.backoff import RetryPolicy
from trigger_celery.body.children import ONE
from trigger_celery.body.parallel import gather, wait_any
from trigger_celery.body.steps import step
from trigger_celery.body.waits import sleep, wait_for_event
from trigger_celery.client.starting import run_together
from trigger_celery.declare.options import TriggerOptions
from trigger_celery.engine.runs.trigger import Request
from trigger_celery.errors import UsageError
from trigger_celery.ports import Store
from trigger_celery.testing import Fault, FaultStore, Harness
from trigger_celery.vocabulary.states import RunState, WaitState

NOW = timedelta(0)
ONCE = RetryPolicy(max_attempts=1)


@step
async def fetch(number: int) -> int:
    LOG.append(number)
    await asyncio.sleep(0)
    return number


@step
def fail() -> None:
    LOG.append("failed")
    raise LookupError("no")


def go() -> Any:
    return wait_for_event("go").payload


async def go_async() -> Any:
    return (await wait_for_event("go")).payload


def race(last: float = 5) -> Any:
    winner = wait_any(go, partial(sleep, 60))
    sleep(last)
    LOG.append(winner)
    return winner


async def race_async(last: float = 5) -> Any:
    winner = await wait_any(go_async, sleep(60))
    await sleep(last)
    LOG.append(winner)
    return winner


both = pytest.mark.parametrize("body", [race, race_async])


def started(harness: Harness, body: Any, *args: Any, **options: Any) -> Any:
    """Carry the body until it is left for the first time; return the id of its run."""
    run_id = harness.trigger(harness.task(body, **options), *args)
    harness.run_until_idle(NOW)
    return run_id


def failure_of(harness: Harness, body: Any) -> str:
    run_id = harness.trigger(harness.task(body, retry=ONCE, name="fails"))
    harness.run_until_idle()
    assert harness.run(run_id).state is RunState.FAILED
    return harness.stored(run_id).error or ""


@both
def test_the_event_wins_and_the_other_wait_is_closed(harness: Harness, body: Any) -> None:
    run_id = started(harness, body)
    harness.send_event("go", 7)
    harness.run_until_idle()
    assert harness.result(run_id) == (0, 7)
    states = list(harness.waits(run_id).values())
    assert sorted(states) == [WaitState.CANCELED, WaitState.EVENT, WaitState.TIMEOUT]
    assert harness.steps(run_id)["wait_any"]["winner"] == 0


@both
def test_the_time_wins_and_the_other_wait_takes_no_event_later(harness: Harness, body: Any) -> None:
    run_id = started(harness, body, 1000)
    harness.run_until_idle(timedelta(seconds=60))
    assert harness.steps(run_id)["wait_any"]["winner"] == 1
    harness.send_event("go", 7)
    harness.run_until_idle()
    assert harness.result(run_id) == (1, None)
    assert WaitState.EVENT not in harness.waits(run_id).values()


def test_an_event_that_came_too_late_is_there_for_the_next_wait(harness: Harness) -> None:
    def body() -> Any:
        first = wait_any(go, partial(sleep, 60))
        return first, go()

    run_id = started(harness, body)
    harness.run_until_idle(timedelta(seconds=60))
    harness.send_event("go", 7)
    harness.run_until_idle()
    assert harness.result(run_id) == ((1, None), 7)


@both
def test_of_two_that_are_over_together_the_first_in_order_wins(harness: Harness, body: Any) -> None:
    run_id = started(harness, body)
    harness.send_event("go", 7)
    harness.advance(timedelta(seconds=60))
    harness.run_until_idle()
    assert harness.result(run_id) == (0, 7)


def test_the_winner_stays_the_winner_when_another_is_over_later(harness: Harness) -> None:
    def body() -> Any:
        winner = wait_any(partial(sleep, 60), lambda: charge(1))
        sleep(120)
        return winner, wait_any(lambda: charge(2), key="mine")

    run_id = started(harness, body)
    harness.run_until_idle()
    assert harness.result(run_id) == ((1, 1), (0, 2))
    assert list(harness.waits(run_id)) == ["sleep"]
    assert set(harness.steps(run_id)) == {"wait_any", "branch-2/charge", "mine", "branch-3/charge"}
    assert LOG == [1, 2]


def test_an_async_step_wins_over_a_wait_at_once(harness: Harness) -> None:
    async def body() -> Any:
        winner = await wait_any(wait_for_event("never"), fetch(1))
        again = await wait_any(lambda: wait_for_event("never"), lambda: gather(lambda: fetch(2)))
        await sleep(5)
        return winner, again, await gather(fetch(3))

    run_id = started(harness, body)
    harness.run_until_idle()
    assert harness.result(run_id) == ((1, 1), (1, [2]), [3])
    assert LOG == [1, 2, 3]
    assert list(harness.waits(run_id)) == ["sleep"]
    assert "branch-4/branch-1/fetch" in harness.steps(run_id)


def test_deep_branches_reach_the_race_before_the_run_suspends(harness: Harness) -> None:
    async def nested(depth: int) -> Any:
        if not depth:
            return await fetch(1)
        return await gather(lambda: nested(depth - 1))

    async def body() -> Any:
        return await wait_any(wait_for_event("never"), lambda: nested(6))

    assert harness.result(started(harness, body)) == (1, [[[[[[1]]]]]])


def test_a_failure_is_raised_only_if_no_branch_won(harness: Harness) -> None:
    def body() -> Any:
        return wait_any(fail, lambda: charge(1))

    assert harness.result(started(harness, body)) == (1, 1)
    assert "LookupError" in failure_of(harness, lambda: wait_any(fail, go))


def test_a_failure_of_an_async_branch_ends_the_race(harness: Harness) -> None:
    async def body() -> Any:
        return await wait_any(wait_for_event("never"), fail)

    assert "LookupError" in failure_of(harness, body)


def test_no_branch_is_a_mistake(harness: Harness) -> None:
    error = failure_of(harness, lambda: wait_any())
    assert UsageError.__name__ in error
    assert "to be given a branch" in error


def test_an_async_body_takes_awaitables_and_functions_only(harness: Harness) -> None:
    async def body() -> Any:
        return await wait_any(7)  # type: ignore[call-overload]

    assert "to be an awaitable" in failure_of(harness, body)


@pytest.mark.filterwarnings("error")
def test_a_branch_that_a_replay_does_not_run_is_closed(harness: Harness) -> None:
    async def plain() -> None:
        LOG.append("plain")

    async def body() -> Any:
        task = asyncio.create_task(plain())
        winner = await wait_any(plain(), fetch(1), task)
        await sleep(5)
        return winner[0]

    run_id = started(harness, body)
    harness.run_until_idle()
    assert harness.result(run_id) == 2  # a task has nothing to record, it is over first
    assert LOG.count("plain") <= 3


def test_a_value_that_cannot_be_stored_cannot_win(harness: Harness) -> None:
    assert "EncodeError" in failure_of(harness, lambda: wait_any(lambda: object()))


def _child(closes: Literal["cancel", "abandon"], harness: Harness) -> Callable[[], Any]:
    async def patient() -> None:
        await wait_for_event("never")

    task = harness.task(patient, name=f"child-{closes}")
    request = Request(definition=task, options=TriggerOptions(parent_close=closes))
    frame = sys._getframe()
    return lambda: run_together(harness.engine, task.name, [request], ONE, frame=frame)


@pytest.mark.parametrize(
    ("closes", "state"), [("cancel", RunState.CANCELED), ("abandon", RunState.SUSPENDED)]
)
@pytest.mark.parametrize("wins", ["at once", "later"])
def test_a_child_that_lost_is_let_go_of(
    harness: Harness, closes: Any, state: RunState, wins: str
) -> None:
    child = _child(closes, harness)

    def body() -> Any:
        return wait_any(child, (lambda: charge(1)) if wins == "at once" else partial(sleep, 5))[0]

    run_id = started(harness, body)
    harness.run_until_idle(timedelta(seconds=30))
    assert harness.result(run_id) == 1
    [found] = [
        run
        for run in map(harness.run, [n.run_id for n in harness.dispatcher.nudges])
        if run.parent_id == run_id
    ][-1:]
    assert found.state is state


@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.AFTER])
def test_a_worker_that_dies_before_it_closes_the_others_is_made_up_for(fault: Fault) -> None:
    golden = _crashed({})
    [number] = [number for number, verb in golden.calls if verb == "waits.cancel"]
    _crashed({number: fault})


def _crashed(plan: dict[int, Any]) -> FaultStore:
    stores: list[FaultStore] = []

    def wrap(store: Store) -> Store:
        stores.append(FaultStore(store, plan))
        return stores[0]

    LOG.clear()
    with Harness(wrap=wrap) as harness:
        run_id = harness.trigger(harness.task(race))
        for _ in range(3):
            try:
                harness.run_until_idle(NOW)
            except BaseException as crash:
                LOG.append(repr(crash))
                stores[0].restart()
                harness.advance(timedelta(seconds=70))
            if harness.waits(run_id).get("branch-1/go") is WaitState.WAITING:
                harness.send_event("go", 7)
        harness.run_until_idle()
        assert harness.result(run_id) == (0, 7)
        assert harness.waits(run_id)["branch-2/sleep"] in (WaitState.CANCELED, WaitState.TIMEOUT)
        assert len(LOG) == 1 + bool(plan)
    return stores[0]
