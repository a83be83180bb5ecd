"""What all our views do with a request: bound its body, and answer errors alike."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

from django.contrib.auth.decorators import login_not_required
from django.db import InterfaceError, OperationalError, connections, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.request import UnreadablePostError
from django.views.decorators.csrf import csrf_exempt

from trigger_celery.errors import DecodeError, RequestRefused, StoreUnavailable
from trigger_celery.values.strict import parse
from trigger_celery_django.conf import config

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


def outside_transactions(view: View) -> View:
    """Keep a view out of the transactions of ``ATOMIC_REQUESTS``, of whichever database.

    Its verbs commit by themselves, so that no answer is sent before what it says is stored.
    """
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


def answering(view: View) -> View:
    """Turn what a view refuses into an answer: ``{"error": ...}`` and the status."""

    @functools.wraps(view)
    def answer(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        try:
            response = view(request, *args, **kwargs)
        except RequestRefused as refused:
            logger.info("%s %s: %d, %s", request.method, view.__name__, refused.status, refused)
            response = JsonResponse({"error": str(refused)}, status=refused.status)
        except (StoreUnavailable, OperationalError, InterfaceError):
            logger.exception("%s %s: the database is away", request.method, view.__name__)
            response = JsonResponse({"error": "try again later"}, status=503)
            response["Retry-After"] = "5"
        response["Cache-Control"] = "no-store"
        return response

    return answer
