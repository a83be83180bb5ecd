"""Steps in threads that a body starts itself: refused before any effect; other threads go free."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from multiprocessing.pool import ThreadPool
from typing import Any

import pytest

from support.charging import LOG, charge
from trigger_celery.body.parallel import gather
from trigger_celery.body.steps import step
from trigger_celery.body.values import now
from trigger_celery.body.waits import sleep
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.states import RunState


def carried(harness: Harness, body: Any, **options: Any) -> Any:
    """Carry a run of the body as far as it goes without time passing."""
    run_id = harness.trigger(harness.task(body, **options))
    harness.run_until_idle()
    return harness.run(run_id)


def refused(harness: Harness, body: Any, **options: Any) -> str:
    """Return why the run of a body failed; it must have failed at once, without any effect."""
    run = carried(harness, body, **options)
    assert (run.state, run.attempt, LOG) == (RunState.FAILED, 1, [])
    assert run.error.kind.endswith("ForeignThread")
    return str(run.error.message)


def by_pool() -> list[int]:
    with ThreadPoolExecutor() as pool:
        return list(pool.map(charge, [1, 2, 3]))


def by_older_pool() -> list[int]:
    with ThreadPool(2) as pool:
        return pool.map(charge, [1, 2])


def by_thread() -> str:
    thread = threading.Thread(target=charge, args=(1,))
    thread.start()
    thread.join()
    return "never seen"


def by_thread_and_wait() -> None:
    by_thread()
    sleep(60)


def by_copied_context() -> list[int]:
    with ThreadPoolExecutor() as pool:
        return [pool.submit(copy_context().run, charge, n).result() for n in (1, 2)]


def by_copied_context_waiting() -> None:
    with ThreadPoolExecutor() as pool:
        pool.submit(copy_context().run, sleep, 60).result()


def by_gather_in_a_copied_context() -> None:
    with ThreadPoolExecutor() as pool:
        pool.submit(copy_context().run, lambda: gather(lambda: charge(1))).result()


def by_swallowing() -> str:
    with ThreadPoolExecutor() as pool:
        return str(pool.submit(charge, 1).exception())


def from_a_branch() -> Any:
    return gather(by_pool, by_pool)


def in_a_step() -> Any:
    return step.run("all", by_pool)


async def by_executor() -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, charge, 1)


async def by_threads_of_asyncio() -> Any:
    return await asyncio.to_thread(charge, 1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    "body",
    [
        by_pool,
        by_older_pool,
        by_thread,
        by_thread_and_wait,
        by_copied_context,
        by_copied_context_waiting,
        by_gather_in_a_copied_context,
        by_swallowing,
        from_a_branch,
        in_a_step,
    ],
)
def test_a_durable_call_in_a_thread_of_the_body_is_refused(harness: Harness, body: Any) -> None:
    assert "gather(" in refused(harness, body)


@pytest.mark.parametrize("body", [by_executor, by_threads_of_asyncio])
def test_a_step_in_a_thread_of_an_async_body_is_refused(harness: Harness, body: Any) -> None:
    assert "gather(" in refused(harness, body, checkpoint="explicit")


def test_the_advice_works(harness: Harness) -> None:
    def body() -> list[Any]:
        recorded = gather(*(lambda n=n: charge(n) for n in (1, 2)), max_parallel=8)
        with ThreadPoolExecutor() as pool:
            unrecorded = list(pool.map(charge.plain, [3]))
        return [recorded, unrecorded]

    assert carried(harness, body).output == [[1, 2], [3]]
    assert sorted(LOG) == [1, 2, 3]


def test_a_thread_is_free_while_no_body_is_executed(harness: Harness) -> None:
    carried(harness, lambda_free)
    with ThreadPoolExecutor() as pool:
        assert list(pool.map(charge, [1, 2])) == [1, 2]


def lambda_free() -> None:
    now()


def beside_a_body(harness: Harness, call: Any) -> Any:
    """Return what a call in the main thread returns while another thread executes a body."""
    begun, over = threading.Event(), threading.Event()

    def body() -> None:
        begun.set()
        assert over.wait(30)

    run_id = harness.trigger(harness.task(body))
    worker = threading.Thread(target=harness.execute, args=(run_id,))
    worker.start()
    try:
        assert begun.wait(30)
        return call()
    finally:
        over.set()
        worker.join()
        assert harness.run(run_id).state is RunState.COMPLETED


def test_the_main_thread_is_free(harness: Harness) -> None:
    assert beside_a_body(harness, lambda: charge(1)) == 1


def test_a_thread_that_may_be_a_plain_tasks_is_free(harness: Harness) -> None:
    harness.engine.beside_plain_tasks = lambda: True

    def in_a_thread() -> list[int]:
        with ThreadPoolExecutor() as pool:
            return list(pool.map(charge, [1]))

    assert beside_a_body(harness, in_a_thread) == [1]


def test_bodies_beside_each_other_do_not_disturb_each_other(harness: Harness) -> None:
    def other() -> int:
        return charge(7)

    run_id = harness.trigger(harness.task(other))
    done = beside_a_body(harness, lambda: harness.execute(run_id))
    assert done.value == 7
