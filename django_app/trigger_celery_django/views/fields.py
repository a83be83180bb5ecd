"""Records as the fields of JSON answers, and the fields of JSON bodies as values."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import QueryDict

from trigger_celery import Debounce, TriggerOptions
from trigger_celery.client.runs import AS_STORED, RunSummary, stored_fields
from trigger_celery.config import suggest
from trigger_celery.errors import RequestRefused, UnknownOption
from trigger_celery.values.failures import Failure, from_text
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
        options["delay"] = _time("a text as delay", options["delay"])
    try:
        if isinstance(options.get("debounce"), dict):
            options["debounce"] = Debounce(**options["debounce"])
        return TriggerOptions.of(options)
    except (UnknownOption, TypeError) as error:
        raise RequestRefused(400, str(error)) from error


_SEVERAL = ("task", "state", "tag")
_TEXTS = ("queue", "schedule", "parent", "root", "error", "cursor")


def asked_of(query: QueryDict) -> dict[str, Any]:
    """Return what a query asks of a list of runs; what it repeats is meant as several.

    Raises :exc:`RequestRefused` (400) for a filter of another name or with a value that cannot be.
    """
    readers: dict[str, Callable[[str, str], object]] = {
        **dict.fromkeys(_TEXTS, lambda name, text: text),
        "since": _time,
        "until": _time,
        "limit": _number,
        "dead_letters": _flag,
    }
    known = dict.fromkeys((*_SEVERAL, *readers))
    for name in query:
        if name not in known:
            raise RequestRefused(
                400, f"lists of runs have no filter {name!r}{suggest(name, known)}"
            )
        if name not in _SEVERAL and len(query.getlist(name)) > 1:
            raise RequestRefused(400, f"expected the filter {name!r} once")
    several = {name: query.getlist(name) for name in _SEVERAL if name in query}
    one = {name: query.getlist(name)[-1] for name in readers if name in query}
    return several | {name: readers[name](name, text) for name, text in one.items()}


def _time(name: str, text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise RequestRefused(400, f"expected {name} to be a time, got: {text!r}") from None


def _number(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise RequestRefused(400, f"expected {name} to be a number, got: {text!r}") from None


def _flag(name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise RequestRefused(400, f"expected {name} to be true or false, got: {text!r}")
    return text == "true"


def run_fields(run: Run) -> dict[str, Any]:
    """Return a run as JSON values; ``output`` is the JSON that the codec wrote of it."""
    return {
        **_outline(stored_fields(run)),
        "metadata": json.loads(run.spec.metadata) if run.spec.metadata else {},
        "output": None if run.output is None else json.loads(run.output),
        "error": _error(None if run.error is None else from_text(run.error)),
    }


def listed_fields(run: RunSummary) -> dict[str, Any]:
    """Return a run in a list as JSON values."""
    outline = _outline({name: getattr(run, name) for name in AS_STORED})
    return {**outline, "error": _error(run.error)}


def _outline(run: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": str(run["id"]),
        "task": run["task"],
        "state": run["state"].value,
        "attempt": run["attempt"],
        "tags": list(run["tags"]),
        "queue": run["queue"],
        "schedule": run["schedule"],
        **{name: _iso(run[name]) for name in _TIMES},
        "parent": _id(run["parent_id"]),
        "root": _id(run["root_id"]),
    }


def _error(failure: Failure | None) -> dict[str, str] | None:
    if failure is None:
        return None
    shown = {"type": failure.kind, "message": failure.message}
    return {**shown, "fingerprint": failure.fingerprint}


def _id(value: UUID | None) -> str | None:
    return None if value is None else str(value)


def _iso(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()
