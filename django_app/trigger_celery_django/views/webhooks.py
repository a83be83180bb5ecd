"""The view that takes webhooks: a proved delivery becomes one stored event."""

from __future__ import annotations

import logging

from django.http import HttpRequest, HttpResponse, JsonResponse

from trigger_celery import send_event
from trigger_celery.client.access import count_request
from trigger_celery.errors import CodecError, EventConflict, InvalidName, RequestRefused
from trigger_celery_django.conf import config
from trigger_celery_django.views.reading import (
    answering,
    body_of,
    for_outsiders,
    outside_transactions,
)
from trigger_celery_django.webhooks import Delivery, Source, source_named

logger = logging.getLogger("trigger_celery.http")


@for_outsiders
@outside_transactions
@answering("POST", proof="Signature")
def webhook(request: HttpRequest, source: str) -> HttpResponse:
    """Store the event that a delivery of this source becomes; a repeated one is answered alike.

    202 with ``{"event": id}``, or with ``{"event": null}`` if the source wants none of it; 401
    unless it is signed, 404 for a source that is not declared, 400 or 413 for its body, 429 for
    more than the source may send.
    """
    found = source_named(source)
    if found is None:
        raise RequestRefused(404, "no webhook source has this name")
    headers = {name.lower(): value for name, value in request.headers.items()}
    delivery = found.receive(headers, body_of(request))
    # Proved by now: a forger uses up nothing of what the source may send.
    count_request("webhook", found.name, config().webhook_rate)
    return JsonResponse({"event": _store(found, delivery)}, status=202)


def _store(source: Source, delivery: Delivery) -> str | None:
    incoming = source.incoming(delivery)
    if incoming is None:
        return None
    try:
        stored: str = send_event(
            incoming.name, incoming.payload, id=delivery.id, source=source.name
        )
    except EventConflict as error:  # signed, so it is the sender's: its first delivery stands
        logger.warning("webhook source %s: %s", source.name, error)
        return delivery.id
    except (CodecError, InvalidName) as error:
        raise RequestRefused(400, f"the event cannot be stored: {error}") from error
    return stored
