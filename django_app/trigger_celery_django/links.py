"""The signed URLs of tokens: each completes its token, once.

The secret in the URL is an HMAC of the token's id under the project's ``SECRET_KEY``: it is
stored nowhere, a copy of the database completes nothing, and each replay of a body computes
the same URL.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from uuid import UUID

from django.conf import settings
from django.urls import NoReverseMatch, reverse
from django.utils.crypto import constant_time_compare, salted_hmac

from trigger_celery.errors import UsageError
from trigger_celery_django.conf import config

_PURPOSE = "trigger_celery.token"


def token_url(token_id: UUID) -> str:
    """Return the URL that completes the token, under ``PUBLIC_URL`` if that is set.

    Raises ``UsageError`` if the project does not serve it.
    """
    try:
        path = reverse("trigger_celery:token", args=[token_id, _secret(token_id)])
    except NoReverseMatch:
        raise UsageError(
            "nothing serves the URLs of tokens: add "
            "path('durable/', include('trigger_celery_django.urls')) to your URLconf"
        ) from None
    return config().public_url.rstrip("/") + path


def is_secret(token_id: UUID, secret: str) -> bool:
    """Whether this is the token's secret, under the current key or one of the fallbacks.

    It takes as long for a wrong one as for the right one.
    """
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    found = [constant_time_compare(_secret(token_id, key), secret) for key in keys]
    return any(found)


def _secret(token_id: UUID, key: str | bytes | None = None) -> str:
    digest = salted_hmac(_PURPOSE, token_id.bytes, secret=key, algorithm="sha256").digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")
