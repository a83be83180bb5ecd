"""Which database errors mean "try again" and which "the database is away".

Known by codes of the driver and never by messages: a message may quote a payload.
"""

from __future__ import annotations

from contextlib import suppress
from enum import Enum, auto

from django.db import Error, InterfaceError, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper


class DriverFault(Enum):
    """What an error says about the next try."""

    CLASH = auto()
    """Another transaction was in the way; nothing was written, repeat the whole verb."""
    UNPREPARED = auto()
    """What was prepared is not on this server, or was so before; nothing was written, repeat it."""
    NO_TABLES = auto()
    """Our tables are not there: no migration of ours was applied."""
    AWAY = auto()
    """The database cannot be reached or cannot write; whether it did is unknown."""


# Serialization failure, deadlock.
_PG_CLASH = {"40001", "40P01"}
# Prepared statement unknown, or known already.
_PG_UNPREPARED = {"26000", "42P05"}
_PG_NO_TABLE, _MYSQL_NO_TABLE, _SQLITE_NO_TABLE = "42P01", 1146, "no such table: trigger_celery_"
# Lock timeout, statement timeout, a standby that only reads; and whole classes: connection
# lost, out of connections or disk, shut down by an operator, broken storage.
_PG_AWAY = {"55P03", "57014", "25006"}
_PG_AWAY_CLASSES = {"08", "53", "57", "58"}
# Row changed since it was read, lock timeout (rolls back the statement only), deadlock.
_MYSQL_CLASH = {1020, 1205, 1213}
# Out of connections, shutting down, read-only, disk full, killed, and the client's own
# codes for a connection that is not or no longer there.
_MYSQL_AWAY = {1021, 1040, 1053, 1290, 1317, 1792, 1836, 1927, 2002, 2003, 2006, 2013, 2055}
# Busy, locked, I/O error, full, cannot open: the primary codes.
_SQLITE_AWAY = {5, 6, 10, 13, 14}


def fault_of(error: Error, connection: BaseDatabaseWrapper) -> DriverFault | None:
    """Return what the error says about the next try, or None for an error of its own kind."""
    known = _BY_VENDOR[connection.vendor](error) if connection.vendor in _BY_VENDOR else None
    if known is not None:
        return known
    if isinstance(error, (OperationalError, InterfaceError)) and _is_lost(connection):
        return DriverFault.AWAY
    return None


def _postgresql(error: Error) -> DriverFault | None:
    state = getattr(error.__cause__, "sqlstate", None) or getattr(error.__cause__, "pgcode", None)
    if state is None:
        # The server said nothing: there was none to say it.
        return DriverFault.AWAY if isinstance(error, OperationalError) else None
    if state in _PG_CLASH:
        return DriverFault.CLASH
    if state == _PG_NO_TABLE:
        return DriverFault.NO_TABLES
    if state in _PG_UNPREPARED:
        return DriverFault.UNPREPARED
    return DriverFault.AWAY if state in _PG_AWAY or state[:2] in _PG_AWAY_CLASSES else None


def _mysql(error: Error) -> DriverFault | None:
    code = error.args[0] if error.args else None
    if code in _MYSQL_CLASH:
        return DriverFault.CLASH
    if code == _MYSQL_NO_TABLE:
        return DriverFault.NO_TABLES
    return DriverFault.AWAY if code in _MYSQL_AWAY else None


def _sqlite(error: Error) -> DriverFault | None:
    code = getattr(error.__cause__, "sqlite_errorcode", None)
    if code is not None and code & 0xFF in _SQLITE_AWAY:
        return DriverFault.AWAY
    # Of this mistake SQLite has no code; its message quotes the name of the table alone.
    return DriverFault.NO_TABLES if str(error).startswith(_SQLITE_NO_TABLE) else None


_BY_VENDOR = {"postgresql": _postgresql, "mysql": _mysql, "sqlite": _sqlite}


def _is_lost(connection: BaseDatabaseWrapper) -> bool:
    if connection.connection is None:
        return True
    try:
        return not connection.is_usable()
    except Exception:
        return True


def drop_if_lost(connection: BaseDatabaseWrapper) -> None:
    """Close a connection that is of no use, so that the next verb opens another."""
    if connection.in_atomic_block or connection.connection is None:
        return
    if _is_lost(connection):
        with suppress(Exception):
            connection.close()
