"""A step that takes longer than its timeout: in threads, in coroutines, in transactions."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from support.charging import LOG
from support.waiting import eventually
from trigger_celery.backoff import RetryPolicy
from trigger_celery.body.steps import step
from trigger_celery.engine.process.leases import Holding, LeaseKeeper
from trigger_celery.engine.segment import timeouts
from trigger_celery.engine.segment.timeouts import call_within
from trigger_celery.errors import DeclarationError, StepTimeout
from trigger_celery.testing import Harness, ManualClock, MemoryStore
from trigger_celery.vocabulary.clock import SystemClock
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import Lease
from trigger_celery.vocabulary.states import RunState

SHORT = 0.02
LONG = timedelta(minutes=1)
TWICE = RetryPolicy(max_attempts=2, min_delay=0, jitter=False)

pytestmark = pytest.mark.usefixtures("uncollected")


def busy() -> None:
    """Run Python code until the watch raises here."""
    while True:
        pass


def holding() -> Holding:
    lease = Lease(run_id=new_id(), fence=1, token="t")
    return Holding(lease, 60, 0.0, SystemClock())


def failure_of(harness: Harness, body: Any, **options: Any) -> str:
    options.setdefault("retry", RetryPolicy(max_attempts=1))
    run_id = harness.trigger(harness.task(body, **options))
    harness.run_until_idle()
    assert harness.run(run_id).state is RunState.FAILED
    return harness.stored(run_id).error or ""


def test_a_step_that_takes_too_long_fails_with_a_step_timeout(harness: Harness) -> None:
    @step(timeout=SHORT)
    def slow() -> None:
        try:
            busy()
        finally:
            LOG.append("cleaned up")

    def body() -> None:
        slow()

    error = failure_of(harness, body)
    assert "StepTimeout" in error
    assert "step 'slow' took longer than its timeout of 0:00:00.020000" in error
    assert LOG == ["cleaned up"]


def test_the_body_of_the_step_gets_the_error(harness: Harness) -> None:
    @step(timeout=SHORT)
    def slow() -> str:
        try:
            busy()
        except TimeoutError as error:
            LOG.append(type(error))
        return "all the same"

    def body() -> None:
        slow()

    assert "StepTimeout" in failure_of(harness, body)
    assert [StepTimeout] == LOG


def test_what_the_body_raises_over_the_error_is_its_cause(harness: Harness) -> None:
    @step(timeout=SHORT)
    def slow() -> None:
        try:
            busy()
        except TimeoutError:
            raise LookupError("while it cleaned up") from None

    def body() -> str:
        try:
            slow()
        except StepTimeout as error:
            return repr(error.__cause__)
        return "?"

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle()
    assert harness.result(run_id) == "LookupError('while it cleaned up')"


def test_a_timeout_is_an_attempt_and_its_step_is_tried_again(harness: Harness) -> None:
    @step(timeout=SHORT, retry=TWICE)
    def slow_at_first() -> int:
        LOG.append("tried")
        if len(LOG) == 1:
            busy()
        return 1

    def body() -> int:
        return slow_at_first()

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle()
    assert harness.result(run_id) == 1
    assert LOG == ["tried", "tried"]


def test_a_timeout_lets_the_run_be_tried_again(harness: Harness) -> None:
    @step(timeout=SHORT)
    def slow_at_first() -> int:
        LOG.append("tried")
        if len(LOG) == 1:
            busy()
        return 1

    def body() -> int:
        return slow_at_first()

    run_id = harness.trigger(harness.task(body, retry=TWICE))
    harness.run_until_idle()
    assert (harness.result(run_id), harness.run(run_id).attempt) == (1, 2)


def test_a_step_within_its_time_is_left_alone(harness: Harness) -> None:
    @step(timeout=LONG)
    def quick() -> int:
        return 1

    def body() -> int:
        return quick()

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle()
    assert harness.result(run_id) == 1
    eventually(lambda: "trigger-celery-timeout" not in [t.name for t in threading.enumerate()])


def test_an_atomic_step_that_takes_too_long_commits_nothing(harness: Harness) -> None:
    @step(timeout=SHORT, atomic=True)
    def slow() -> None:
        harness.memory.on_commit(lambda: LOG.append("committed"))
        busy()

    def body() -> None:
        slow()

    assert "StepTimeout" in failure_of(harness, body)
    assert LOG == []


def test_a_step_in_a_thread_of_a_pool_is_ended_too(harness: Harness) -> None:
    @step(timeout=SHORT)
    def slow() -> None:
        busy()

    def body() -> None:
        slow()

    thread = threading.Thread(target=lambda: LOG.append(failure_of(harness, body)))
    thread.start()
    thread.join(30)
    assert "StepTimeout" in LOG[0]


def test_an_async_step_that_takes_too_long_is_canceled(harness: Harness) -> None:
    @step(timeout=SHORT)
    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            LOG.append("canceled")
            raise

    async def body() -> None:
        await slow()

    assert "step 'slow' took longer" in failure_of(harness, body)
    assert LOG == ["canceled"]


@pytest.mark.parametrize("ends", ["returns", "raises"])
def test_an_async_step_that_stops_its_cancellation_has_failed_too(
    harness: Harness, ends: str
) -> None:
    @step(timeout=SHORT)
    async def slow() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if ends == "raises":
                raise LookupError("other") from None
        return "all the same"

    async def body() -> None:
        await slow()

    assert "StepTimeout" in failure_of(harness, body)


def test_an_async_step_that_fails_in_time_keeps_its_error(harness: Harness) -> None:
    @step(timeout=LONG)
    async def bad() -> None:
        raise TimeoutError("of its own")

    async def body() -> None:
        await bad()

    error = failure_of(harness, body)
    assert "of its own" in error
    assert "StepTimeout" not in error


def test_a_plain_step_that_an_async_body_awaits_is_ended(harness: Harness) -> None:
    @step(timeout=SHORT)
    def slow() -> Any:
        busy()

    async def body() -> None:
        await slow()

    assert "StepTimeout" in failure_of(harness, body)


def test_outside_of_a_run_a_step_has_no_timeout() -> None:
    @step(timeout=0.001)
    def slow() -> str:
        time.sleep(0.01)
        return "done"

    assert slow() == "done"


@pytest.mark.parametrize("value", [0, -1, timedelta(seconds=-1), "5", float("nan"), True, 1e12])
def test_a_timeout_that_is_no_time_is_refused_at_declaration(value: Any) -> None:
    with pytest.raises(DeclarationError, match="timeout of a step"):
        step(timeout=value)(busy)


def test_nothing_is_raised_after_the_call_whenever_the_time_is_over() -> None:
    held, late = holding(), 0
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # else the watching thread is always later than the call
    try:
        for number in range(400):
            ends_at = time.perf_counter() + number * 1e-5
            try:
                call_within(timedelta(seconds=0.001), partial(_until, ends_at), held, "s")
            except StepTimeout:
                late += 1
            _until(time.perf_counter() + 0.0002)  # an error that is left over would arrive here
    finally:
        sys.setswitchinterval(before)
    assert 0 < late < 400
    assert held.is_kept


def test_tracers_work_after_a_call_that_was_late() -> None:
    code = """
