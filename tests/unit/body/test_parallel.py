"""``gather`` and ``wait_any`` in ``def`` bodies: threads, their keys, waits and failures."""

from __future__ import annotations

import asyncio
import functools
import threading
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import pytest

from support.charging import LOG, charge
from trigger_celery.backoff import RetryPolicy
from trigger_celery.body.context import current_run, heartbeat
from trigger_celery.body.parallel import gather, wait_any
from trigger_celery.body.steps import step
from trigger_celery.body.waits import sleep, wait_for_event
from trigger_celery.engine.process.leases import Holding
from trigger_celery.errors import LeaseLost, NestedStep, NotInRun, UsageError
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.states import RunState, WaitState

NOW = timedelta(0)
ONCE = RetryPolicy(max_attempts=1)
TWICE = RetryPolicy(max_attempts=2, min_delay=1, jitter=False)


@step
def fail(message: str = "no") -> int:
    LOG.append(message)
    raise LookupError(message)


def go(name: str = "go") -> Any:
    return wait_for_event(name).payload


def started(harness: Harness, body: Any, **options: Any) -> Any:
    """Carry the body until it is left for the first time; return the id of its run."""
    run_id = harness.trigger(harness.task(body, **options))
    harness.run_until_idle(NOW)
    return run_id


def failure_of(harness: Harness, body: Any, **options: Any) -> str:
    run_id = harness.trigger(harness.task(body, **{"retry": ONCE, **options}))
    harness.run_until_idle()
    assert harness.run(run_id).state is RunState.FAILED
    return harness.stored(run_id).error or ""


def test_branches_run_at_the_same_time_and_results_are_in_order(harness: Harness) -> None:
    both = threading.Barrier(2, timeout=30)

    @step
    def meet(number: int) -> int:
        both.wait()
        LOG.append(threading.current_thread())
        return number

    def body() -> Any:
        return gather(lambda: meet(1), functools.partial(meet, 2))

    run_id = started(harness, body)
    assert harness.result(run_id) == [1, 2]
    assert harness.steps(run_id) == {"branch-1/meet": 1, "branch-2/meet": 2}
    assert len({*LOG, threading.current_thread()}) == 3
    assert not any(thread.is_alive() for thread in LOG)


def test_no_branches_are_no_work(harness: Harness) -> None:
    assert harness.result(started(harness, lambda: gather())) == []


def test_not_more_branches_run_at_once_than_asked_for(harness: Harness) -> None:
    running: list[int] = []

    @step
    def count(number: int) -> int:
        running.append(number)
        LOG.append(len(running))
        threading.Event().wait(0.002)
        running.remove(number)
        return number

    def body() -> Any:
        return gather(*(functools.partial(count, n) for n in range(12)), max_parallel=3)

    assert harness.result(started(harness, body)) == list(range(12))
    assert max(LOG) <= 3


def test_the_run_suspends_once_for_all_waits_and_runs_no_step_twice(harness: Harness) -> None:
    def body() -> Any:
        before = charge(0)
        results = gather(
            lambda: charge(1),
            lambda: (sleep(5), charge(2)),
            lambda: (go(), charge(3)),
        )
        return [before, results, charge(4)]

    run_id = started(harness, body)
    assert harness.run(run_id).state is RunState.SUSPENDED
    assert harness.waits(run_id) == {
        "branch-2/sleep": WaitState.WAITING,
        "branch-3/go": WaitState.WAITING,
    }
    harness.send_event("go", 7)
    harness.run_until_idle()
    assert harness.result(run_id) == [0, [1, (None, 2), (7, 3)], 4]
    assert sorted(LOG) == [0, 1, 2, 3, 4]
    assert list(harness.steps(run_id))[-1] == "charge#2"


def test_branches_of_branches_have_a_place_of_their_own(harness: Harness) -> None:
    def branch(number: int) -> Any:
        charge(number)
        return gather(lambda: charge(number + 1), lambda: (sleep(number), charge(number + 2))[1])

    def body() -> Any:
        return gather(lambda: branch(10), lambda: branch(20)), gather(lambda: charge(1))

    run_id = started(harness, body)
    assert set(harness.waits(run_id)) == {"branch-1/branch-2/sleep", "branch-2/branch-2/sleep"}
    harness.run_until_idle()
    assert harness.result(run_id) == ([[11, 12], [21, 22]], [1])
    assert "branch-3/charge" in harness.steps(run_id)
    assert sorted(LOG) == [1, 10, 11, 12, 20, 21, 22]


