"""The OpenAPI 3.1 description of the API, made from what its views read and answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trigger_celery import __version__
from trigger_celery.client.access import REASON_LENGTH
from trigger_celery.client.runs import PAGE
from trigger_celery.vocabulary.states import RunState

Schema = Mapping[str, Any]

TEXT: Schema = {"type": "string"}
ID: Schema = {"type": "string", "format": "uuid"}
NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 200}
TIME: Schema = {"type": "string", "format": "date-time"}
SECONDS: Schema = {"type": ["number", "null"], "minimum": 0}
SECONDS_OR_TIME: Schema = {"anyOf": [SECONDS, TIME]}
WHOLE: Schema = {"type": ["integer", "null"]}
FLAG: Schema = {"type": "boolean"}
ANY: Schema = {"description": "any JSON value"}


def _nullable(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _object(properties: Mapping[str, Schema], *required: str, closed: bool = True) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        **({"additionalProperties": False} if closed else {}),
    }


OPTIONS: Mapping[str, Schema] = {
    "delay": SECONDS_OR_TIME,
    "ttl": SECONDS,
    "idempotency_key": {
        "anyOf": [_nullable(TEXT), {**_list({**TEXT, "minLength": 1}), "minItems": 1}]
    },
    "idempotency_scope": {"enum": ["run", "attempt", "global", None]},
    "idempotency_ttl": SECONDS,
    "debounce": {"type": ["object", "null"]},
    "tags": {**_list({"type": "string", "minLength": 1, "maxLength": 128}), "maxItems": 10},
    "metadata": {"type": ["object", "null"]},
    "priority": WHOLE,
    "max_attempts": {"type": ["integer", "null"], "minimum": 1, "maximum": 250},
    "max_duration": SECONDS,
    "concurrency_key": _nullable(NAME),
    "queue": _nullable(NAME),
    "parent_close": {"enum": ["abandon", "cancel", None]},
}
"""The options of a trigger, as JSON has them."""

_RUN: dict[str, Schema] = {
    "id": ID,
    "task": TEXT,
    "state": {"enum": [state.value for state in RunState]},
    "attempt": {"type": "integer"},
    "tags": _list(TEXT),
    "queue": TEXT,
    "schedule": TEXT,
    **dict.fromkeys(
        ("created_at", "available_at", "started_at", "finished_at", "deadline_at", "paused_at"),
        _nullable(TIME),
    ),
    "parent": _nullable(ID),
    "root": _nullable(ID),
    "error": {
        "anyOf": [
            {"type": "null"},
            _object(
                dict.fromkeys(("type", "message", "fingerprint"), TEXT),
                *("type", "message", "fingerprint"),
            ),
        ]
    },
}
LISTED_RUN = _object(_RUN, *_RUN)
RUN = _object({**_RUN, "metadata": {"type": "object"}, "output": ANY}, *_RUN, "metadata", "output")
ERROR = _object({"error": TEXT}, "error")
FILTERS: Mapping[str, Schema] = {
    **dict.fromkeys(("task", "tag"), _list(NAME)),
    "state": _list({"enum": [state.value for state in RunState]}),
    **dict.fromkeys(("queue", "schedule", "error", "cursor"), TEXT),
    **dict.fromkeys(("parent", "root"), ID),
    **dict.fromkeys(("since", "until"), TIME),
    "limit": {"type": "integer", "minimum": 1, "maximum": PAGE},
    "dead_letters": FLAG,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One call of the API: ``answers`` are the schemas of its good answers by their status."""

    path: str
    method: str
    permission: str
    summary: str
    answers: Mapping[int, Schema]
    body: Schema | None = None
    query: Mapping[str, Schema] = field(default_factory=dict)
    errors: tuple[int, ...] = ()


