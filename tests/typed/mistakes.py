"""Mistakes that checkers find: each is an error, or its comment would be one."""

from __future__ import annotations

from trigger_celery import Event, durable_task, gather, sleep, step, trigger, wait_for_event
from typed.tasks import Shop, add, charge, fetch_all, reserve


@durable_task(retries=3)  # type: ignore[call-overload,untyped-decorator]
def unknown_option() -> None: ...


@durable_task(checkpoint="never")  # type: ignore[call-overload,untyped-decorator]
def wrong_option() -> None: ...


@step(atomc=True)  # type: ignore[call-overload,untyped-decorator]
def misspelt_option() -> None: ...


def starting() -> None:
    add.trigger("1")  # type: ignore[arg-type]
    add.trigger()  # type: ignore[call-arg]
    add.options(dely=5)  # type: ignore[call-arg]
    add.options(delay="5")  # type: ignore[arg-type]
    text: str = add.trigger(1).result()  # type: ignore[assignment]
    rows: list[int] = fetch_all.trigger([1]).result()  # type: ignore[assignment]
    trigger(add, 1)  # type: ignore[arg-type]
    print(text, rows)


@durable_task
def in_def() -> None:
    charge("1")  # type: ignore[arg-type]
    charge.plain("1")  # type: ignore[arg-type]
    Shop().close("1")  # type: ignore[arg-type]
    sleep("1")  # type: ignore[arg-type]
    print(wait_for_event("paid").paylod)  # type: ignore[attr-defined]
    number: int = wait_for_event("paid")  # type: ignore[assignment]
    gather(charge(1), charge(2))  # type: ignore[call-overload]
    print(number)


@durable_task
async def in_async_def() -> None:
    number: int = await wait_for_event("paid")  # type: ignore[assignment]
    text: str = await add.trigger_and_wait(1)  # type: ignore[assignment]
    count: int = await reserve(1)  # type: ignore[assignment]
    await add.trigger_and_wait("1")  # type: ignore[arg-type]
    await charge(1)  # type: ignore[misc]
    event: Event = await wait_for_event("paid", default=0)  # type: ignore[arg-type]
    print(number, text, count, event)