def test_a_branch_sees_the_context_and_the_run_of_its_body(harness: Harness) -> None:
    setting: ContextVar[str] = ContextVar("setting")

    @step
    def own_key() -> str:
        heartbeat()
        return current_run().step_key or ""

    def branch() -> Any:
        seen = setting.get()
        setting.set("mine")
        return [seen, own_key(), str(current_run().id)]

    def body() -> Any:
        setting.set("the body's")
        return [gather(branch), setting.get()]

    run_id = started(harness, body)
    seen = ["the body's", "branch-1/own_key", str(run_id)]
    assert harness.result(run_id) == [[seen], "the body's"]


def test_a_failed_branch_does_not_lose_the_others_checkpoints(harness: Harness) -> None:
    failed = threading.Event()

    @step
    def slow() -> int:
        failed.wait(30)
        LOG.append("slow")
        return 1

    @step
    def fails_once() -> int:
        LOG.append("failed" if "failed" not in LOG else "succeeded")
        failed.set()
        if LOG[-1] == "failed":
            raise LookupError
        return 2

    def body() -> Any:
        return gather(slow, fails_once)

    run_id = harness.trigger(harness.task(body, retry=TWICE))
    harness.run_until_idle()
    assert harness.result(run_id) == [1, 2]
    assert harness.run(run_id).attempt == 2
    assert LOG == ["failed", "slow", "succeeded"]


def test_the_first_failure_in_order_is_raised(harness: Harness) -> None:
    later = threading.Event()

    def first() -> None:
        later.wait(30)
        fail("first")

    def second() -> None:
        try:
            fail("second")
        finally:
            later.set()

    def body() -> Any:
        return gather(first, second)

    assert '"first"' in failure_of(harness, body)


def test_failures_may_be_results(harness: Harness) -> None:
    def body() -> Any:
        results = gather(fail, lambda: charge(1), return_exceptions=True)
        return [repr(results[0]), results[1]]

    assert harness.result(started(harness, body)) == ["LookupError('no')", 1]


def test_failures_are_no_results_while_another_branch_waits(harness: Harness) -> None:
    def body() -> Any:
        results = gather(fail, go, return_exceptions=True)
        LOG.append("went on")
        return len(results)

    run_id = started(harness, body)
    assert LOG == ["no"]
    harness.send_event("go")
    harness.run_until_idle()
    assert harness.result(run_id) == 2


def test_a_failure_beside_a_wait_fails_the_attempt_and_the_wait_goes_on(harness: Harness) -> None:
    def later() -> int:
        sleep(1)
        if len(LOG) < 2:
            fail()
        return 2

    def body() -> Any:
        return gather(go, later)

    run_id = harness.trigger(harness.task(body, retry=RetryPolicy(max_attempts=3, jitter=False)))
    harness.run_until_idle(timedelta(seconds=1))
    assert harness.waits(run_id)["branch-1/go"] is WaitState.WAITING
    harness.send_event("go", 1)
    harness.run_until_idle()
    assert harness.result(run_id) == [1, 2]


def test_a_body_that_catches_the_failure_gives_up_what_the_others_wait_for(
    harness: Harness,
) -> None:
    def body() -> str:
        try:
            gather(fail, go)
        except LookupError:
            sleep(5)
        return "went on"

    run_id = started(harness, body)
    assert list(harness.waits(run_id)) == ["sleep"]
    harness.run_until_idle()
    assert harness.result(run_id) == "went on"


def test_a_branch_that_swallows_its_suspension_fails(harness: Harness) -> None:
    def branch() -> str:
        try:
            sleep(5)
        except BaseException:
            LOG.append("swallowed")
        return "went on"

    error = failure_of(harness, lambda: gather(branch), name="swallows")
    assert "caught the suspension at 'branch-1/sleep'" in error
    assert "SuspensionSwallowed" in error


def test_a_step_in_finally_of_a_branch_does_not_run_early(harness: Harness) -> None:
    def branch() -> None:
        try:
            sleep(5)
        finally:
            charge(1)

    run_id = started(harness, lambda: gather(branch), name="finally")
    assert LOG == []
    harness.run_until_idle()
    assert harness.result(run_id) == [None]
    assert LOG == [1]


