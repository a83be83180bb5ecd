"""A process that misses a task imports what declares it, once, and does without if it must."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from trigger_celery import rerun
from trigger_celery.body.context import current_session
from trigger_celery.body.waits import Event
from trigger_celery.client.events import send_event
from trigger_celery.client.schedules import create_schedule, delete_schedule, run_schedule
from trigger_celery.client.starting import trigger
from trigger_celery.declare.options import TriggerOptions
from trigger_celery.declare.queue import Queue, queues
from trigger_celery.declare.schedule import every
from trigger_celery.engine.process import discovery
from trigger_celery.engine.process.discovery import Discovery
from trigger_celery.engine.upkeep.declarations import sync_declared
from trigger_celery.errors import InvalidSchedule, UnknownTask
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.records import Run

MINUTE = timedelta(minutes=1)
Start = Callable[[Harness], object]


def late(event: Event | None = None) -> str:
    return "done"


class Project:
    """A project whose task the store knows, but this process does not until it imports it."""

    def __init__(self, harness: Harness, queue: Queue) -> None:
        self.imports = 0
        self._tasks = harness.engine.tasks
        self._definition = harness.task(
            late,
            on_event="go",
            schedule=every(MINUTE, key="often"),
            queue=queue,
            defaults=TriggerOptions(priority=3, ttl=MINUTE, tags=["own"]),
        )
        sync_declared(harness.engine)
        self._tasks.remove("late")
        harness.engine.discover = self.discover

    def discover(self) -> None:
        """Import it."""
        self.imports += 1
        self._tasks.add(self._definition)


@pytest.fixture
def project(harness: Harness) -> Iterator[Project]:
    """Return a project, and forget its queue."""
    queue = Queue("late-queue", concurrency_limit=5)
    yield Project(harness, queue)
    queues.remove(queue.name)


def only_run(harness: Harness) -> Run:
    [row] = harness.memory._core.tables.runs.values()
    return row.run


def has_the_options(run: Run) -> bool:
    timely = run.deadline_at == run.created_at + MINUTE
    return timely and (run.spec.queue, run.spec.priority, run.spec.tags) == (
        "late-queue",
        3,
        ("own",),
    )


def has_none(run: Run) -> bool:
    return (run.spec.queue, run.spec.priority, run.spec.tags, run.deadline_at) == ("", 0, (), None)


def by_event(harness: Harness) -> None:
    send_event("go", {"n": 1})


def by_schedule(harness: Harness) -> None:
    harness.advance(MINUTE)
    harness.sweep()


def by_schedule_now(harness: Harness) -> None:
    run_schedule("often")


def by_name(harness: Harness) -> None:
    trigger("late")


STARTS = (by_event, by_schedule, by_schedule_now, by_name)


@pytest.mark.parametrize("start", STARTS)
def test_a_run_of_a_task_that_was_not_imported_has_its_options(
    harness: Harness, project: Project, start: Start
) -> None:
    start(harness)
    assert project.imports == 1
    assert has_the_options(only_run(harness))


@pytest.mark.parametrize("start", [by_event, by_schedule, by_schedule_now])
def test_a_module_that_cannot_be_imported_keeps_no_run_from_starting(
    harness: Harness, project: Project, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ImportError("no module named anything")

    harness.engine.discover = fail
    start(harness)
    assert has_none(only_run(harness))
    for _ in range(2):
        with pytest.raises(UnknownTask, match=r"called 'late'.*autodiscover_tasks\(\)"):
            trigger("late")
    [error] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "restart this process" in error.message
    assert "no module named anything" in caplog.text


def test_a_known_task_costs_nothing_and_an_unknown_one_is_looked_for_once(
    harness: Harness, project: Project
) -> None:
    harness.task(late, name="known", on_event="known")
    send_event("known")
    trigger("known")
    assert project.imports == 0
    for _ in range(3):
        with pytest.raises(UnknownTask, match="'lat'; did you mean 'late'"):
            trigger("lat")
    trigger("late")
    assert project.imports == 1


def test_another_input_is_checked_by_the_signature_of_a_task_that_was_not_imported(
    harness: Harness, project: Project
) -> None:
    by_event(harness)
    harness.engine.tasks.remove("late")
    harness.engine.discovery = Discovery()
    copy = rerun(only_run(harness).id, args=[None])
    assert harness.stored(copy).spec.queue == "late-queue"
    with pytest.raises(TypeError):
        rerun(copy, args=[1, 2, 3])


def test_schedules_of_a_task_that_was_not_imported_are_made_and_kept(
    harness: Harness, project: Project
) -> None:
    with pytest.raises(InvalidSchedule, match="declared by the code of task 'late'"):
        delete_schedule("often")
    harness.engine.tasks.remove("late")
    harness.engine.discovery = Discovery()
    assert create_schedule("late", key="seldom", every=MINUTE)
    with pytest.raises(UnknownTask, match="did you mean 'late'"):
        create_schedule("lat", key="never", every=MINUTE)


def test_modules_are_imported_outside_of_the_run_whose_body_misses_a_task(
    harness: Harness, project: Project
) -> None:
    sessions: list[object] = []

    def discover() -> None:
        sessions.append(current_session())
        project.discover()

    def body() -> str:
        assert current_session() is not None
        return trigger("late").task

    harness.engine.discover = discover
    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle()
    assert harness.result(run_id) == "late"
    assert sessions == [None]


def test_a_module_that_misses_a_task_while_it_is_imported_imports_nothing_again(
    harness: Harness, project: Project
) -> None:
    def discover() -> None:
        with pytest.raises(UnknownTask):
            trigger("late")
        project.discover()

    harness.engine.discover = discover
    trigger("late")
    assert project.imports == 1


def test_a_caller_waits_while_another_thread_imports(harness: Harness, project: Project) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def discover() -> None:
        begun.set()
        assert go_on.wait(30)
        project.discover()

    harness.engine.discover = discover
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(harness.engine.task, "late")
        assert begun.wait(30)
        second = threads.submit(harness.engine.task, "late")
        assert not second.done()
        go_on.set()
        assert first.result(30) is second.result(30) is not None
    assert project.imports == 1


def test_after_a_wait_in_vain_a_caller_goes_on_and_later_ones_do_not_wait(
    harness: Harness,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(discovery, "PATIENCE", 0.01)
    begun, go_on = threading.Event(), threading.Event()

    def discover() -> None:
        begun.set()
        assert go_on.wait(30)
        project.discover()

    harness.engine.discover = discover
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(harness.engine.task, "late")
        assert begun.wait(30)
        assert harness.engine.task("late") is None
        assert "took longer than" in caplog.text
        monkeypatch.setattr(discovery, "PATIENCE", 3600.0)
        assert harness.engine.task("late") is None
        go_on.set()
        assert first.result(30) is harness.engine.task("late") is not None
