"""The databases of one test process: their aliases, and a test on each of them.

``TC_DB`` chooses which one is ``default``; the others that are reachable stand beside it
under their own names, so that one process tests all of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import connections

from support.services import SERVICES, reachable

TESTS = Path(__file__).resolve().parent.parent
NAMES = ("sqlite", "postgres", "mariadb")
CHOSEN = os.environ.get("TC_DB", "sqlite")


def alias_of(name: str) -> str:
    """Return the Django alias of the database called ``sqlite``, ``postgres`` or ``mariadb``."""
    return "default" if name == CHOSEN else name


def every_database(*, transaction: bool = False) -> list[object]:
    """Return parameters for ``pytest.mark.parametrize``: the name of each database.

    Each carries the marks that open its alias (``alias_of(name)``) and that leave the
    test out where the database is not reachable. ``transaction=True`` commits for real.
    """
    return [
        pytest.param(
            name,
            marks=[
                pytest.mark.django_db(databases=[alias_of(name)], transaction=transaction),
                *([pytest.mark.requires(name)] if name in SERVICES else []),
            ],
        )
        for name in NAMES
    ]


def child_environment() -> dict[str, str]:
    """Return the environment for a child process on the ``default`` database of this test run.

    Use it in tests that commit (``transaction=True``): other connections see no open transaction.
    """
    path = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "testproject.settings",
        "PYTHONPATH": os.pathsep.join(path),
        "TC_DB": CHOSEN,
        "TC_DB_NAME": str(connections["default"].settings_dict["NAME"]),
    }


def settings_for_django(folder: Path) -> dict[str, dict[str, object]]:
    """Return ``DATABASES``; files go to ``folder``.

    With ``TC_DB_NAME`` (a child process) there is one database, and that is its name.
    """
    if CHOSEN not in NAMES:
        raise ValueError(f"expected TC_DB to be one of {', '.join(NAMES)}, got: {CHOSEN!r}")
    name = os.environ.get("TC_DB_NAME")
    if name:
        return {"default": _BUILDERS[CHOSEN](folder) | {"NAME": name}}
    others = [n for n in NAMES if n != CHOSEN and (n not in SERVICES or reachable(n))]
    return {alias_of(n): _BUILDERS[n](folder) for n in (CHOSEN, *others)}


def _sqlite(folder: Path) -> dict[str, object]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(folder / "db.sqlite3"),
        "OPTIONS": {
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
        },
        # A file, because other threads and processes have to open it too.
        "TEST": {"NAME": str(folder / "test.sqlite3"), "DEPENDENCIES": []},
    }


def _postgres(folder: Path) -> dict[str, object]:
    return _server("postgres", "django.db.backends.postgresql") | {"OPTIONS": {}}


def _mariadb(folder: Path) -> dict[str, object]:
    return _server("mariadb", "django.db.backends.mysql") | {"OPTIONS": {"charset": "utf8mb4"}}


def _server(name: str, engine: str) -> dict[str, object]:
    service = SERVICES[name]
    return {
        "ENGINE": engine,
        "HOST": service.host,
        "PORT": service.port,
        "USER": "root",
        "NAME": "trigger_celery",
        # Of its own for every process: two test runs on one server do not meet.
        "TEST": {"NAME": f"test_trigger_celery_{os.getpid()}", "DEPENDENCIES": []},
    }


_BUILDERS: dict[str, Callable[[Path], dict[str, object]]] = {
    "sqlite": _sqlite,
    "postgres": _postgres,
    "mariadb": _mariadb,
}
