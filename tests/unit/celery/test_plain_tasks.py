"""Threads of a worker that may work for plain Celery tasks call steps as plain functions."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from celery import current_app
from celery.app.trace import build_tracer
from celery.worker import state as worker_state

from trigger_celery import durable_task, step
from trigger_celery.celery.worker.plain_tasks import beside_plain_tasks
from trigger_celery.errors import ForeignThread
from trigger_celery.testing import Harness


@step
def charge(number: int) -> int:
    return number


@pytest.fixture
def active() -> Iterator[Any]:
    """Return a function that lets this worker have begun the message of a task."""
    requests = []

    class Request:
        def __init__(self, name: str) -> None:
            self.name = name

    def begin(name: str) -> None:
        requests.append(Request(name))
        worker_state.active_requests.add(requests[-1])

    yield begin
    worker_state.active_requests.clear()


@pytest.fixture
def executing(harness: Harness) -> Iterator[None]:
    """Execute a body in another thread of this process while the test lasts."""
    harness.engine.beside_plain_tasks = beside_plain_tasks
    begun, over = threading.Event(), threading.Event()

    @durable_task(name="executed-beside")
    def body() -> None:
        begun.set()
        assert over.wait(30)

    run_id = harness.trigger(body)
    worker = threading.Thread(target=harness.execute, args=(run_id,))
    worker.start()
    assert begun.wait(30)
    yield
    over.set()
    worker.join()


def in_a_thread(call: Any) -> Any:
    with ThreadPoolExecutor(1) as pool:
        future: Future[Any] = pool.submit(call)
    return future.result()


@pytest.mark.usefixtures("executing")
def test_a_plain_task_in_a_thread_of_the_pool_calls_a_step_as_a_function() -> None:
    @current_app.task(name="plain-beside", ignore_result=True)
    def plain() -> int:
        return charge(1)

    tracer = build_tracer(plain.name, plain, app=plain.app)
    assert in_a_thread(lambda: tracer("id", [], {}, {"id": "id", "task": plain.name})).retval == 1


@pytest.mark.usefixtures("executing")
def test_a_thread_beside_an_active_plain_task_may_be_its_own(active: Any) -> None:
    active("executed-beside")
    active("trigger_celery.sweep")
    with pytest.raises(ForeignThread):
        in_a_thread(lambda: charge(1))
    active("plain")
    assert in_a_thread(lambda: charge(1)) == 1


@pytest.mark.usefixtures("executing")
def test_a_child_of_a_prefork_pool_has_one_task_at_a_time(
    active: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    active("plain")  # what the main process had when it forked
    child = SimpleNamespace(name="ForkPoolWorker-1")
    monkeypatch.setattr("trigger_celery.celery.worker.plain_tasks.current_process", lambda: child)
    with pytest.raises(ForeignThread):
        in_a_thread(lambda: charge(1))


@pytest.mark.usefixtures("executing")
def test_a_thread_of_a_web_server_that_executes_runs_eagerly_is_free() -> None:
    with pytest.raises(ForeignThread):
        in_a_thread(lambda: charge(1))
    current_app.conf.task_always_eager = True
    try:
        assert in_a_thread(lambda: charge(1)) == 1
    finally:
        current_app.conf.task_always_eager = False
