"""The keys of the HTTP API: made once, shown once, kept as a digest."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import router
from django.db.models import Q, QuerySet

from trigger_celery.client.access import Caller
from trigger_celery.config import suggest
from trigger_celery.errors import InvalidOption, RequestRefused
from trigger_celery_django.models import ApiKey
from trigger_celery_django.store.common.rows import DatabaseNow

PERMISSION_FOR = {
    "trigger": "trigger",
    "get_run": "read",
    "list_runs": "read",
    "cancel_run": "cancel",
    "send_event": "send_event",
    "complete_token": "complete_token",
}
"""By the verb that the API calls, what a key must be allowed to do."""
PERMISSIONS = tuple(dict.fromkeys(PERMISSION_FOR.values()))
"""What a key may be allowed to do."""

_PREFIX = "tc_"
_SHOWN = 9
"""How many characters of a key are kept, so that people can distinguish keys."""


def create_key(
    name: str, permissions: Sequence[str], *, expires_in: timedelta | None = None
) -> tuple[ApiKey, str]:
    """Make a key of 256 random bits; return its row and the key itself, which is not stored.

    Raises :exc:`InvalidOption` for a permission that does not exist, or none at all.
    """
    for permission in permissions:
        if permission not in PERMISSIONS:
            hint = suggest(permission, dict.fromkeys(PERMISSIONS))
            raise InvalidOption(f"an API key has no permission {permission!r}{hint}")
    if not permissions or not 0 < len(name) <= 255:
        raise InvalidOption("an API key needs a name of 1 to 255 characters and a permission")
    key = _PREFIX + secrets.token_urlsafe(32)
    row = _rows().create(
        name=name,
        prefix=key[:_SHOWN],
        digest=_digest(key),
        permissions=json.dumps(sorted(set(permissions))),
        created_at=DatabaseNow(),
        expires_at=None if expires_in is None else DatabaseNow() + expires_in,
    )
    row.refresh_from_db()
    return row, key


def caller_of(key: str) -> Caller | None:
    """Return the caller that a key stands for, or None if the key is not valid now.

    The digest is looked up, not the key: how long that takes says nothing of the key. What the
    key may not do is :exc:`RequestRefused` (403).
    """
    row = _valid().filter(digest=_digest(key)).first()
    if row is None:
        return None
    allowed = json.loads(row.permissions)

    def authorize(verb: str, subject: object, by: str) -> None:
        if PERMISSION_FOR.get(verb) not in allowed:
            permission = PERMISSION_FOR.get(verb, verb)
            raise RequestRefused(403, f"this API key has no permission to {permission}")

    return Caller(by=f"api:{row.prefix}", via="api", authorize=authorize)


def revoke_key(prefix: str) -> int:
    """Revoke the valid keys that begin so; return how many there were."""
    return _valid().filter(prefix=prefix).update(revoked_at=DatabaseNow())


def _rows() -> QuerySet[ApiKey]:
    return ApiKey.objects.using(router.db_for_write(ApiKey))


def _valid() -> QuerySet[ApiKey]:
    alive = Q(expires_at=None) | Q(expires_at__gt=DatabaseNow())
    return _rows().filter(alive, revoked_at=None)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def listed_keys() -> list[dict[str, Any]]:
    """Return all keys, oldest first, as JSON values and without what they are."""
    return [
        {
            "prefix": row.prefix,
            "name": row.name,
            "permissions": json.loads(row.permissions),
            "created_at": row.created_at.isoformat(),
            "expires_at": None if row.expires_at is None else row.expires_at.isoformat(),
            "revoked_at": None if row.revoked_at is None else row.revoked_at.isoformat(),
        }
        for row in _rows().order_by("pk")
    ]
