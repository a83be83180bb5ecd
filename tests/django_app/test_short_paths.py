"""How many files of ours one call passes through, and how often it changes from one to another.

Counted are the calls of Python functions whose file is in ``trigger_celery`` or
``trigger_celery_django``: each such file once, and each call in another file than the call
before it. What a C function, Django, Celery, the broker or the body of the step does is not
counted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from django.db import connection

import trigger_celery
import trigger_celery_django
from trigger_celery import durable_task, step
from trigger_celery.client.access import installed_engine
from trigger_celery.engine.execution.runner import execute
from trigger_celery.engine.runs.trigger import trigger

OURS = tuple(
    str(Path(each.__file__ or "").parent) for each in (trigger_celery, trigger_celery_django)
)


def path_of(call: Callable[[], object]) -> list[str]:
    """Return the files of ours in which functions were called meanwhile, in their order."""
    files: list[str] = []

    def profile(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            files.append(frame.f_code.co_filename)

    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
    return files


def changes(files: list[str]) -> int:
    return sum(before != after for before, after in zip(files, files[1:], strict=False))


PATHS: dict[str, list[str]] = {}


@step
def charge(order: dict[str, Any]) -> dict[str, Any]:
    return {**order, "paid": True}


@durable_task(name="short-paths")
def process_order(order_id: str) -> None:
    charge({"id": order_id})
    charge({"id": order_id})
    PATHS["step"] = path_of(lambda: charge({"id": order_id, "lines": [1, 2]}))


# Elsewhere the rows of a run are made by pure functions and Django: more stations on the way.
OF_DELAY = {"postgresql": 17, "sqlite": 18, "mysql": 18}


@pytest.mark.django_db(transaction=True)
def test_delay_passes_through_few_files() -> None:
    process_order.delay("o-1")
    process_order.delay("o-2")
    files = path_of(lambda: process_order.delay("o-3"))
    broker = "/celery/file_transport.py"  # of these tests
    short = sorted({name.rpartition("trigger_celery")[2] for name in files} - {broker})
    assert len(short) <= OF_DELAY[connection.vendor], short


@pytest.mark.django_db(transaction=True)
def test_one_step_passes_through_few_files() -> None:
    engine = installed_engine()
    run_id = trigger(engine, process_order.durable, ("o-1",))
    execute(engine, run_id, process_order.durable)
    files = PATHS["step"]
    assert len(set(files)) <= 14, sorted(set(files))
    assert changes(files) <= 40, files