def test_a_lost_lease_ends_all_branches(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(self: Holding) -> None:
        raise LeaseLost("gone")

    def body() -> None:
        monkeypatch.setattr(Holding, "check", lost)
        gather(lambda: charge(1), lambda: charge(2), return_exceptions=True)
        LOG.append("went on")

    run_id = harness.trigger(harness.task(body))
    assert getattr(harness.execute(run_id), "reason", "") == "lease lost"
    assert LOG == []


def test_a_worker_that_shuts_down_hands_back_what_its_branches_do(harness: Harness) -> None:
    draining: list[bool] = []
    harness.engine.draining = lambda: bool(draining)

    @step
    def last() -> int:
        draining.append(True)
        return 1

    def body() -> Any:
        return gather(lambda: [last(), charge(2)])

    run_id = harness.trigger(harness.task(body))
    assert getattr(harness.execute(run_id), "reason", "") == "handed back"
    assert LOG == []
    draining.clear()
    harness.run_until_idle()
    assert harness.result(run_id) == [[1, 2]]


def test_an_interrupt_of_the_body_does_not_wait_for_its_branches(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A soft time limit is raised where the body waits for its threads."""
    released, over = threading.Event(), threading.Event()
    joined = threading.Thread.join

    def interrupted(thread: threading.Thread, timeout: float | None = None) -> None:
        if thread.name.startswith("trigger-celery-branch"):
            raise TimeoutError("interrupted")
        joined(thread, timeout)

    def branch() -> None:
        released.wait(30)
        try:
            charge(1)
        finally:
            over.set()

    def body() -> str:
        try:
            gather(branch)
        except TimeoutError:
            LOG.append("interrupted")
        return "went on"

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "join", interrupted)
        run_id = started(harness, body)
    assert harness.result(run_id) == "went on"
    released.set()
    assert over.wait(30)
    assert LOG == ["interrupted"]
    assert harness.steps(run_id) == {}


def test_a_thousand_waits_need_few_threads(harness: Harness) -> None:
    def body() -> Any:
        return len(gather(*(functools.partial(sleep, n % 3) for n in range(1000))))

    run_id = started(harness, body)
    assert len(harness.waits(run_id)) == 1000
    harness.run_until_idle()
    assert harness.result(run_id) == 1000


async def coroutine() -> None: ...


@pytest.mark.parametrize("call", [gather, wait_any])
@pytest.mark.parametrize("branch", [7, coroutine])
def test_what_is_no_plain_function_is_refused(harness: Harness, call: Any, branch: Any) -> None:
    error = failure_of(harness, lambda: call(lambda: 1, branch), name="wrong")
    assert UsageError.__name__ in error
    assert f"expected branch 2 of {call.__name__}()" in error


@pytest.mark.parametrize("value", [0, -1, 2.5, "4", True])
def test_a_number_of_threads_that_is_none_is_refused(harness: Harness, value: Any) -> None:
    error = failure_of(harness, lambda: gather(lambda: 1, max_parallel=value), name="wrong")
    assert "expected max_parallel of gather()" in error


@pytest.mark.parametrize("call", [gather, wait_any])
def test_outside_of_a_run_there_is_nothing_to_wait_in(call: Any) -> None:
    with pytest.raises(NotInRun, match=rf"{call.__name__}\(\)"):
        call(lambda: 1)


@pytest.mark.parametrize("call", [gather, wait_any])
def test_a_step_has_no_branches(harness: Harness, call: Any) -> None:
    error = failure_of(harness, lambda: step.run("outer", lambda: call(lambda: 1)), name="nested")
    assert NestedStep.__name__ in error


def test_a_transaction_around_a_gather_is_refused(harness: Harness) -> None:
    def body() -> None:
        with harness.memory.transaction():
            gather(lambda: charge(1))

    assert "TransactionOpen" in failure_of(harness, body)
    assert LOG == []


def test_an_async_step_in_a_thread_is_refused_as_in_the_body(harness: Harness) -> None:
    @step
    async def fetch() -> None:
        await asyncio.sleep(0)

    assert "is async but was called" in failure_of(
        harness, lambda: gather(lambda: fetch()), name="x"
    )
