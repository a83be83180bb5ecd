"""An exception that is raised in the worker's thread, not in the body: a soft time limit."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from types import FrameType
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from celery.exceptions import SoftTimeLimitExceeded

from trigger_celery.backoff import RetryPolicy
from trigger_celery.body.steps import step
from trigger_celery.engine.segment import body_loop
from trigger_celery.errors import Unwinding
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.states import RunState

LOG: list[Any] = []
LOOPS: list[asyncio.AbstractEventLoop] = []
THREADS: list[threading.Thread] = []
SIGNALERS: list[threading.Thread] = []
HEARD = threading.Event()
NOW = timedelta(0)
TWICE = RetryPolicy(max_attempts=2, min_delay=1, jitter=False)

pytestmark = pytest.mark.usefixtures("uncollected")


def interrupt() -> None:
    """Raise in the main thread, as a worker's soft time limit does."""
    LOOPS.append(asyncio.get_running_loop())
    THREADS.append(threading.current_thread())
    SIGNALERS.append(threading.Thread(target=_insist))
    SIGNALERS[-1].start()


def _insist() -> None:
    """Signal until it is heard: a thread that is just about to block takes no notice of one."""
    while not HEARD.is_set():
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        HEARD.wait(0.02)


def _exceeded(_: int, frame: FrameType | None) -> None:
    if HEARD.is_set():
        return
    while frame is not None:
        if frame.f_code.co_name == "_invoke_callbacks":
            # The main thread is still handing a result to the loop, where concurrent.futures
            # logs an exception and goes on: there is no body to interrupt yet.
            return
        frame = frame.f_back
    HEARD.set()
    raise SoftTimeLimitExceeded(1)


@pytest.fixture(autouse=True)
def _limit() -> Iterator[None]:
    LOG.clear()
    LOOPS.clear()
    THREADS.clear()
    SIGNALERS.clear()
    HEARD.clear()
    before = signal.signal(signal.SIGUSR1, _exceeded)
    yield
    HEARD.set()
    for signaler in SIGNALERS:
        signaler.join()
    signal.signal(signal.SIGUSR1, before)


@step
async def fetch(number: int) -> int:
    LOG.append(number)
    return number


@step
def write(number: int) -> Any:
    LOG.append(number)
    return number


async def never() -> None:
    await asyncio.Event().wait()


def interrupted(harness: Harness, first_attempt: Callable[[], Coroutine[Any, Any, None]]) -> Any:
    """Carry a task whose first attempt is this, and which then succeeds; return its run."""
    attempts = iter([first_attempt])

    async def body() -> str:
        for attempt in attempts:
            await attempt()
        return "done"

    run_id = harness.trigger(harness.task(body, checkpoint="explicit", retry=TWICE))
    harness.run_until_idle(NOW)
    run = harness.run(run_id)
    assert (run.state, run.attempt, run.crashes) == (RunState.SUSPENDED, 2, 0)
    assert [loop.is_closed() for loop in LOOPS] == [True]
    [thread] = THREADS
    thread.join(10)
    assert not thread.is_alive()
    [row] = harness.memory._core.tables.failures
    assert (row.failed.key, row.failed.number) == ("", 1)
    assert "SoftTimeLimitExceeded" in row.failed.error
    harness.run_until_idle()
    assert harness.result(run_id) == "done"
    return run


def test_an_interrupted_body_has_failed_and_is_over(harness: Harness) -> None:
    async def first() -> None:
        await fetch(1)
        interrupt()
        try:
            await never()
        finally:
            LOG.append("left")
            await fetch(2)

    run = interrupted(harness, first)
    assert LOG == [1, "left"]
    assert harness.steps(run.id) == {"fetch": 1}


def test_an_interrupted_step_commits_nothing(harness: Harness) -> None:
    @step
    async def slow() -> int:
        interrupt()
        try:
            await never()
        except asyncio.CancelledError:
            LOG.append("canceled")
        return 1

    async def first() -> None:
        await slow()

    run = interrupted(harness, first)
    assert LOG == ["canceled"]
    assert harness.steps(run.id) == {}


def test_branches_of_an_interrupted_body_end_with_it(harness: Harness) -> None:
    async def branch(number: int) -> None:
        try:
            await asyncio.sleep(0)
            await asyncio.shield(never())
        finally:
            LOG.append(number)

    async def first() -> None:
        async with asyncio.TaskGroup() as group:
            for number in (1, 2):
                group.create_task(branch(number))
            await asyncio.sleep(0)
            interrupt()

    interrupted(harness, first)
    assert sorted(LOG) == [1, 2]


def test_cleaning_up_may_use_the_thread_of_the_worker(harness: Harness) -> None:
    async def first() -> None:
        interrupt()
        try:
            await never()
        finally:
            LOG.append(await sync_to_async(threading.current_thread)())

    interrupted(harness, first)
    assert [threading.main_thread()] == LOG


def test_a_body_that_goes_on_all_the_same_is_refused_each_step(harness: Harness) -> None:
    async def first() -> None:
        placed = write(1)
        interrupt()
        try:
            await never()
        except asyncio.CancelledError:
            for call in (lambda: placed, lambda: fetch(2), lambda: write(3)):
                try:
                    await call()
                except BaseException as error:
                    LOG.append(str(error))

    run = interrupted(harness, first)
    [said] = set(LOG)
    assert said.startswith("the body was interrupted by SoftTimeLimitExceeded")
    assert len(LOG) == 3
    assert harness.steps(run.id) == {}


def test_a_body_that_cannot_be_canceled_is_stopped(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body_loop, "PATIENCE", (0.05, 0.05))
    may_end: list[bool] = []

    async def first() -> None:
        interrupt()
        while not may_end:
            try:
                await never()
            except asyncio.CancelledError:
                LOG.append("canceled")
            except GeneratorExit:
                may_end.append(True)
                raise

    interrupted(harness, first)
    assert LOG[:2] == ["canceled", "canceled"]


def test_a_body_that_blocks_its_loop_is_reported(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(body_loop, "PATIENCE", (0.05,))
    monkeypatch.setattr(body_loop, "FORCED", (0.05,))
    released = threading.Event()
    over = threading.Event()

    async def body() -> None:
        interrupt()
        released.wait(60)
        try:
            await write(1)
        finally:
            over.set()

    run_id = harness.trigger(harness.task(body, checkpoint="explicit", retry=TWICE))
    with caplog.at_level(logging.ERROR):
        harness.execute(run_id)
    assert harness.run(run_id).attempt == 2
    assert "an interrupted async body does not end" in caplog.text
    released.set()
    assert over.wait(60)
    assert harness.steps(run_id) == {}
    assert LOG == []


def test_a_body_that_had_not_begun_does_not_begin(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Any] = []

    def interrupted_at_once(begin: Any, **_: object) -> Any:
        def call(*args: Any) -> None:
            begun.append(begin(*args))
            raise SoftTimeLimitExceeded(1)

        return call

    async def body() -> None:
        LOG.append("begun")

    run_id = harness.trigger(harness.task(body, checkpoint="explicit", retry=TWICE))
    with monkeypatch.context() as patch:
        patch.setattr(body_loop, "async_to_sync", interrupted_at_once)
        harness.execute(run_id)
    assert harness.run(run_id).attempt == 2
    with pytest.raises(Unwinding, match="interrupted by SoftTimeLimitExceeded"):
        asyncio.run(begun[0])
    assert LOG == []
