"""Records as the fields of JSON answers, and the fields of JSON bodies as values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from trigger_celery import Debounce, TriggerOptions
from trigger_celery.config import suggest
from trigger_celery.errors import RequestRefused, UnknownOption
from trigger_celery.values.failures import from_text
from trigger_celery.vocabulary.records import Run

_TIMES = ("created_at", "available_at", "started_at", "finished_at", "deadline_at", "paused_at")


def taken(body: Mapping[str, Any], **types: type) -> dict[str, Any]:
    """Return these fields of a body, empty ones for those it leaves out.

    Raises :exc:`RequestRefused` (400) for a field of another name or type.
    """
    for name in body:
        if name not in types:
            known = dict.fromkeys(types)
            hint = suggest(name, known) if known else ""
            raise RequestRefused(400, f"the body has no field {name!r}{hint}")
    values = {name: body[name] if name in body else kind() for name, kind in types.items()}
    for name, kind in types.items():
        if not isinstance(values[name], kind):
            raise RequestRefused(400, f"expected the field {name!r} to be a {_JSON[kind]}")
    return values


_JSON: dict[object, str] = {list: "list", dict: "JSON object", str: "text"}


def options_of(given: Mapping[str, Any]) -> TriggerOptions:
    """Return the options of a trigger; a time is text as ISO 8601 writes it, durations are seconds.

    Raises :exc:`RequestRefused` (400), ``InvalidOption`` or ``InvalidTime``.
    """
    options = dict(given)
    if isinstance(options.get("delay"), str):
        options["delay"] = _time(options["delay"])
    try:
        if isinstance(options.get("debounce"), dict):
            options["debounce"] = Debounce(**options["debounce"])
        return TriggerOptions.of(options)
    except (UnknownOption, TypeError) as error:
        raise RequestRefused(400, str(error)) from error


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise RequestRefused(
            400, f"expected delay to be seconds or a time, got: {text!r}"
        ) from None


def run_fields(run: Run) -> dict[str, Any]:
    """Return a run as JSON values; ``output`` is the JSON that the codec wrote of it."""
    error = None if run.error is None else from_text(run.error)
    return {
        "id": str(run.id),
        "task": run.task,
        "state": run.state.value,
        "attempt": run.attempt,
        "tags": list(run.spec.tags),
        "metadata": json.loads(run.spec.metadata) if run.spec.metadata else {},
        **{name: _iso(getattr(run, name)) for name in _TIMES},
        "parent": None if run.spec.parent_id is None else str(run.spec.parent_id),
        "output": None if run.output is None else json.loads(run.output),
        "error": None if error is None else {"type": error.kind, "message": error.message},
    }


def _iso(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()
