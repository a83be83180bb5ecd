"""The keys of the HTTP API: made once, shown once, kept as a digest."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Collection, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from django.db import router
from django.db.models import BooleanField, ExpressionWrapper, Q, QuerySet
from django.views.decorators.debug import sensitive_variables

from trigger_celery.client.access import API_SOURCE, Caller
from trigger_celery.config import suggest
from trigger_celery.errors import InvalidOption, RequestRefused
from trigger_celery.vocabulary.checks import valid_name
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
_NOTED_EVERY = timedelta(minutes=1)
"""``last_used_at`` is this much behind at most: a busy key costs no statement for each request."""


@sensitive_variables()
def create_key(
    name: str,
    permissions: Sequence[str],
    *,
    tasks: Sequence[str] = (),
    events: Sequence[str] = (),
    expires_in: timedelta | None = None,
) -> tuple[ApiKey, str]:
    """Make a key of 256 random bits; return its row and the key itself, which is not stored.

    ``tasks`` are the only ones that it may start and see runs of, ``events`` the only ones it may
    send (``"order.*"`` is all that begin so); none given is all. Raises :exc:`InvalidOption` for a
    permission that does not exist, or none at all, :exc:`InvalidName` for a name.
    """
    for permission in permissions:
        if permission not in PERMISSIONS:
            hint = suggest(permission, dict.fromkeys(PERMISSIONS))
            raise InvalidOption(f"an API key has no permission {permission!r}{hint}")
    if not permissions:
        raise InvalidOption("an API key needs a permission")
    valid_name(name, "the name of an API key")
    valid_name(API_SOURCE + name, "the source of an API key, with its name,")
    for each in (*tasks, *events):
        valid_name(each, "a name that an API key may use")
    key = _PREFIX + secrets.token_urlsafe(32)
    row = _rows().create(
        name=name,
        prefix=key[:_SHOWN],
        digest=_digest(key),
        permissions=json.dumps(sorted(set(permissions))),
        tasks=_names_text(tasks),
        events=_names_text(events),
        created_at=DatabaseNow(),
        expires_at=None if expires_in is None else DatabaseNow() + expires_in,
    )
    row.refresh_from_db()
    return row, key


@sensitive_variables()
def caller_of(key: str) -> Caller | None:
    """Return the caller that a key stands for, or None if the key is not valid now.

    The digest is looked up, not the key: how long that takes says nothing of the key. What the
    key may not do is :exc:`RequestRefused` (403).
    """
    unnoted = Q(last_used_at=None) | Q(last_used_at__lt=DatabaseNow() - _NOTED_EVERY)
    is_due = ExpressionWrapper(unnoted, output_field=BooleanField())
    row = _valid().filter(digest=_digest(key)).annotate(is_due=is_due).first()
    if row is None:
        return None
    if row.is_due:
        _rows().filter(unnoted, pk=row.pk).update(last_used_at=DatabaseNow())
    tasks = _names_of(row.tasks)
    return Caller(
        by=f"api:{row.prefix}",
        via="api",
        source=f"{API_SOURCE}{row.name}",
        tasks=None if tasks is None else frozenset(tasks),
        authorize=partial(
            _authorize, json.loads(row.permissions), tasks=tasks, events=_names_of(row.events)
        ),
    )


def _authorize(
    permissions: Collection[str],
    verb: str,
    subject: object,
    by: str,
    *,
    tasks: Collection[str] | None,
    events: Collection[str] | None,
) -> None:
    if PERMISSION_FOR.get(verb) not in permissions:
        permission = PERMISSION_FOR.get(verb, verb)
        raise RequestRefused(403, f"this API key has no permission to {permission}")
    if verb == "trigger" and tasks is not None and subject not in (None, *tasks):
        raise RequestRefused(403, "this API key may start no task of this name")
    asked = verb == "send_event" and events is not None and subject is not None
    if asked and not any(_names(each, str(subject)) for each in events or ()):
        raise RequestRefused(403, "this API key may send no event of this name")


def _names(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def _names_text(names: Sequence[str]) -> str:
    return json.dumps(sorted(set(names))) if names else ""


def _names_of(text: str) -> list[str] | None:
    """Return the names that a key may use, None for all."""
    names: list[str] | None = json.loads(text) if text else None
    return names


def revoke_key(prefix: str) -> int:
    """Revoke the valid keys that begin so; return how many there were."""
    return _valid().filter(prefix=prefix).update(revoked_at=DatabaseNow())


def _rows() -> QuerySet[ApiKey]:
    return ApiKey.objects.using(router.db_for_write(ApiKey))


def _valid() -> QuerySet[ApiKey]:
    alive = Q(expires_at=None) | Q(expires_at__gt=DatabaseNow())
    return _rows().filter(alive, revoked_at=None)


@sensitive_variables()
def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def listed_keys() -> list[dict[str, Any]]:
    """Return all keys, oldest first, as JSON values and without what they are."""
    return [
        {
            "prefix": row.prefix,
            "name": row.name,
            "permissions": json.loads(row.permissions),
            "tasks": _names_of(row.tasks),
            "events": _names_of(row.events),
            "created_at": row.created_at.isoformat(),
            "expires_at": None if row.expires_at is None else row.expires_at.isoformat(),
            "revoked_at": None if row.revoked_at is None else row.revoked_at.isoformat(),
            "last_used_at": None if row.last_used_at is None else row.last_used_at.isoformat(),
        }
        for row in _rows().order_by("pk")
    ]