OPERATIONS: Mapping[str, Operation] = {
    "api-trigger": Operation(
        path="api/tasks/{task}/trigger/",
        method="post",
        permission="trigger",
        summary="Start a run",
        body=_object(
            {"args": _list(ANY), "kwargs": {"type": "object"}, "options": _object(OPTIONS)}
        ),
        answers=dict.fromkeys(
            (200, 201),
            _object({"id": ID, "task": TEXT, "created": FLAG}, "id", "task", "created"),
        ),
        errors=(400, 404, 409, 411, 413, 415),
    ),
    "api-runs": Operation(
        path="api/runs/",
        method="get",
        permission="read",
        summary="List runs, a page at a time, the newest first",
        query=FILTERS,
        answers={
            200: _object({"runs": _list(LISTED_RUN), "next": _nullable(TEXT)}, "runs", "next")
        },
        errors=(400, 404),
    ),
    "api-run": Operation(
        path="api/runs/{run_id}/",
        method="get",
        permission="read",
        summary="Show a run with its output",
        answers={200: RUN},
        errors=(404,),
    ),
    "api-cancel": Operation(
        path="api/runs/{run_id}/cancel/",
        method="post",
        permission="cancel",
        summary="Cancel a run",
        body=_object({"reason": {"type": "string", "maxLength": REASON_LENGTH}}),
        answers={200: _object({"id": ID, "canceled": FLAG}, "id", "canceled")},
        errors=(400, 404, 411, 413, 415),
    ),
    "api-events": Operation(
        path="api/events/",
        method="post",
        permission="send_event",
        summary="Send an event",
        body=_object(
            {"name": NAME, "payload": ANY, "id": {"type": "string", "maxLength": 200}}, "name"
        ),
        answers={202: _object({"id": TEXT}, "id")},
        errors=(400, 409, 411, 413, 415),
    ),
    "api-complete": Operation(
        path="api/tokens/{token_id}/complete/",
        method="post",
        permission="complete_token",
        summary="Complete a token",
        body=_object({"value": ANY}, "value"),
        answers={200: _object({"id": ID, "state": {"const": "completed"}}, "id", "state")},
        errors=(400, 404, 409, 411, 413, 415),
    ),
}
"""The calls of the API by the names of their URLs."""

ALWAYS = (401, 403, 429, 503)
"""What any call may be answered with."""
MEANINGS = {
    400: "something is wrong with the request",
    401: "no valid key",
    403: "the key has no permission for this",
    404: "there is no such thing, or not for this key",
    409: "a key or an id stands for something else, or the token is closed",
    411: "the body has no Content-Length",
    413: "the body is too large",
    415: "the body is not application/json",
    429: "too many requests; Retry-After says when to come back",
    503: "the database is away; try again after Retry-After",
}


def document(prefix: str) -> dict[str, Any]:
    """Return the description of the API; ``prefix`` is where its URLs are included."""
    paths: dict[str, dict[str, Any]] = {}
    for name, each in OPERATIONS.items():
        paths.setdefault("/" + each.path, {})[each.method] = _operation(name, each)
    return {
        "openapi": "3.1.0",
        "info": {"title": "trigger-celery", "version": __version__},
        "servers": [{"url": prefix.rstrip("/") or "/"}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": ERROR},
        },
    }


def _operation(name: str, of: Operation) -> dict[str, Any]:
    in_path = [part[1:-1] for part in of.path.split("/") if part.startswith("{")]
    described: dict[str, Any] = {
        "operationId": name,
        "summary": of.summary,
        "description": f"Needs a key with the permission `{of.permission}`.",
        "parameters": [
            *(
                {
                    "name": part,
                    "in": "path",
                    "required": True,
                    "schema": NAME if part == "task" else ID,
                }
                for part in in_path
            ),
            *({"name": each, "in": "query", "schema": of.query[each]} for each in of.query),
        ],
        "responses": {
            **{str(status): _answer("done", schema) for status, schema in of.answers.items()},
            **{
                str(status): _answer(MEANINGS[status], {"$ref": "#/components/schemas/Error"})
                for status in sorted({*of.errors, *ALWAYS})
            },
        },
    }
    if of.body is not None:
        content = {"application/json": {"schema": of.body}}
        described["requestBody"] = {"required": bool(of.body["required"]), "content": content}
    return described


def _answer(meaning: str, schema: Schema) -> dict[str, Any]:
    return {"description": meaning, "content": {"application/json": {"schema": schema}}}
