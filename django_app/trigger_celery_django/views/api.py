"""The JSON API: what programs elsewhere may ask of runs, events and tokens."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from trigger_celery.body.events import send_event
from trigger_celery.client.installed import installed_engine
from trigger_celery.client.starting import find_task, start_one
from trigger_celery.engine.runs import control as run_control
from trigger_celery.engine.runs.trigger import Request
from trigger_celery.engine.waking import tokens
from trigger_celery.errors import (
    CodecError,
    IdempotencyConflict,
    QueueNotFound,
    RequestRefused,
    RunNotFound,
    TokenClosed,
    TokenNotFound,
    UnknownTask,
    UsageError,
)
from trigger_celery_django.apikeys import allows, find_key
from trigger_celery_django.models import ApiKey
from trigger_celery_django.views.fields import options_of, run_fields, taken
from trigger_celery_django.views.reading import View, answering, json_of, outside_transactions


def endpoint(method: str, permission: str) -> Callable[[View], View]:
    """Make a view of the API: one method, a key with this permission, JSON both ways.

    The key comes in the ``Authorization`` header, no cookie gives a right: there is nothing
    that a CSRF token could protect.
    """

    def declare(view: View) -> View:
        @functools.wraps(view)
        def answer(request: HttpRequest, **kwargs: object) -> HttpResponse:
            key = _key_of(request)
            if not allows(key, permission):
                raise RequestRefused(403, f"this API key has no permission to {permission}")
            return _told(view, request, by=f"api:{key.prefix}", **kwargs)

        wrapped = require_http_methods([method])(answering(answer))
        return csrf_exempt(outside_transactions(wrapped))

    return declare


def _key_of(request: HttpRequest) -> ApiKey:
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    key = find_key(given.strip()) if kind.lower() == "bearer" else None
    if key is None:
        raise RequestRefused(401, "expected the header Authorization: Bearer with a valid API key")
    return key


def _told(view: View, request: HttpRequest, **kwargs: object) -> HttpResponse:
    """Call the view; what the engine refuses becomes an answer."""
    try:
        return view(request, **kwargs)
    except (RunNotFound, TokenNotFound, UnknownTask, QueueNotFound) as error:
        raise RequestRefused(404, str(error)) from error
    except (IdempotencyConflict, TokenClosed) as error:
        raise RequestRefused(409, str(error)) from error
    except (UsageError, CodecError) as error:
        raise RequestRefused(400, str(error)) from error


@endpoint("POST", "trigger")
def trigger_task(request: HttpRequest, *, task: str, by: str) -> HttpResponse:
    """Start a run: ``{"args": [...], "kwargs": {...}, "options": {...}}``, each may be left out."""
    given = taken(json_of(request), args=list, kwargs=dict, options=dict)
    engine = installed_engine()
    asked = Request(
        definition=find_task(engine, task),
        args=given["args"],
        kwargs=given["kwargs"],
        options=options_of(given["options"]),
        origin=engine.codec.encode({"kind": "api", "by": by}),
    )
    try:
        handle: Any = start_one(engine, asked, frame=None)
    except TypeError as error:  # arguments that the task does not take
        raise RequestRefused(400, str(error)) from error
    answer = {"id": str(handle.id), "task": handle.task, "created": handle.created}
    return JsonResponse(answer, status=201 if handle.created else 200)


@endpoint("GET", "read")
def show_run(request: HttpRequest, *, run_id: UUID, by: str) -> HttpResponse:
    """Show a run: its state, times, output and error."""
    engine = installed_engine()
    return JsonResponse(run_fields(run_control.get(engine, run_id)))


@endpoint("POST", "cancel")
def cancel_run(request: HttpRequest, *, run_id: UUID, by: str) -> HttpResponse:
    """Cancel a run: ``{"reason": "..."}``; ``canceled`` is false if it had ended already."""
    given = taken(json_of(request), reason=str)
    engine = installed_engine()
    run_control.get(engine, run_id)
    canceled = run_control.cancel(engine, run_id, given["reason"], by=by)
    return JsonResponse({"id": str(run_id), "canceled": canceled})


@endpoint("POST", "send_event")
def send(request: HttpRequest, *, by: str) -> HttpResponse:
    """Send an event: ``{"name": "...", "payload": ..., "id": "..."}``."""
    body = json_of(request)
    payload = body.pop("payload", None)
    given = taken(body, name=str, id=str)
    if not given["name"]:
        raise RequestRefused(400, "expected the body to have a name")
    stored = send_event(given["name"], payload, id=given["id"] or None)
    return JsonResponse({"id": stored}, status=202)


@endpoint("POST", "complete_token")
def complete(request: HttpRequest, *, token_id: UUID, by: str) -> HttpResponse:
    """Complete a token: ``{"value": ...}``."""
    body = json_of(request)
    value = body.pop("value", None)
    taken(body)
    tokens.complete_token(installed_engine(), token_id, value, by=by)
    return JsonResponse({"id": str(token_id), "state": "completed"})
