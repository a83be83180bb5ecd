"""Stops preparing statements where a pooler changes servers meanwhile."""

from __future__ import annotations

import logging

from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger("trigger_celery.store")

CURE = (
    "A pooler changes servers between transactions, as PgBouncer with pool_mode = transaction: "
    'what is prepared on one is not on the next. Set "DISABLE_SERVER_SIDE_CURSORS": True in '
    "DATABASES[{alias!r}]"
)

refused: set[str] = set()
"""Aliases of databases that were met without what this process had prepared."""


def stop_preparing(connection: BaseDatabaseWrapper, error: Exception) -> None:
    """Prepare nothing any more on this database; say why, in the error and once in the log."""
    cure = CURE.format(alias=connection.alias)
    error.add_note(cure)
    if connection.alias not in refused:
        refused.add(connection.alias)
        logger.warning("statements are no longer prepared: %s. %s", error, cure)
