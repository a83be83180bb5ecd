"""The JSON API: what programs elsewhere may ask of runs, events and tokens."""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial
from uuid import UUID

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.debug import sensitive_variables

from trigger_celery.client import events, runs, tokens
from trigger_celery.client.access import Caller, acting, check_permission, count_request
from trigger_celery.client.starting import task_named
from trigger_celery.errors import (
    CodecError,
    EventConflict,
    IdempotencyConflict,
    QueueNotFound,
    RequestRefused,
    RunNotFound,
    TokenClosed,
    TokenNotFound,
    UnknownTask,
    UsageError,
)
from trigger_celery_django.apikeys import caller_of
from trigger_celery_django.conf import config
from trigger_celery_django.views.description import document
from trigger_celery_django.views.fields import (
    asked_of,
    listed_fields,
    options_of,
    run_fields,
    taken,
)
from trigger_celery_django.views.reading import (
    View,
    answering,
    for_outsiders,
    json_of,
    outside_transactions,
)

_answering = partial(answering, proof='Bearer realm="trigger-celery"')


def endpoint(method: str, verb: str) -> Callable[[View], View]:
    """Make a view of the API: one method, a valid key, JSON both ways.

    The key comes in the ``Authorization`` header. One that may not do the ``verb`` of the view
    is refused before its body is read.
    """

    def declare(view: View) -> View:
        @functools.wraps(view)
        def answer(request: HttpRequest, **kwargs: object) -> HttpResponse:
            caller = _caller(request)
            count_request("api", caller.by, config().api_key_rate)
            with acting(caller):
                check_permission(verb, None)
                return _refusing(view, request, **kwargs)

        return for_outsiders(outside_transactions(_answering(method)(answer)))

    return declare


@sensitive_variables()
def _caller(request: HttpRequest) -> Caller:
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    caller = caller_of(given.strip()) if kind.lower() == "bearer" else None
    if caller is None:
        raise RequestRefused(401, "expected the header Authorization: Bearer with a valid API key")
    return caller


def _refusing(view: View, request: HttpRequest, **kwargs: object) -> HttpResponse:
    """Call the view; what a verb refuses becomes an answer."""
    try:
        return view(request, **kwargs)
    except (RunNotFound, TokenNotFound, UnknownTask, QueueNotFound) as error:
        raise RequestRefused(404, str(error)) from error
    except (EventConflict, IdempotencyConflict, TokenClosed) as error:
        raise RequestRefused(409, _conflict(error)) from error
    except (UsageError, CodecError) as error:
        raise RequestRefused(400, str(error)) from error


def _conflict(error: Exception) -> str:
    """Return what a key learns of a conflict: only one that may read, which run or person it is."""
    try:
        check_permission("get_run", None)
    except RequestRefused:
        return str(type(error).__doc__).partition("\n")[0]
    return str(error)


@for_outsiders
@_answering("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
def no_such_path(request: HttpRequest, rest: str) -> HttpResponse:
    """Answer for all paths below that of the API which lead nowhere."""
    raise RequestRefused(404, "the API has no such path; its paths end with a slash")


@for_outsiders
@outside_transactions
@_answering("GET")
def description(request: HttpRequest) -> HttpResponse:
    """Answer with the OpenAPI description; it is the same for all and needs no key."""
    return JsonResponse(document(request.path.removesuffix("api/openapi.json")))


@endpoint("POST", "trigger")
def trigger_task(request: HttpRequest, *, task: str) -> HttpResponse:
    """Start a run: ``{"args": [...], "kwargs": {...}, "options": {...}}``, each may be left out."""
    given = taken(json_of(request), args=list, kwargs=dict, options=dict)
    configured = task_named(task, options_of(given["options"]))
    try:
        handle = configured.trigger(*given["args"], **given["kwargs"])
    except TypeError as error:  # arguments that the task does not take
        raise RequestRefused(400, str(error)) from error
    answer = {"id": str(handle.id), "task": handle.task, "created": handle.created}
    return JsonResponse(answer, status=201 if handle.created else 200)


@endpoint("GET", "list_runs")
def list_runs(request: HttpRequest) -> HttpResponse:
    """List runs, a page at a time; the query has the filters of the verb, and ``cursor``."""
    page = runs.list_runs(**asked_of(request.GET))
    return JsonResponse({"runs": [listed_fields(run) for run in page.runs], "next": page.next})


@endpoint("GET", "get_run")
def show_run(request: HttpRequest, *, run_id: UUID) -> HttpResponse:
    """Show a run: its state, times, output and error."""
    return JsonResponse(run_fields(runs.stored_run(run_id)))


@endpoint("POST", "cancel_run")
def cancel_run(request: HttpRequest, *, run_id: UUID) -> HttpResponse:
    """Cancel a run: ``{"reason": "..."}``; ``canceled`` is false if it had ended already."""
    given = taken(json_of(request), reason=str)
    canceled = runs.cancel_run(run_id, reason=given["reason"])
    return JsonResponse({"id": str(run_id), "canceled": canceled})


@endpoint("POST", "send_event")
def send(request: HttpRequest) -> HttpResponse:
    """Send an event: ``{"name": "...", "payload": ..., "id": "..."}``."""
    body = json_of(request)
    payload = body.pop("payload", None)
    given = taken(body, name=str, id=str)
    if not given["name"]:
        raise RequestRefused(400, "expected the body to have a name")
    event = events.store_event(given["name"], payload, id=given["id"] or None)
    return JsonResponse({"id": event.id}, status=202)


@endpoint("POST", "complete_token")
def complete(request: HttpRequest, *, token_id: UUID) -> HttpResponse:
    """Complete a token: ``{"value": ...}``."""
    body = json_of(request)
    if "value" not in body:
        raise RequestRefused(400, "expected the body to have a value; it may be null")
    value = body.pop("value")
    taken(body)
    tokens.complete_token(token_id, value)
    return JsonResponse({"id": str(token_id), "state": "completed"})
