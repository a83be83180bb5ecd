"""Tasks and steps of the kind that users declare, and the types that checkers give them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, assert_type

from trigger_celery import (
    DurableTask,
    Event,
    Queue,
    RateLimit,
    RetryPolicy,
    RunHandle,
    durable_task,
    every,
    step,
)


@step
def charge(order: int, *, fee: int = 0) -> int:
    return order + fee


@step(name="reserve", atomic=True)
def reserve(order: int) -> str:
    return str(order)


def key_of(order: int) -> str:
    return f"fetch/{order}"


@step(key=key_of, retry=RetryPolicy(max_attempts=3), timeout=10)
async def fetch(order: int) -> dict[str, int]:
    return {"order": order}


class Shop:
    @step
    def close(self, order: int) -> bool:
        return bool(order)


@durable_task
def add(x: int, y: int = 1) -> int:
    return x + y


@durable_task
async def fetch_all(orders: list[int]) -> list[str]:
    return [str(order) for order in orders]


@durable_task(
    name="shop.pay",
    retry=RetryPolicy(max_attempts=2),
    schedule=every(timedelta(hours=1)),
    queue=Queue("payments", concurrency_limit=2),
    rate_limit=RateLimit(10, per=60),
    ttl=60,
    tags=["shop"],
    on_failure=print,
    time_limit=30,
)
def pay(order: int) -> float:
    return float(order)


@durable_task(on_event="paid", filter={"amount": {"$gte": 10}})
async def ship(event: Event) -> None:
    assert_type(event.payload, Any)


@durable_task(bind=True, max_retries=3)
def again(self: DurableTask[[str], int], text: str) -> int:
    return len(text) + self.request.retries


@durable_task(bind=True)
async def again_async(self: Any, text: str) -> bytes:
    return text.encode()


def declared() -> None:
    """What decorated functions are."""
    assert_type(charge(1, fee=2), int)
    assert_type(charge.plain(1), int)
    assert_type(Shop().close(1), bool)
    a_dict: Coroutine[Any, Any, dict[str, int]] = fetch(1)
    assert_type(add(1), int)
    a_list: Coroutine[Any, Any, list[str]] = fetch_all([1])
    assert_type(again.trigger("text"), RunHandle[int])
    assert_type(again_async.trigger("text"), RunHandle[bytes])
    plain: Callable[[int], object] = add
    task: DurableTask[[int], float] = pay
    print(plain, task, a_dict, a_list)


@durable_task
def find(order: int) -> str | None:
    return str(order) if order else None


def started() -> None:
    """What starting a run outside of a task gives: an ``async def`` makes no difference."""
    assert_type(add.trigger(1, y=2), RunHandle[int])
    assert_type(add.trigger(1).result(timeout=5), int)
    assert_type(fetch_all.trigger([1]), RunHandle[list[str]])
    assert_type(fetch_all.trigger([1]).result(), list[str])
    assert_type(ship.trigger(Event.__new__(Event)).result(), None)
    assert_type(fetch_all.options(delay=60, tags=["a"]).trigger([1]).result(), list[str])
    assert_type(fetch_all.delay([1]).get(), list[str])
    assert_type(fetch_all.apply_async(([1],), countdown=5).get(), list[str])
    handles: list[RunHandle[int]] = add.batch_trigger([(1,), add.call(2, y=3)])
    assert_type(add.batch_trigger([(1,)])[0].result(), int)
    print(handles)
