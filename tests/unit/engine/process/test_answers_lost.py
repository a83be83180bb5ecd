"""What a call answers when its first attempt met no database: whether it was this call that did it.

An attempt may have been done though its answer was lost, and another caller may have been there
before the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from trigger_celery import (
    complete_wait,
    create_schedule,
    delete_schedule,
    extend_wait,
    limit_queue,
    open_waits,
    pause_queue,
    pause_schedule,
    release_slot,
    reset_idempotency_key,
    resume_schedule,
    skip_wait,
    wait_for_event,
)
from trigger_celery.declare.limits import checked
from trigger_celery.declare.options import TriggerOptions
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.errors import IllegalTransition, StoreUnavailable, WaitNotFound
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.identity import new_token
from trigger_celery.vocabulary.records import Claim, KeyPurpose, Limits, Nudge
from trigger_celery.vocabulary.states import WaitState

DAY = timedelta(days=1)
Cut = Callable[..., None]


@pytest.fixture
def cut(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> Cut:
    """Return a function that cuts off the first attempt of a verb of the store.

    ``done`` says that it was done and its answer lost; ``meanwhile`` happens before the next.
    """

    def cut(
        noun: str, verb: str, *, done: bool = False, meanwhile: Callable[[], object] = list
    ) -> None:
        owner = getattr(harness.memory, noun)
        call, attempts = getattr(owner, verb), []

        def attempt(*args: Any, **named: Any) -> Any:
            attempts.append(args)
            if len(attempts) > 1:
                return call(*args, **named)
            if done:
                call(*args, **named)
            meanwhile()
            raise StoreUnavailable("the connection broke")

        monkeypatch.setattr(owner, verb, attempt)

    return cut


@pytest.fixture
def queue(harness: Harness) -> str:
    """Return a queue that the store knows."""
    harness.memory.queues.declare({"emails": Limits(concurrency=2)})
    return "emails"


@pytest.mark.parametrize("done", [True, False])
def test_a_pause_that_was_cut_off_is_this_calls(
    harness: Harness, queue: str, cut: Cut, done: bool
) -> None:
    cut("queues", "pause", done=done)
    assert pause_queue(queue, by="ann", reason="gateway away")


def test_a_pause_of_a_paused_queue_changes_nothing_though_it_was_cut_off(
    harness: Harness, queue: str, cut: Cut
) -> None:
    pause_queue(queue, by="bob")
    cut("queues", "pause")
    assert not pause_queue(queue, by="ann")


def test_a_pause_that_another_was_faster_with_is_the_others(
    harness: Harness, queue: str, cut: Cut
) -> None:
    pause = harness.memory.queues.pause
    cut("queues", "pause", meanwhile=lambda: pause(queue, by="bob", reason=""))
    assert not pause_queue(queue, by="ann")


@pytest.mark.parametrize(("limit", "changes"), [(1, True), (2, False)])
def test_limits_that_were_cut_off_changed_if_they_were_others(
    harness: Harness, queue: str, cut: Cut, limit: int, changes: bool
) -> None:
    harness.memory.queues.override(queue, checked({"concurrency_limit": 2}, queue))
    cut("queues", "override", done=True)
    assert limit_queue(queue, concurrency_limit=limit) is changes


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("call", [pause_schedule, delete_schedule])
def test_a_change_of_a_schedule_that_was_cut_off_is_this_calls(
    harness: Harness, cut: Cut, call: Callable[[str], bool], done: bool
) -> None:
    harness.task(double)
    create_schedule("double", key="nightly", every=DAY)
    cut("schedules", "remove" if call is delete_schedule else "change", done=done)
    assert call("nightly")


def test_a_change_of_a_schedule_that_was_so_already_is_none_though_it_was_cut_off(
    harness: Harness, cut: Cut
) -> None:
    harness.task(double)
    create_schedule("double", key="nightly", every=DAY)
    cut("schedules", "change")
    assert not resume_schedule("nightly")
    cut("schedules", "remove")
    assert not delete_schedule("weekly")


@pytest.mark.parametrize("was_held", [True, False])
def test_a_key_that_was_cut_off_was_freed_if_a_run_held_it(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, was_held: bool
) -> None:
    task = harness.task(double)
    if was_held:
        trigger(harness.engine, task, options=TriggerOptions(idempotency_key="k"))
    freed: list[bool] = []
    reset = harness.memory.keys.reset

    def lose_the_commit(purpose: KeyPurpose, name: str, digest: str) -> bool:
        freed.append(reset(purpose, name, digest))
        return freed[-1]

    joined = harness.memory.joined

    class Losing:
        """A transaction whose first commit is done and not answered."""

        def __enter__(self) -> None:
            self.block = joined()
            self.block.__enter__()

        def __exit__(self, *error: Any) -> None:
            self.block.__exit__(*error)
            if len(freed) == 1:
                raise StoreUnavailable("the connection broke")

    monkeypatch.setattr(harness.memory.keys, "reset", lose_the_commit)
    monkeypatch.setattr(harness.memory, "joined", Losing)
    assert reset_idempotency_key("double", "k") is was_held
    assert freed == [was_held, False]


def waiting(harness: Harness) -> tuple[UUID, int]:
    """Start a run that waits for a day; return its id and that of its wait."""

    def waits() -> object:
        return wait_for_event("go", timeout=DAY, default=None)

    run_id = harness.trigger(harness.task(waits))
    harness.run_until_idle(max_virtual_time=timedelta(0))
    (wait,) = open_waits(run_id=run_id)
    return run_id, wait.id


@pytest.mark.parametrize("done", [True, False])
def test_an_extension_that_was_cut_off_is_made_once_beside_that_of_another(
    harness: Harness, cut: Cut, done: bool
) -> None:
    _, wait_id = waiting(harness)
    before = harness.memory.open_waits.get(wait_id)
    extend = harness.memory.open_waits.extend
    cut("open_waits", "extend", done=done, meanwhile=lambda: extend(wait_id, DAY, {"by": "bob"}))
    later = extend_wait(wait_id, 2 * DAY, by="ann")
    assert before is not None
    assert before.due_at is not None
    assert later.due_at == before.due_at + 3 * DAY


@pytest.mark.parametrize("call", [complete_wait, skip_wait])
def test_a_wait_that_was_cut_off_is_ended_by_the_call_that_did_it(
    harness: Harness, cut: Cut, call: Callable[[int], object]
) -> None:
    end = harness.memory.open_waits.end
    _, wait_id = waiting(harness)
    cut("open_waits", "end", done=True)
    call(wait_id)

    _, wait_id = waiting(harness)
    cut("open_waits", "end", meanwhile=lambda: end(wait_id, WaitState.TIMEOUT, {"by": "bob"}))
    with pytest.raises(WaitNotFound):
        call(wait_id)


def test_a_slot_that_was_cut_off_is_released_unless_the_run_left_it_by_itself(
    harness: Harness, queue: str, cut: Cut
) -> None:
    task = harness.task(double)

    def held() -> UUID:
        run_id = trigger(harness.engine, task, options=TriggerOptions(queue=queue))
        claim = Claim(
            run_id=run_id, task="double", worker="w", version="", length=DAY, token=new_token()
        )
        assert harness.memory.runs.claim(claim)
        return run_id

    cut("runs", "recover", done=True)
    release_slot(held())

    run_id = held()
    run = harness.run(run_id)

    def leave() -> Nudge | None:
        return harness.memory.runs.cancel(run_id, "{}")

    cut("runs", "recover", meanwhile=leave)
    assert run.crashes == 0
    with pytest.raises(IllegalTransition, match="by itself"):
        release_slot(run_id)


def double(number: int = 1) -> int:
    return 2 * number
