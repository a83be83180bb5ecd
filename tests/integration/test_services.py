"""Every service that tests may use answers through the library that tests use it with."""

from __future__ import annotations

import pytest
from django.db import connections
from kombu import Connection

from support.databases import alias_of, every_database
from support.services import SERVICES


@pytest.mark.parametrize("name", every_database())
def test_a_database_keeps_what_was_written(name: str) -> None:
    with connections[alias_of(name)].cursor() as cursor:
        cursor.execute("INSERT INTO shop_effect (run, step, n) VALUES ('r', 's', 1)")
        cursor.execute("SELECT run, step, n FROM shop_effect")
        assert list(cursor.fetchall()) == [("r", "s", 1)]


@pytest.mark.parametrize(
    ("name", "url"),
    [
        pytest.param("redis", "redis://{host}:{port}/0", marks=pytest.mark.requires("redis")),
        pytest.param(
            "rabbitmq",
            "amqp://guest:guest@{host}:{port}//",
            marks=pytest.mark.requires("rabbitmq"),
        ),
    ],
)
def test_a_broker_lets_us_in(name: str, url: str) -> None:
    service = SERVICES[name]
    with Connection(url.format(host=service.host, port=service.port)) as connection:
        connection.ensure_connection(max_retries=1, timeout=5)
        assert connection.connected
