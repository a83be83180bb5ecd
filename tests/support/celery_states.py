"""Asks for Celery results and states from a test, always with a limit."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from celery.result import AsyncResult

from support.waiting import eventually
from trigger_celery.client.access import installed_engine
from trigger_celery.engine.runs import control as run_control
from trigger_celery.vocabulary.records import Run
from trigger_celery.vocabulary.states import RunState

LIMIT = 20


def value_of(result: Any) -> Any:
    """Return the value of an ``AsyncResult`` or ``GroupResult``."""
    return result.get(timeout=LIMIT, interval=0.05)


def run_of(result: AsyncResult[Any]) -> Run:
    """Return the run behind a result."""
    return run_control.get(installed_engine(), UUID(str(result.id)))


def wait_for_run(result: AsyncResult[Any], *states: RunState) -> Run:
    """Wait until the run is in one of the states."""
    eventually(lambda: run_of(result).state in states, LIMIT, f"{result.id} becomes {states}")
    return run_of(result)


def wait_for_state(result: AsyncResult[Any], *states: str) -> None:
    """Wait until Celery shows one of these states."""
    eventually(lambda: result.state in states, LIMIT, f"{result.id} shows {states}")


def wait_until_published(result: AsyncResult[Any]) -> Run:
    """Wait until result and callbacks of the run are known to be out."""
    eventually(lambda: run_of(result).published_at is not None, LIMIT, f"{result.id} published")
    return run_of(result)
