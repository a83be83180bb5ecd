"""A run as the commands show it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from trigger_celery.client.runs import (
    RunInfo,
    RunSummary,
    get_run,
    is_declared,
    stored_fields,
    stored_run,
)
from trigger_celery.errors import TriggerError
from trigger_celery.values.failures import Failure
from trigger_celery.vocabulary.records import in_line_of
from trigger_celery.vocabulary.states import RunState

COLUMNS = ("id", "task", "state", "attempt", "created_at", "finished_at", "error")
SHORT = 200
"""So many characters of a value are shown unless all is asked for."""


def row(run: RunSummary) -> dict[str, object]:
    """Return what a list shows of a run."""
    return {
        "id": run.id,
        "task": run.task,
        "state": state_of(run.state, paused=run.paused_at is not None),
        "attempt": run.attempt,
        "crashes": run.crashes,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "error": "" if run.error is None else cut(said(run.error), 60),
    }


def undeclared(tasks: Iterable[str]) -> str:
    """Return what is to be said of tasks among these that no code declares, or nothing."""
    found = sorted({task for task in tasks if not is_declared(task)})
    if not found:
        return ""
    return (
        f"no code here declares {', '.join(map(repr, found))}, so no worker of this code executes "
        f"its runs: declare it, name it in aliases= of what it is called now, or cancel them"
    )


def state_of(state: str, *, paused: bool) -> str:
    """Return the state of a run; ``paused`` is said of a run that has not ended."""
    return f"{state}, paused" if paused and not RunState(state).terminal else str(state)


def details(run_id: UUID, *, full: bool) -> dict[str, object]:
    """Return every field of a run, its values as text and cut unless ``full``."""
    run = stored_run(run_id)
    shown: dict[str, object] = stored_fields(run)
    del shown["tags"]  # they come after the queue that it waits in
    limit = None if full else SHORT  # never of an error: its advice stands at its end
    shown["state"] = state_of(run.state, paused=run.paused_at is not None)
    shown["in_line_of"] = in_line_of(run)
    if said := undeclared([run.spec.task] if not run.state.terminal else []):
        shown["unknown_task"] = said
    shown["tags"] = list(run.spec.tags)
    try:
        decoded: Mapping[str, Any] = _values(get_run(run_id))
    except TriggerError as error:  # written by code that this process does not have
        decoded = {"input": run.spec.input, "output": run.output, "unreadable": str(error)}
    shown |= {
        name: value if value is None or name == "error" else cut(value, limit)
        for name, value in decoded.items()
    }
    return shown


def _values(run: RunInfo) -> dict[str, str | None]:
    values: dict[str, str | None] = {
        "args": repr(list(run.args)),
        "kwargs": repr(dict(run.kwargs)),
        "output": repr(run.output) if run.state is RunState.COMPLETED else None,
        "error": None if run.error is None else said(run.error),
        "metadata": repr(run.metadata) if run.metadata else None,
        "origin": repr(run.origin) if run.origin else None,
    }
    if run.error is not None and run.error.fingerprint:
        values["error_fingerprint"] = run.error.fingerprint
    if run.error is not None and run.error.file:
        values["error_at"] = f"{run.error.file}:{run.error.line} in {run.error.function}"
    return values


def said(failure: Failure) -> str:
    """Return a failure in one line."""
    text = f"{failure.kind}: {failure.message}" if failure.message else failure.kind
    return " ".join(text.split())


def cut(text: str, limit: int | None) -> str:
    """Return the text, or its beginning and how long it is."""
    if limit is None or len(text) <= limit:
        return text
    return f"{text[:limit]}... ({len(text):,} characters)"
