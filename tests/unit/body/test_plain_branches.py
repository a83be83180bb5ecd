"""Plain coroutines as branches: in a rewritten body each is a step, as an ``await`` is one."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from support.charging import LOG
from trigger_celery.body.parallel import gather, wait_any
from trigger_celery.body.steps import step
from trigger_celery.body.waits import sleep, wait_for_event
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.states import RunState

NOW = timedelta(0)


async def pay(number: int) -> int:
    await asyncio.sleep(0)
    LOG.append(number)
    return number


async def pay_all(*numbers: int) -> list[int]:
    return [await pay(number) for number in numbers]


@step
async def charge(number: int) -> int:
    LOG.append(number)
    return number


async def charge_all(*numbers: int) -> list[int]:
    return [await charge(number) for number in numbers]


async def charge_through_another() -> Any:
    return await charge_all(1, 2)


async def charge_by(how: Any) -> Any:
    return await how(1)


class Gateway:
    """Its methods are a plain helper, and one that makes durable calls."""

    async def pay(self, number: int) -> int:
        return await pay(number)

    async def wait(self) -> None:
        await self._pause()

    async def _pause(self) -> None:
        await sleep(5)


def carried(harness: Harness, body: Any, **options: Any) -> Any:
    run_id = harness.trigger(harness.task(body, **options))
    harness.run_until_idle()
    run = harness.run(run_id)
    assert run.state is RunState.COMPLETED, run.error
    return run


def test_a_helper_with_a_loop_runs_once_however_often_the_body_is_replayed(
    harness: Harness,
) -> None:
    async def body() -> Any:
        paid = await gather(pay_all(1, 2), pay_all(3), lambda: pay(4), partial(pay, 5))
        await sleep(60)
        await sleep(60)
        return paid

    run = carried(harness, body)
    assert run.output == [[1, 2], [3], 4, 5]
    assert sorted(LOG) == [1, 2, 3, 4, 5]
    keys = ["branch-1/pay_all", "branch-2/pay_all", "branch-3/pay", "branch-4/pay"]
    assert sorted(harness.steps(run.id)) == keys


def test_a_helper_beside_a_wait_is_finished_before_the_run_is_suspended(harness: Harness) -> None:
    async def body() -> Any:
        return await gather(pay_all(1, 2), wait_for_event("go", timeout=60, default=None))

    run = carried(harness, body)
    assert (run.output, LOG) == ([[1, 2], None], [1, 2])


def test_a_helper_that_fails_and_is_caught_keeps_the_way_of_the_body(harness: Harness) -> None:
    async def declined() -> None:
        LOG.append("declined")
        if LOG.count("declined") == 1:
            raise ConnectionError("away")

    async def body() -> str:
        try:
            await gather(declined(), pay(1))
        except ConnectionError:
            await pay(2)
            way = "free"
        else:
            way = "paid"
        await sleep(60)
        return way

    assert carried(harness, body).output == "free"
    assert sorted(map(str, LOG)) == ["1", "2", "declined"]  # each once, also the other branch


def test_the_loser_of_a_race_and_the_winner_are_recorded(harness: Harness) -> None:
    async def body() -> Any:
        won = await wait_any(sleep(60), pay_all(1, 2))
        await sleep(60)
        return won

    assert carried(harness, body).output == (1, [1, 2])
    assert LOG == [1, 2]


@pytest.mark.parametrize(
    "branch",
    [
        lambda: charge_all(1, 2),
        charge_through_another,
        lambda: charge_by(charge),
        lambda: Gateway().wait(),
        lambda: named_in_a_closure(charge)(),
    ],
)
def test_a_helper_that_names_a_durable_call_has_steps_of_its_own(
    harness: Harness, branch: Any
) -> None:
    async def body() -> Any:
        return await gather(branch(), branch())

    run = carried(harness, body)
    names = {key.rpartition("/")[2].partition("#")[0] for key in harness.steps(run.id)}
    assert names <= {"charge"}


def named_in_a_closure(how: Any) -> Any:
    async def helper() -> Any:
        return await how(1)

    return helper


def test_a_method_that_names_none_is_a_step(harness: Harness) -> None:
    gateway = Gateway()

    async def body() -> Any:
        return await gather(gateway.pay(1), gateway.pay(2))

    run = carried(harness, body)
    assert harness.steps(run.id) == {"branch-1/pay": 1, "branch-2/pay": 2}


def test_a_durable_call_that_a_helper_reaches_unseen_is_refused_by_name(harness: Harness) -> None:
    table = {"how": [charge]}

    async def unseen(name: str) -> Any:
        return await table[name][0](1)

    async def body() -> Any:
        return await gather(unseen("how"))

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle()
    run = harness.run(run_id)
    assert (run.state, LOG) == (RunState.FAILED, [])
    assert run.error is not None
    assert "'charge' was called inside step 'branch-1/unseen'" in run.error.message


def test_what_a_helper_returns_is_what_replays_see(harness: Harness) -> None:
    async def body() -> Any:
        [first] = await gather(pay_all(1))
        return type(first).__name__

    assert carried(harness, body).output == "list"


def test_an_explicit_body_records_no_plain_branch(harness: Harness) -> None:
    async def body() -> Any:
        return await gather(pay(1))

    run = carried(harness, body, checkpoint="explicit")
    assert harness.steps(run.id) == {}


@pytest.mark.filterwarnings("error")
def test_branches_that_are_not_run_are_closed(harness: Harness) -> None:
    async def body() -> Any:
        won = await wait_any(pay(1), pay_all(2))
        await sleep(60)
        unused: Any = gather(pay(3), lambda: pay(4))
        unused.close()
        return won

    assert carried(harness, body).output == (0, 1)
