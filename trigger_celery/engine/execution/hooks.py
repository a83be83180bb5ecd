"""Calls the hooks of a task. What a hook raises is logged and noted, and changes nothing.

The hooks of the end are noted in the run's history, so that a worker that has to publish the end
again, after a crash or because a result backend is away, calls none of them again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from dataclasses import replace
from inspect import isawaitable
from typing import Any
from uuid import UUID

from asgiref.sync import async_to_sync

from trigger_celery.body.context import entered
from trigger_celery.declare.definition import TaskDefinition
from trigger_celery.declare.hooks import AT_END, Caught, RunResult, WaitInfo, caught
from trigger_celery.engine import notifications
from trigger_celery.engine.core import Engine
from trigger_celery.engine.execution.run_view import describe_run
from trigger_celery.engine.process.interrupts import is_failure
from trigger_celery.engine.segment.outcome import Finished, stored_error
from trigger_celery.engine.segment.segment import Segment, end_transactions
from trigger_celery.values.failures import describe, to_text
from trigger_celery.vocabulary import step_keys
from trigger_celery.vocabulary.news import Topic
from trigger_celery.vocabulary.records import Run, StepKind
from trigger_celery.vocabulary.states import RunState

logger = logging.getLogger("trigger_celery.hooks")

VERB = "hook"
"""What the history of a run calls a hook of its end that was called, and any that failed."""


def owed(task: TaskDefinition) -> bool:
    """Whether a worker has to call hooks once a run of the task has ended."""
    return not AT_END.isdisjoint(task.hooks)


def entering(segment: Segment, task: TaskDefinition) -> None:
    """Tell that the body is about to begin, or to go on."""
    replay, run = segment.replay, segment.run
    if run.attempt == 1 and replay.is_fresh:
        notifications.running(segment.engine, Topic.RUN_STARTED, run)
        _call(segment.engine, run, task, "on_start")
    elif (
        replay.recorded(step_keys.backoff_of_run(run.fence - 1)) is None
    ):  # another attempt is no resumption
        notifications.running(segment.engine, Topic.RUN_RESUMED, run)
        _call(segment.engine, run, task, "on_resume")


def waiting(segment: Segment, task: TaskDefinition) -> None:
    """Tell that the run is about to be suspended; not between two attempts."""
    if "on_wait" not in task.hooks:
        return
    new = {
        wait.key: WaitInfo(key=wait.key, kind=wait.kind, name=wait.name)
        for wait in segment.leaving.waits
    }
    waits = tuple(new.get(key) or _recorded(segment, key) for key in segment.leaving.keys)
    waits = tuple(wait for wait in waits if wait.kind != StepKind.RETRY)
    if waits:
        _call(segment.engine, segment.run, task, "on_wait", waits=waits)


def catch_error(segment: Segment, task: TaskDefinition, error: Exception) -> Caught:
    """Ask the task what becomes of a run whose body raised ``error``."""

    def ask(hook: Callable[..., Any], given: dict[str, Any]) -> Caught:
        return caught(_outside(hook, given))

    answer = _call(segment.engine, segment.run, task, "catch_error", ask, error=error)
    return answer if isinstance(answer, Caught) else Caught()


def ended(engine: Engine, task: TaskDefinition, finished: Finished) -> None:
    """Call the hooks for the end of a run that were not called yet; safe to repeat."""
    if not owed(task):
        return
    run, state, error = finished.run, finished.state, _error(finished)
    result = RunResult(state=state, output=_output(engine, finished), error=error)
    hooks: dict[str, dict[str, Any]] = {"on_complete": {"result": result}}
    if error is None:
        hooks = {"on_success": {"output": _output(engine, finished)}, **hooks}
    elif state is RunState.CANCELED:
        hooks = {"on_cancel": {"reason": str(error)}, **hooks}
    else:
        hooks = {"on_failure": {"error": error}, **hooks}
    done = _done(engine, run.id) if run.state.terminal else set()
    for name, given in hooks.items():
        if name not in done:
            _call(engine, run, task, name, **given)


def _done(engine: Engine, run_id: UUID) -> set[str]:
    """Return which hooks were called since the run ended; it may have been retried before."""
    notes = engine.patient.runs.notes_since_end(run_id, VERB)
    noted: list[Any] = [engine.codec.decode(note.data) for note in notes]
    return {each["hook"] for each in noted}


def _output(engine: Engine, finished: Finished) -> object:
    """Return the result once more: what a hook does to it must not reach the next reader."""
    return None if finished.output is None else engine.codec.decode(finished.output)


def _error(finished: Finished) -> Exception | None:
    """Return why the run did not succeed: the same from the record and from the live failure."""
    error = finished.error
    if error is None or finished.run.state.terminal:
        return error
    failed = replace(finished.run, state=finished.state, error=to_text(describe(error)))
    stored = stored_error(failed)
    stored.__cause__ = error
    return stored


def _recorded(segment: Segment, key: str) -> WaitInfo:
    outcome = segment.replay.recorded(key)
    return WaitInfo(key=key, kind=StepKind.RETRY if outcome is None else outcome.kind)


def _outside(hook: Callable[..., Any], given: dict[str, Any]) -> object:
    """Call a hook outside of its run: what it does is no part of a replay."""
    with entered(None):
        answer = hook(**given)
        return async_to_sync(_awaited)(answer) if isawaitable(answer) else answer


async def _awaited(answer: Awaitable[object]) -> object:
    return await answer


def _call(
    engine: Engine,
    run: Run,
    task: TaskDefinition,
    name: str,
    ask: Callable[[Callable[..., Any], dict[str, Any]], object] = _outside,
    **given: Any,
) -> object:
    hook = task.hooks.get(name)
    if hook is None:
        return None
    answer: object = None
    try:
        given["run"] = describe_run(engine, run, step_keys.hook(name))
        answer = copy_context().run(ask, hook, given)
        engine.store.check_boundary(f"the end of {name}")
    except BaseException as error:
        if not is_failure(error):
            raise
        logger.exception("run %s: %s of task %r failed", run.id, name, run.task)
        end_transactions(engine.store)
        _note(engine, run.id, {"hook": name, "error": to_text(describe(error))})
    else:
        if name in AT_END:
            _note(engine, run.id, {"hook": name})
    return answer


def _note(engine: Engine, run_id: UUID, details: dict[str, str]) -> None:
    try:
        engine.patient.runs.note(run_id, VERB, details)
    except Exception:  # then it may be called again
        logger.exception("run %s: the call of %s could not be recorded", run_id, details["hook"])
