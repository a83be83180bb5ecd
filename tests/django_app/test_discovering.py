"""A process that did not import the tasks of its project imports them when it misses one."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from celery import current_app

from support.databases import child_environment
from trigger_celery.celery.install import discover
from trigger_celery.client.access import installed_engine
from trigger_celery.vocabulary.records import Limits, Subscription
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.models import DurableQueue, Run
from trigger_celery_django.models import Subscription as StoredSubscription

LATE = """
from datetime import timedelta
from trigger_celery import Event, Queue, durable_task

@durable_task(
    name="late",
    queue=Queue("late-queue", concurrency_limit=5),
    concurrency_key=lambda event: event.payload["tenant"],
    ttl=timedelta(minutes=1),
    on_event="late-event",
)
def late(event: Event) -> None: ...
"""
BROKEN = "raise ImportError('this module is broken')\n"
WEB = """
import json, logging, sys
import django
django.setup()
from django.core import checks
from django.urls import get_script_prefix, set_script_prefix
from testproject.celery import app
from trigger_celery import send_event

checked = []
checks.register(lambda app_configs, **kwargs: checked.append(1) or [])
for package in {packages!r}:
    app.autodiscover_tasks([package])
set_script_prefix("/under/")
logging.basicConfig()
before = "late_package.tasks" in sys.modules
send_event("late-event", {{"tenant": "t1"}})
print(json.dumps([before, len(checked), get_script_prefix()]))
"""


@pytest.fixture
def stored() -> Iterator[None]:
    """Store the tasks and the queue, as an earlier worker process did; no run begins."""
    store = installed_engine().store
    names = ("late", "gone")
    store.subscriptions.sync(
        [Subscription(task=name, name="late-event", filter="{}") for name in names], []
    )
    store.queues.declare({"late-queue": Limits(concurrency=0), "task/gone": Limits(concurrency=0)})
    yield
    Run.objects.filter(task__in=names).delete()
    StoredSubscription.objects.filter(task__in=names).delete()
    DurableQueue.objects.all().delete()
    installed_engine().known_queues.clear()


def web(folder: Path, *packages: str) -> tuple[list[Any], str]:
    """Send an event from a new process that imports no tasks; return what it prints and logs."""
    environment = child_environment()
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), environment["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-c", WEB.format(packages=packages)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def package(folder: Path, name: str, tasks: str) -> None:
    (folder / name).mkdir()
    (folder / name / "__init__.py").touch()
    (folder / name / "tasks.py").write_text(tasks, encoding="utf-8")


def started(task: str) -> tuple[object, ...]:
    run = Run.objects.get(task=task)
    return (run.state, run.queue, run.concurrency_key, run.deadline_at is not None)


@pytest.mark.usefixtures("stored")
@pytest.mark.django_db(transaction=True)
def test_an_event_from_a_process_without_the_task_starts_it_in_its_queue(tmp_path: Path) -> None:
    package(tmp_path, "late_package", LATE)
    (imported, checks, prefix), _ = web(tmp_path, "late_package")
    assert not imported
    assert started("late") == (RunState.QUEUED, "late-queue", "t1", True)
    assert started("gone") == (RunState.QUEUED, "", "", False)
    # It happens within a request: Django is not set up again, and checks nothing.
    assert (checks, prefix) == (0, "/under/")


@pytest.mark.usefixtures("stored")
@pytest.mark.django_db(transaction=True)
def test_a_module_that_cannot_be_imported_holds_up_neither_events_nor_other_modules(
    tmp_path: Path,
) -> None:
    package(tmp_path, "broken_package", BROKEN)
    package(tmp_path, "late_package", LATE)
    _, logged = web(tmp_path, "broken_package", "late_package")
    assert started("late") == (RunState.QUEUED, "late-queue", "t1", True)
    assert started("gone") == (RunState.QUEUED, "", "", False)
    assert logged.count("Repair what these modules import") == 1
    assert "this module is broken" in logged


def test_what_the_app_includes_is_imported_and_all_failures_are_raised(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "included_late.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    modules = ("no_such_module", "included_late", "nor_this_one")
    monkeypatch.setattr(current_app.loader, "default_modules", modules)
    with caplog.at_level(logging.ERROR), pytest.raises(ExceptionGroup) as failed:
        discover()
    assert [str(error) for error in failed.value.exceptions] == [
        "No module named 'no_such_module'",
        "No module named 'nor_this_one'",
    ]
    assert isinstance(sys.modules.pop("included_late"), ModuleType)
    assert caplog.records == []  # the caller logs them
    loader: Any = current_app.loader
    loader.task_modules.difference_update(modules)


def test_the_engine_of_the_django_app_discovers() -> None:
    assert installed_engine().discover is discover
