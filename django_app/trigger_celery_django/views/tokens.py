"""The page behind a token's URL: GET shows a form and changes nothing, POST completes."""

from __future__ import annotations

import logging
from http import HTTPStatus
from uuid import UUID

from django.core.exceptions import SuspiciousOperation
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    JsonResponse,
    QueryDict,
)
from django.shortcuts import render
from django.views.decorators.debug import sensitive_variables

from trigger_celery.client import tokens
from trigger_celery.client.access import count_request
from trigger_celery.errors import (
    CodecError,
    DecodeError,
    InvalidPayload,
    PayloadTooLarge,
    RequestRefused,
    StoreUnavailable,
    TokenClosed,
    TokenNotFound,
)
from trigger_celery.values.strict import parse
from trigger_celery.vocabulary.records import StoredToken
from trigger_celery.vocabulary.states import TokenState
from trigger_celery_django.conf import config
from trigger_celery_django.links import is_secret
from trigger_celery_django.views.reading import (
    body_of,
    for_outsiders,
    hide_in_path,
    say_when,
)

logger = logging.getLogger("trigger_celery.http")

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
METHODS = ("GET", "HEAD", "POST")
PAGE = "trigger_celery/token.html"
HEADERS = {
    # The URL is the secret: no page that is opened from here may learn it, no cache keep it.
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex, nofollow",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self' https:; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
}


@for_outsiders
@sensitive_variables()
def token(request: HttpRequest, token_id: UUID, secret: str) -> HttpResponse:
    """Show what a token asks for, or complete it with the body of a POST."""
    genuine = is_secret(token_id, secret)
    hide_in_path(request, secret)
    if request.method not in METHODS:
        return HttpResponseNotAllowed(METHODS)
    try:
        if not genuine:
            raise TokenNotFound("no token has this URL")
        response = _answer(request, token_id)
    except TokenNotFound:
        response = _message(request, HTTPStatus.NOT_FOUND, "There is no such token.")
    except StoreUnavailable:
        logger.exception("a token's page: the database is away")
        response = _message(request, 503, "Try again later.")
        response.headers["Retry-After"] = "5"
    except PayloadTooLarge as error:
        response = _message(request, 413, f"Refused: {error}.", again=True)
    except RequestRefused as refused:
        response = _message(request, refused.status, f"Refused: {refused}.", again=True)
        say_when(response, refused)
    except (InvalidPayload, CodecError) as error:
        response = _message(request, HTTPStatus.BAD_REQUEST, f"Refused: {error}.", again=True)
    for name, value in HEADERS.items():
        response.headers[name] = value
    return response


def _answer(request: HttpRequest, token_id: UUID) -> HttpResponse:
    stored = tokens.get_token(token_id)
    if request.method != "POST" or not stored.is_open:
        return _state(request, stored)
    count_request("token", str(token_id), config().token_rate)
    value = _value(request)
    try:
        tokens.complete_token(token_id, value, by="url")
    except TokenClosed:
        return _state(request, tokens.get_token(token_id))
    return _message(request, HTTPStatus.OK, "Thank you. Your answer has been received.")


def _value(request: HttpRequest) -> object:
    kind = request.content_type or ""
    if kind not in (JSON, FORM):
        raise RequestRefused(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"send {JSON} or {FORM}, not {kind!r}"
        )
    body = body_of(request)
    try:
        return parse(body) if kind == JSON else _form(body)
    except DecodeError as error:
        raise RequestRefused(400, f"the body cannot be read: {error}") from None


def _form(body: bytes) -> object:
    """Return the JSON in the only field ``json`` of a form, or its fields as an object.

    A field that is there several times is a list.
    """
    try:
        fields = QueryDict(body, encoding="utf-8")
    except SuspiciousOperation:
        raise RequestRefused(400, "the form has too many fields") from None
    if not fields:
        raise RequestRefused(400, "the form has no field: nothing was answered")
    if list(fields) == ["json"]:
        return parse(fields["json"].encode("utf-8", "surrogatepass"))
    return {
        name: values if len(values) > 1 else values[0] for name, values in fields.lists() if values
    }


def _state(request: HttpRequest, stored: StoredToken) -> HttpResponse:
    """Show the state of an existing token; an open one has a form."""
    if stored.is_open:
        return _message(request, HTTPStatus.OK, "", stored=stored, again=True)
    if stored.state is TokenState.COMPLETED:
        message = "This has been answered already."
        return _message(request, HTTPStatus.CONFLICT, message, stored=stored)
    over = "was canceled" if stored.state is TokenState.CANCELED else "is over"
    return _message(request, HTTPStatus.GONE, f"This request {over}.", stored=stored)


def _message(
    request: HttpRequest,
    status: int,
    message: str,
    *,
    stored: StoredToken | None = None,
    again: bool = False,
) -> HttpResponse:
    """Answer as JSON to a program and as a page to a browser; ``again`` shows the form."""
    if not _wants_json(request):
        context = {"message": message, "again": again, "token": stored}
        return render(request, PAGE, context, status=status)
    if stored is not None and stored.is_open:
        expires_at = stored.expires_at.isoformat() if stored.expires_at else None
        return JsonResponse({"state": "waiting", "expires_at": expires_at}, status=status)
    if status < HTTPStatus.BAD_REQUEST:
        return JsonResponse({"state": "completed"}, status=status)
    return JsonResponse({"error": message}, status=status)


def _wants_json(request: HttpRequest) -> bool:
    if request.content_type == JSON:
        return True
    accept = request.headers.get("Accept", "")
    return JSON in accept and "text/html" not in accept
