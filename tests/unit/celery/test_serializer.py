"""Celery's messages and results go through the codec."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import kombu.exceptions
import pytest
from celery import Celery, chain, chord, group
from celery.canvas import maybe_signature
from kombu.serialization import dumps, loads, unregister

from trigger_celery.celery.serializer import CONTENT_TYPE, NAME, register_serializer
from trigger_celery.values import Registry

CLASSES = Registry()


@CLASSES.register
@dataclasses.dataclass
class Order:
    id: str
    when: datetime


ORDER = Order("o-1", datetime(2024, 1, 1, tzinfo=UTC))


@pytest.fixture(autouse=True)
def _serializer() -> Iterator[None]:
    register_serializer(classes=CLASSES)
    yield
    unregister(NAME)


@pytest.fixture
def app() -> Iterator[Celery]:
    with Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=False) as app:
        app.conf.update(
            task_serializer=NAME,
            result_serializer=NAME,
            accept_content=[NAME],
            result_accept_content=[NAME],
        )
        yield app


def test_a_message_round_trips_with_its_types() -> None:
    body = ((ORDER, Decimal("1.50")), {"tags": {"a"}}, {"callbacks": None, "chain": None})
    content_type, encoding, text = dumps(body, serializer=NAME)
    assert (content_type, encoding) == (CONTENT_TYPE, "utf-8")
    wires: list[Any] = [text, text.encode(), memoryview(text.encode())]
    for wire in wires:
        assert loads(wire, content_type, encoding, accept={CONTENT_TYPE}) == body


def test_a_value_that_cannot_be_stored_is_refused_with_its_path() -> None:
    with pytest.raises(kombu.exceptions.EncodeError, match=r"\$\[0\]\.client: object cannot"):
        dumps([{"client": object()}], serializer=NAME)


def test_arguments_that_contain_themselves_are_refused() -> None:
    value: list[object] = []
    value.extend([value, value])
    with pytest.raises(kombu.exceptions.EncodeError, match="contains itself"):
        dumps(value, serializer=NAME)


@pytest.mark.parametrize("body", [b"\xff\xfe", b"{", b'{"$t":"object","n":"os","v":{}}', b"NaN"])
def test_garbage_is_refused(body: bytes) -> None:
    with pytest.raises(kombu.exceptions.DecodeError):
        loads(body, CONTENT_TYPE, "utf-8", accept={CONTENT_TYPE})


def test_a_worker_that_does_not_accept_it_refuses_it() -> None:
    with pytest.raises(kombu.exceptions.ContentDisallowed):
        loads(b"1", CONTENT_TYPE, "utf-8", accept={"application/json"})


def test_signatures_travel_as_plain_dicts_and_are_built_again(app: Celery) -> None:
    @app.task(name="shop.add")
    def add(one: object, other: object) -> None: ...

    lazy = chord((add.s(ORDER, n) for n in range(2)), add.s((1, 2)))
    canvases: list[Any] = [chain(add.s(1, 2), add.s(3)), group(add.s(ORDER, 2), add.s(3, 4)), lazy]
    for canvas in canvases:
        content_type, encoding, text = dumps([canvas], serializer=NAME)
        (plain,) = loads(text, content_type, encoding, accept={CONTENT_TYPE})
        assert type(plain) is dict
        again: Any = maybe_signature(plain, app=app)
        assert type(again) is type(canvas)
        assert len(again.tasks) == len(canvas.tasks)


def test_a_published_task_carries_its_arguments_exactly(app: Celery) -> None:
    @app.task(name="shop.work")
    def work(order: Order, *, price: Decimal) -> None: ...

    work.apply_async((ORDER,), {"price": Decimal("1.50")}, link=work.s(price=Decimal(2)))
    with app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        message = channel.basic_get("celery", no_ack=True)
        message.accept = {CONTENT_TYPE}
        args, kwargs, embed = message.decode()
        channel.queue_purge("celery")
    assert list(args) == [ORDER]
    assert kwargs == {"price": Decimal("1.50")}
    assert embed["callbacks"][0]["kwargs"] == {"price": Decimal(2)}


def test_results_and_failures_come_back_through_the_backend(app: Celery) -> None:
    app.backend.store_result("t-1", {"order": ORDER, "pair": (1, 2)}, "SUCCESS")
    assert app.AsyncResult("t-1").result == {"order": ORDER, "pair": (1, 2)}
    app.backend.store_result("t-2", ValueError("no", 5), "FAILURE")
    error = app.AsyncResult("t-2").result
    assert type(error) is ValueError
    assert error.args == ("no", 5)
