"""Calls in ``def`` bodies: their values, without ``await``."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any, assert_type, cast
from uuid import UUID

from trigger_celery import (
    ChildRunFailed,
    Event,
    RunHandle,
    Token,
    backfill,
    cancel_token,
    complete_token,
    create_schedule,
    create_token,
    durable_task,
    gather,
    now,
    pause_schedule,
    random,
    run_schedule,
    send_event,
    sleep,
    sleep_until,
    step,
    uuid4,
    wait_any,
    wait_for_event,
    wait_for_token,
)
from typed.tasks import add, charge, fetch_all, find, reserve


@durable_task
def waits(order: int) -> str:
    sleep(timedelta(days=1))
    sleep_until(now() + timedelta(hours=1))
    event = wait_for_event("paid", {"order": order}, timeout=60)
    assert_type(event, Event)
    assert_type(event.received_at, datetime)
    event = wait_for_event("shipped")
    token = create_token(timeout=3600)
    assert_type(token, Token)
    assert_type(token.url, str)
    assert_type(wait_for_token(token, default=None), Any)
    late: Event | None = wait_for_event("late", timeout=1, default=None)
    return event.name if late is None else late.source


@durable_task
def values() -> tuple[datetime, UUID, float, str]:
    at: datetime = now()
    later = now() + timedelta(seconds=1)
    return max(at, later), uuid4(), random() * 2, send_event("done", {"at": at})


@durable_task
def children(numbers: list[int]) -> int:
    one: int = add.trigger_and_wait(1, y=2)
    text: list[str] = fetch_all.trigger_and_wait(numbers)
    many: list[int] = add.batch_trigger_and_wait([(n,) for n in numbers])
    total = sum(add.batch_trigger_and_wait([(n,) for n in numbers]))
    mixed = add.options(priority=1).batch_trigger_and_wait([(1,)], return_exceptions=True)
    assert_type(mixed[0], int | ChildRunFailed)
    some: list[int] | None = add.batch_trigger_and_wait([(1,)], timeout=1, default=None)
    handle = add.trigger(1)
    assert_type(handle, RunHandle[int])
    found = cast("str | None", find.trigger_and_wait(1))
    if found is None:
        print("checkers know that this line can be reached")
    print(text, many, some)
    return one if total else total


@durable_task
def branches(numbers: list[int]) -> int:
    paid, name = gather(lambda: charge(1), lambda: wait_for_event("name"))
    assert_type(paid, int)
    assert_type(name, Event)
    first, slept, third = gather(partial(charge, 1), lambda: sleep(1), partial(str, 3))
    assert_type(first, int)
    assert_type(third, str)
    print(slept)
    same = gather(*(partial(charge, number) for number in numbers))
    assert_type(same[0], int)
    settled = gather(*(partial(charge, number) for number in numbers), return_exceptions=True)
    assert_type(settled[0], int | Exception)
    index, winner = wait_any(lambda: wait_for_event("paid"), lambda: charge(2))
    assert_type(index, int)
    assert_type(winner, Event | int)
    return sum(same)


@durable_task
def steps(order: int) -> str:
    reserved: str = reserve(order)
    doubled: int = step.run("double", charge.plain, order, fee=order)
    print(doubled)
    return reserved


def outside() -> None:
    """The same calls in plain code, for instance in a view."""
    sent: str = send_event("paid")
    was_open: bool = cancel_token(create_token())
    complete_token(create_token(), {"ok": True}, by="ann")
    is_new: bool = create_schedule(add, key="hourly", every=timedelta(hours=1), args=[1])
    if pause_schedule("hourly"):
        print(sent, was_open, is_new)
    run_id: UUID = run_schedule("hourly")
    times: list[datetime] = backfill("hourly", now(), now())
    print(run_id, times)
