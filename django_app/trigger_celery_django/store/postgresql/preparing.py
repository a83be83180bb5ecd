"""Whether statements may be prepared on the server: not where a pooler changes it meanwhile."""

from __future__ import annotations

import logging

from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger("trigger_celery.store")

THRESHOLD = "prepare_threshold"
CURE = (
    "A pooler changes servers between transactions, as PgBouncer with pool_mode = transaction: "
    'what is prepared on one is not on the next. Set "DISABLE_SERVER_SIDE_CURSORS": True in '
    "DATABASES[{alias!r}]"
)

_refused: set[str] = set()
"""Aliases of databases that were met without what this process had prepared."""


def may_prepare(connection: BaseDatabaseWrapper) -> bool:
    """Whether the settings let us prepare, and the server has not refused it to this process.

    ``DISABLE_SERVER_SIDE_CURSORS`` is Django's word for such a pooler, ``prepare_threshold: None``
    among the options psycopg's.
    """
    settings = connection.settings_dict
    if settings.get("DISABLE_SERVER_SIDE_CURSORS") or connection.alias in _refused:
        return False
    options = settings["OPTIONS"]
    return THRESHOLD not in options or options[THRESHOLD] is not None


def stop_preparing(connection: BaseDatabaseWrapper, error: Exception) -> None:
    """Prepare nothing any more on this database; say why, in the error and once in the log."""
    cure = CURE.format(alias=connection.alias)
    error.add_note(cure)
    if connection.alias not in _refused:
        _refused.add(connection.alias)
        logger.warning("statements are no longer prepared: %s. %s", error, cure)
