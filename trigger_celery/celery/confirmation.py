"""Confirms that result and callbacks of a run are out, once Celery's tracer has sent them."""

from __future__ import annotations

from typing import Any

from celery import signals
from celery.states import SUCCESS
from kombu.exceptions import EncodeError

from trigger_celery.celery.task import EXECUTED, DurableTask
from trigger_celery.client.installed import installed_engine
from trigger_celery.engine.execution.runner import published
from trigger_celery.engine.segment.outcome import Finished
from trigger_celery.vocabulary.states import RunState


def confirm(task: Any = None, state: str = "", retval: Any = None, **_: Any) -> None:
    """Note after the tracer is done that result and callbacks of a finished run are out.

    If Celery itself failed to publish a success, nothing is confirmed: the sweep has the
    run published again. A result that Celery cannot encode is not tried again.
    """
    if not isinstance(task, DurableTask):
        return
    executed = getattr(task.request, EXECUTED, None)
    if not isinstance(executed, Finished) or executed.state is RunState.CANCELED:
        return
    told = state == SUCCESS if executed.error is None else bool(state)
    if told or isinstance(retval, EncodeError):
        published(installed_engine(), executed)


def connect() -> None:
    """Listen to Celery's tracer."""
    signals.task_postrun.connect(confirm, dispatch_uid="trigger_celery.confirm", weak=False)
