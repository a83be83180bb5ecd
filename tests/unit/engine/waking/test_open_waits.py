"""Open waits by hand: list, complete, skip, extend."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from trigger_celery import (
    RetryPolicy,
    complete_wait,
    create_token,
    extend_wait,
    open_waits,
    skip_wait,
    sleep,
    step,
    wait_for_event,
    wait_for_token,
)
from trigger_celery.errors import InvalidTime, TokenClosed, UsageError, WaitNotFound
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.states import RunState, WaitState

NOW = timedelta(0)
DAY = timedelta(days=1)


def start(harness: Harness, body: Any) -> tuple[UUID, int]:
    """Start a run that waits; return its id and that of its wait."""
    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle(max_virtual_time=NOW)
    (wait,) = open_waits(run_id=run_id)
    return run_id, wait.id


def approval() -> Any:
    event = wait_for_event("approved", timeout=DAY, default=None)
    return event and (event.name, event.payload)


def test_a_wait_for_an_event_that_a_person_completes_gets_an_event(harness: Harness) -> None:
    run_id, wait_id = start(harness, approval)
    assert complete_wait(wait_id, {"by": "hand"}, by="ann").name == "approved"
    harness.run_until_idle(max_virtual_time=NOW)
    assert harness.result(run_id) == ("approved", {"by": "hand"})
    assert harness.waits(run_id) == {"approved": WaitState.COMPLETED}
    assert harness.steps(run_id) == {}
    entries = harness.memory.runs.history(run_id)
    assert ['"by": "ann"' in entry.data for entry in entries if entry.verb == "complete wait"]


def test_a_wait_for_a_token_that_a_person_completes_closes_the_token(harness: Harness) -> None:
    token = create_token()
    run_id, wait_id = start(harness, lambda: wait_for_token(token))
    complete_wait(wait_id, 7, by="ann")
    harness.run_until_idle(max_virtual_time=NOW)
    assert harness.result(run_id) == 7
    with pytest.raises(WaitNotFound):
        complete_wait(wait_id, 8)
    stored = harness.memory.tokens.get(token.id)
    assert stored is not None
    assert stored.closed_by == "ann"


def test_a_skipped_sleep_is_over_and_a_skipped_wait_has_timed_out(harness: Harness) -> None:
    def nap() -> str:
        sleep(DAY)
        return "awake"

    for body, result in ((nap, "awake"), (approval, None)):
        run_id, wait_id = start(harness, body)
        skip_wait(wait_id, by="bob")
        harness.run_until_idle(max_virtual_time=NOW)
        assert harness.result(run_id) == result


def test_a_skipped_backoff_is_tried_at_once(harness: Harness) -> None:
    tries = []

    @step(retry=RetryPolicy(max_attempts=2, min_delay=3600, max_delay=3600, jitter=False))
    def flaky() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("away")
        return len(tries)

    def retrying() -> int:
        return flaky()

    run_id, wait_id = start(harness, retrying)
    skip_wait(wait_id)
    harness.run_until_idle(max_virtual_time=NOW)
    assert harness.result(run_id) == 2


def test_a_wait_is_extended(harness: Harness) -> None:
    began = harness.clock.now
    run_id, wait_id = start(harness, approval)
    extend_wait(wait_id, 2 * DAY, by="ann")
    harness.advance(2 * DAY)
    harness.run_until_idle(max_virtual_time=NOW)
    assert harness.run(run_id).state is RunState.SUSPENDED
    harness.run_until_idle()
    assert harness.result(run_id) is None
    assert 3 * DAY <= harness.clock.now - began < 3 * DAY + timedelta(minutes=1)


def test_a_verb_that_does_not_suit_a_wait_is_refused(harness: Harness) -> None:
    def nap() -> None:
        sleep(DAY)

    token = create_token()
    _, sleeping = start(harness, nap)
    with pytest.raises(UsageError, match="takes no value.*Skip it instead"):
        complete_wait(sleeping, 1)
    _, endless = start(harness, lambda: wait_for_token(token))
    with pytest.raises(InvalidTime, match="no end"):
        extend_wait(endless, DAY)
    with pytest.raises(InvalidTime, match="zero or more"):
        extend_wait(sleeping, -1)
    for verb in (complete_wait, skip_wait):
        with pytest.raises(WaitNotFound):
            verb(10**9)


def test_a_wait_whose_token_is_over_is_not_completed(harness: Harness) -> None:
    token = create_token(timeout=60)
    _, wait_id = start(harness, lambda: wait_for_token(token))
    harness.advance(timedelta(minutes=2))
    with pytest.raises(TokenClosed):
        complete_wait(wait_id, 1)
