"""Which databases and brokers can be used here, and where they are.

Each has two environment variables, ``TC_POSTGRES_HOST`` and ``TC_POSTGRES_PORT`` for
example; the defaults are this machine and the usual ports. ``REQUIRE_SERVICES=1`` says
that every one has to be there: what is left out at home is then a failure.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import cache

import psycopg
import pymysql

TIMEOUT = 0.3


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """A server that tests may use; ``login`` raises while it refuses connections."""

    host: str
    port: int
    login: Callable[[str, int], None]


def _log_in_to_postgres(host: str, port: int) -> None:
    with closing(
        psycopg.connect(host=host, port=port, user="root", dbname="postgres", connect_timeout=2)
    ):
        pass


def _log_in_to_mariadb(host: str, port: int) -> None:
    with closing(pymysql.connect(host=host, port=port, user="root", connect_timeout=2)):
        pass


def _no_login(host: str, port: int) -> None:
    """A broker that listens is good enough."""


def _service(name: str, port: int, login: Callable[[str, int], None]) -> Service:
    return Service(
        host=os.environ.get(f"TC_{name.upper()}_HOST", "127.0.0.1"),
        port=int(os.environ.get(f"TC_{name.upper()}_PORT", port)),
        login=login,
    )


SERVICES = {
    "postgres": _service("postgres", 5432, _log_in_to_postgres),
    "mariadb": _service("mariadb", 3306, _log_in_to_mariadb),
    "redis": _service("redis", 6379, _no_login),
    "rabbitmq": _service("rabbitmq", 5672, _no_login),
}


@cache
def reachable(name: str) -> bool:
    """Tell whether the service of this name listens and lets us in; asked once a process."""
    service = SERVICES[name]
    try:
        socket.create_connection((service.host, service.port), timeout=TIMEOUT).close()
        service.login(service.host, service.port)
    except (OSError, psycopg.Error, pymysql.Error):
        return False
    return True


def unreachable() -> list[str]:
    """Return the names of the services that tests have to do without."""
    return [name for name in SERVICES if not reachable(name)]


def required() -> bool:
    """Tell whether a service that is not reachable is a failure."""
    return os.environ.get("REQUIRE_SERVICES") == "1"
