"""Calls in ``async def`` bodies: what ``await`` makes of them."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any, assert_type
from uuid import UUID

from trigger_celery import (
    ChildRunFailed,
    Event,
    RunHandle,
    Token,
    backfill,
    cancel_token,
    complete_token,
    create_token,
    durable_task,
    gather,
    now,
    pause_schedule,
    random,
    run_schedule,
    send_event,
    sleep,
    step,
    uuid4,
    wait_any,
    wait_for_event,
    wait_for_token,
)
from typed.tasks import add, charge, fetch, fetch_all, find, reserve


@durable_task
async def waits(order: int) -> str:
    await sleep(timedelta(days=1))
    event = await wait_for_event("paid", {"order": order}, timeout=60)
    assert_type(event, Event)
    late: Event | None = await wait_for_event("late", timeout=1, default=None)
    assert_type(await wait_for_event("late", timeout=1, default=""), Event | str)
    token = await create_token(timeout=3600)
    assert_type(token, Token)
    assert_type(await wait_for_token(token), Any)
    assert_type(await cancel_token(token), bool)
    await complete_token(token)
    return event.name if late is None else late.name


@durable_task
async def values() -> None:
    assert_type(await now(), datetime)
    assert_type(await uuid4(), UUID)
    assert_type(await random(), float)
    assert_type(await send_event("done"), str)
    assert_type(await pause_schedule("hourly"), bool)
    assert_type(await run_schedule("hourly"), UUID)
    assert_type(await backfill("hourly", await now(), await now()), list[datetime])


@durable_task
async def children(numbers: list[int]) -> int:
    assert_type(await add.trigger_and_wait(1, y=2), int)
    assert_type(await fetch_all.trigger_and_wait(numbers), list[str])
    assert_type(await add.batch_trigger_and_wait([(1,)]), list[int])
    assert_type(
        await add.options(priority=1).batch_trigger_and_wait([(1,)], return_exceptions=True),
        list[int | ChildRunFailed],
    )
    assert_type(await add.batch_trigger_and_wait([(1,)], timeout=1, default=0), list[int] | int)
    found: str | None = await find.trigger_and_wait(1)
    print(found)
    assert_type(await add.trigger(1), RunHandle[int])
    assert_type(await add.batch_trigger([(1,)]), list[RunHandle[int]])
    return await add.trigger_and_wait(1)


@durable_task
async def branches(numbers: list[int]) -> int:
    order, event, total = await gather(fetch(1), wait_for_event("paid"), add.trigger_and_wait(1))
    assert_type(order, dict[str, int])
    assert_type(event, Event)
    assert_type(total, int)
    same = await gather(*(fetch(number) for number in numbers))
    assert_type(same, list[dict[str, int]])
    later = await gather(lambda: fetch(1), lambda: fetch(2))
    assert_type(later, tuple[dict[str, int], dict[str, int]])
    settled = await gather(fetch(1), fetch(2), return_exceptions=True)
    assert_type(settled, list[dict[str, int] | Exception])
    index, winner = await wait_any(wait_for_event("paid"), sleep(5))
    assert_type(index, int)
    assert_type(winner, Event | None)
    async with asyncio.TaskGroup() as group:
        group.create_task(fetch(1))
        group.create_task(sleep(1))
    both = await asyncio.gather(fetch(1), wait_for_event("paid"))
    assert_type(both, tuple[dict[str, int], Event])
    return total


@durable_task
async def steps(order: int) -> str:
    assert_type(await fetch(order), dict[str, int])
    assert_type(await reserve(order), str)
    assert_type(await step.run("charge", charge.plain, order), int)
    assert_type(await step.run("fetch", fetch.plain, order), dict[str, int])
    return await reserve(order)
