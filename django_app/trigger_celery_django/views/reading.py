"""What all our views do with a request: bound its body, and answer errors alike."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from http import HTTPStatus
from math import ceil

from django.contrib.auth.decorators import login_not_required
from django.core.signals import got_request_exception
from django.db import InterfaceError, OperationalError, connections, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.request import UnreadablePostError
from django.views.decorators.csrf import csrf_exempt

from trigger_celery.errors import DecodeError, RequestRefused, StoreUnavailable
from trigger_celery.values.strict import parse
from trigger_celery_django.conf import config
from trigger_celery_django.printable import visible

logger = logging.getLogger("trigger_celery.http")

View = Callable[..., HttpResponse]


def body_of(request: HttpRequest) -> bytes:
    """Return the raw body, of which no more than ``REQUEST_LIMIT`` bytes are ever read.

    Raises :exc:`RequestRefused` (413, 400 if the sender went away, or 411 for a body in chunks:
    under WSGI Django reads nothing of it, which must not pass for an empty one).
    """
    limit = config().request_limit
    if "HTTP_TRANSFER_ENCODING" in request.META:
        raise RequestRefused(411, "expected a Content-Length: a body in chunks is not read")
    try:
        size = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        raise RequestRefused(400, "the Content-Length is not a number") from None
    if size > limit:
        raise RequestRefused(413, f"the body is over {limit:,} bytes")
    try:
        body = request.read(limit + 1)
    except UnreadablePostError as error:
        raise RequestRefused(400, "the body could not be read to its end") from error
    if len(body) > limit:
        raise RequestRefused(413, f"the body is over {limit:,} bytes")
    return body


def json_of(request: HttpRequest) -> dict[str, object]:
    """Return the JSON object of the body.

    Raises :exc:`RequestRefused` (400, 411, 413, or 415 for another content type).
    """
    body = body_of(request)
    if not body:
        raise RequestRefused(400, "expected the body to be a JSON object, got: nothing; send {}")
    if request.content_type != "application/json":
        raise RequestRefused(415, "expected the Content-Type application/json")
    try:
        value = parse(body)
    except DecodeError as error:
        raise RequestRefused(400, f"the body cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise RequestRefused(400, "expected the body to be a JSON object")
    return value


def for_outsiders(view: View) -> View:
    """Let requests in without a login and without a CSRF token.

    A key, a signature or a secret URL gives the right, and no cookie does: there is nothing to
    forge. ``LoginRequiredMiddleware`` would send a delivery, or the secret, to the login page.
    """
    open_view: View = csrf_exempt(login_not_required(view))
    return open_view


def hide_in_path(request: HttpRequest, secret: str) -> None:
    """Take a secret out of what a request says of its path, once the view has read it.

    Django logs the path of each answer of 400 and more, and so do error pages and mails.
    """
    hidden = "********"
    request.path = request.path.replace(secret, hidden)
    request.path_info = request.path_info.replace(secret, hidden)
    for name, value in request.META.items():
        if isinstance(value, str) and secret in value:
            request.META[name] = value.replace(secret, hidden)
    if request.resolver_match is not None:
        kwargs = request.resolver_match.kwargs
        kwargs |= {name: hidden for name, value in kwargs.items() if value == secret}
    scope = getattr(request, "scope", None)
    if scope is not None:
        path = scope["path"].replace(secret, hidden)
        request.scope = {**scope, "path": path, "raw_path": path.encode()}  # type: ignore[attr-defined]


def outside_transactions(view: View) -> View:
    """Keep a view out of the transactions of ``ATOMIC_REQUESTS``, of whichever database.

    Its verbs commit by themselves, so that no answer is sent before what it says is stored.
    """
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


def answering(*methods: str, proof: str) -> Callable[[View], View]:
    """Let a view answer these methods, and turn whatever goes wrong into ``{"error": ...}``.

    ``proof`` is the challenge of a 401: how a request has to prove its sender.
    """

    def declare(view: View) -> View:
        @functools.wraps(view)
        def answer(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
            try:
                if request.method not in methods:
                    raise RequestRefused(405, f"expected the method {' or '.join(methods)}")
                response = view(request, *args, **kwargs)
            except Exception as error:
                response = _refusal(request, view.__name__, error)
            if response.status_code == HTTPStatus.UNAUTHORIZED:
                response["WWW-Authenticate"] = proof
            if response.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
                response["Allow"] = ", ".join(methods)
            response["Cache-Control"] = "no-store"
            return response

        return answer

    return declare


def _refusal(request: HttpRequest, view: str, error: Exception) -> HttpResponse:
    if isinstance(error, RequestRefused):
        said = shortened(str(error))
        logger.info("%s %s: %d, %s", request.method, view, error.status, said)
        response = JsonResponse({"error": said}, status=error.status)
        say_when(response, error)
        return response
    if isinstance(error, (StoreUnavailable, OperationalError, InterfaceError)):
        logger.exception("%s %s: the database is away", request.method, view)
        response = JsonResponse({"error": "try again later"}, status=503)
        response["Retry-After"] = "5"
        return response
    # As Django does it: tools that collect errors listen to the signal.
    got_request_exception.send(sender=None, request=request)
    logger.exception("%s %s failed", request.method, view)
    return JsonResponse({"error": "the server failed; its log says why"}, status=500)


def say_when(response: HttpResponse, refused: RequestRefused) -> None:
    """Say in the answer when the sender may ask again, in whole seconds, if that helps."""
    if refused.retry_after is not None:
        response.headers["Retry-After"] = str(ceil(refused.retry_after.total_seconds()))


_SHOWN = 1_000


def shortened(text: str) -> str:
    """Return what is said of a request, printable and without the middle of what is long.

    It quotes what strangers sent; what to do about it stands at the end.
    """
    if len(text) > _SHOWN:
        half = _SHOWN // 2
        text = f"{text[:half]} ... ({len(text):,} characters) ... {text[-half:]}"
    return visible(text)
