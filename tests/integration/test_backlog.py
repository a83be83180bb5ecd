"""How many messages wait in a queue, says the broker: if none, those of queued runs are lost."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kombu.utils.json import dumps

from support import brokers
from support.waiting import eventually
from testproject.celery import app
from testproject.shop.tasks import linear
from trigger_celery.celery.dispatcher import CeleryDispatcher
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import Nudge

EVERY_BROKER = [
    pytest.param("filesystem"),
    pytest.param("redis", marks=pytest.mark.requires("redis")),
    pytest.param("rabbitmq", marks=pytest.mark.requires("rabbitmq")),
]
SETTINGS = ("broker_url", "broker_transport", "broker_transport_options")


@pytest.fixture
def dispatcher() -> Iterator[CeleryDispatcher]:
    """Return a dispatcher of short patience; Celery's settings are as before afterwards."""
    before = {name: app.conf[name] for name in SETTINGS}
    dispatcher = CeleryDispatcher(lambda: timedelta(seconds=1))
    yield dispatcher
    dispatcher.close()
    app.conf.update(before)


@pytest.fixture
def broker(dispatcher: CeleryDispatcher, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Point Celery at a broker; return the name of a queue that no other test has."""
    options: dict[str, object] = dict(brokers.transport_options(tmp_path, request.param))
    transport = None
    if request.param == "filesystem":
        transport = "trigger_celery.celery.file_transport:Transport"
    app.conf.update(
        broker_url=brokers.url(request.param),
        broker_transport=transport,
        broker_transport_options=options,
    )
    return f"backlog-{uuid4().hex}"


def nudge(queue: str) -> Nudge:
    """Return the nudge of a run whose messages go to this queue of the broker."""
    return Nudge(run_id=new_id(), task=linear.name, canvas=dumps({"queue": queue}))


@pytest.mark.parametrize("broker", EVERY_BROKER, indirect=True)
def test_messages_that_wait_are_counted_in_their_own_queue(
    broker: str, dispatcher: CeleryDispatcher
) -> None:
    asked = nudge(broker)
    assert dispatcher.backlog(asked) == 0
    try:
        dispatcher.nudge([nudge(broker) for _ in range(3)])
        # RabbitMQ is not waited for when a message is sent.
        eventually(lambda: dispatcher.backlog(asked) == 3, what="three messages wait")
        assert dispatcher.backlog(nudge(f"{broker}-other")) == 0
    finally:
        with app.connection_for_write() as connection:
            channel: Any = connection.channel()
            channel.queue_purge(broker)
            channel.queue_delete(broker)
    assert dispatcher.backlog(asked) == 0


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_is_not_there_says_nothing(
    dispatcher: CeleryDispatcher, scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    app.conf.update(
        broker_url=f"{scheme}://127.0.0.1:{port}/",
        broker_transport=None,
        broker_transport_options={},
    )
    with caplog.at_level(logging.INFO, "trigger_celery.dispatcher"):
        assert dispatcher.backlog(nudge("any")) is None
    assert "the broker does not say how many messages wait" in caplog.text


@pytest.mark.requires("rabbitmq")
@pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)
def test_a_way_that_is_no_queue_has_no_number(broker: str, dispatcher: CeleryDispatcher) -> None:
    to_exchange = dumps({"exchange": "news", "routing_key": broker})
    asked = Nudge(run_id=new_id(), task=linear.name, canvas=to_exchange)
    assert dispatcher.backlog(asked) is None
