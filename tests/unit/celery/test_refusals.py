"""What a Celery task can do and a run cannot is refused by name, before any effect."""

from __future__ import annotations

from typing import Any

import pytest
from celery import chunks, current_app, xmap, xstarmap

from trigger_celery import durable_task, sleep
from trigger_celery.errors import UnknownOption, UsageError
from trigger_celery.testing import Harness

CALLED: list[int] = []


@pytest.fixture(params=["def", "async def"])
def task(request: pytest.FixtureRequest) -> Any:
    """Return a task that notes its calls and then waits."""
    CALLED.clear()

    @durable_task(name="several")
    def several(number: int) -> None:
        CALLED.append(number)
        sleep(60)

    @durable_task(name="several-async")
    async def several_async(number: int) -> None:
        CALLED.append(number)
        await sleep(60)

    return several if request.param == "def" else several_async


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda task: task.map([1, 2]), "map()"),
        (lambda task: task.starmap([(1,), (2,)]), "starmap()"),
        (lambda task: task.chunks([(1,), (2,)], 1), "chunks()"),
    ],
)
def test_several_calls_in_one_message_are_refused(
    harness: Harness, task: Any, call: Any, named: str
) -> None:
    with pytest.raises(UsageError, match=r"takes no .*group\(") as refused:
        call(task)
    assert named in str(refused.value)
    assert (CALLED, harness.memory.open_runs()) == ([], [])


@pytest.mark.parametrize(
    "signature",
    [
        lambda task: xmap(task.s(), [1, 2], app=current_app),
        lambda task: xstarmap(task.s(), [(1,), (2,)], app=current_app),
        lambda task: chunks(task.s(), [(1,), (2,)], 1, app=current_app).group().tasks[0],
    ],
)
def test_a_worker_refuses_signatures_that_were_made_without_the_task(
    harness: Harness, task: Any, signature: Any
) -> None:
    with pytest.raises(UsageError, match=r"takes no (map|starmap)\(\)"):
        signature(task).apply(throw=True)
    assert CALLED == []


def test_a_durable_task_called_by_a_plain_one_is_a_function(harness: Harness) -> None:
    @durable_task(name="as-function")
    def as_function(number: int) -> int:
        return number + 1

    @current_app.task(name="plain-caller", ignore_result=True)
    def plain_caller(number: int) -> int:
        return as_function(number)

    called: Any = plain_caller.s()
    mapped = xmap(called, [1, 2], app=current_app)
    assert mapped.apply(throw=True).get() == [2, 3]
    current_app.tasks.pop("plain-caller")


@pytest.mark.parametrize("option", ["pydantic", "pydantic_strict"])
def test_pydantic_is_refused_with_what_to_use(option: str) -> None:
    options: dict[str, Any] = {"name": "modelled", option: True}
    declare: Any = durable_task
    with pytest.raises(UnknownOption, match=f"takes no {option}=.*trigger_celery.register"):
        declare(lambda number: number, **options)
