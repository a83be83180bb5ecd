"""What messages of the broker may do: let workers look, and no more than the settings allow."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any
from unittest.mock import Mock
from uuid import UUID, uuid4

import pytest
from celery import current_app
from celery.app.trace import build_tracer

from trigger_celery import durable_task
from trigger_celery.celery.worker.own_tasks import cancel_runs
from trigger_celery.celery.worker.request import REVOKED_HEADER, DurableRequest
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.states import RunState


@durable_task(name="asked-by-message", ignore_result=True)
def job(value: int = 1) -> int:
    return value


def configured(harness: Harness, **settings: Any) -> None:
    harness.config = replace(harness.config, **settings)


def message(run_id: UUID, **headers: object) -> Any:
    """Execute a message as a worker's process does."""
    task = current_app.tasks[job.name]
    task.__trace__ = build_tracer(task.name, task, app=task.app)
    request = {"id": str(run_id), "task": task.name, "delivery_info": {}, **headers}
    return task.__trace__(str(run_id), (), {}, request)


def test_a_header_of_a_message_cancels_no_run() -> None:
    headers: dict[str, Any] = {
        "id": str(uuid4()),
        "task": job.name,
        "argsrepr": "()",
        "kwargsrepr": "{}",
    }
    headers |= {"trigger_nudge": True, REVOKED_HEADER: True}
    received = Mock(headers=headers, payload=([], {}, {}), body="")
    request: Any = DurableRequest(received, app=current_app, task=job, headers=headers)
    assert REVOKED_HEADER not in request.request_dict
    assert "trigger_nudge" in request.request_dict


def test_a_revoked_run_is_canceled_and_its_history_names_the_broker(harness: Harness) -> None:
    run_id = UUID(job.delay().id)
    message(run_id, trigger_nudge=True, **{REVOKED_HEADER: True})
    assert harness.run(run_id).state is RunState.CANCELED
    assert "broker" in str(harness.memory._core.tables.history[run_id])


def test_no_message_cancels_a_run_where_the_setting_is_off(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    configured(harness, cancel_by_message=False)
    first, second = UUID(job.delay().id), UUID(job.delay().id)
    cancel_runs.run([str(first), "no id"], "revoked")
    assert harness.run(first).state is RunState.QUEUED
    message(second, trigger_nudge=True, **{REVOKED_HEADER: True})
    assert harness.run(second).state is RunState.COMPLETED
    assert caplog.text.count("CANCEL_BY_MESSAGE is off") == 2


def test_a_message_without_our_header_starts_a_run(harness: Harness) -> None:
    run_id = uuid4()
    message(run_id)
    assert harness.run(run_id).state is RunState.COMPLETED


def test_a_message_without_our_header_starts_nothing_where_the_setting_is_off(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    configured(harness, adopt_messages=False)
    known, foreign = UUID(job.delay().id), uuid4()
    with caplog.at_level(logging.WARNING):
        message(foreign)
    assert harness.memory.runs.get(foreign) is None
    assert f"message {foreign} of task {job.name!r} is no nudge" in caplog.text
    message(known)
    assert harness.run(known).state is RunState.COMPLETED