import sys, time
from datetime import timedelta
from trigger_celery.engine.process.leases import Holding
from trigger_celery.engine.segment.timeouts import call_within
from trigger_celery.errors import StepTimeout
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import Lease

held = Holding(Lease(run_id=new_id(), fence=1, token="t"), 60, 0.0)
try:
    call_within(timedelta(seconds=0.01), lambda: time.sleep(0.1), held, "s")
except StepTimeout:
    print("late")

def traced():
    return [each for each in range(3)]

sys.settrace(lambda frame, event, arg: None)
traced()
sys.settrace(None)
print("traced")
"""
    # In a process of its own: what this guards against is a loop that no signal ends.
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["late", "traced"]


def _until(moment: float) -> None:
    while time.perf_counter() < moment:
        pass


@contextmanager
def stuck(held: Holding, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make a call that does not come back to Python before the block ends."""
    monkeypatch.setattr(timeouts, "GRACE", 0.01)
    released = threading.Lock()
    released.acquire()

    def call() -> None:
        with pytest.raises(StepTimeout):
            call_within(timedelta(seconds=0.01), released.acquire, held, "s")

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield
    finally:
        released.release()
        thread.join(30)
    assert not thread.is_alive()


def test_the_lease_of_a_step_that_does_not_come_back_is_not_renewed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    renewed: list[Holding] = []
    keeper = LeaseKeeper(MemoryStore(), ManualClock())
    monkeypatch.setattr(keeper, "renew", renewed.extend)
    lease = holding().lease
    with keeper.holding(lease, timedelta(seconds=0.03), sent_at=0.0) as held:
        with stuck(held, monkeypatch):
            eventually(lambda: not held.is_kept)
            assert keeper._pause() > 50
        assert not held.stuck, "it came back"
        assert keeper._pause() < 50
