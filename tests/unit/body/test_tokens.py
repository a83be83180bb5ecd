"""Tokens: created, waited for, completed once, from bodies and from outside (point 4)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel

from trigger_celery import (
    Token,
    cancel_token,
    complete_token,
    create_token,
    step,
    wait_for_token,
)
from trigger_celery.client.tokens import get_token
from trigger_celery.engine.waking import tokens
from trigger_celery.errors import (
    EncodeError,
    InvalidName,
    InvalidOption,
    InvalidPayload,
    InvalidTime,
    NestedStep,
    NotInRun,
    RunFailed,
    TokenClosed,
    TokenNotFound,
    UsageError,
)
from trigger_celery.testing import Fault, FaultStore, Harness, SimulatedCrash
from trigger_celery.values import schemas
from trigger_celery.vocabulary.states import RunState, TokenState, WaitState

HOUR = timedelta(hours=1)
NOW = timedelta(0)


def approval() -> Any:
    token = create_token(timeout=HOUR)
    return wait_for_token(token)


def given(token_id: str, default: str | None = None) -> Any:
    return wait_for_token(token_id, timeout=60, default=default)


def ask(harness: Harness) -> tuple[UUID, UUID]:
    """Start a run that waits for a token of its own; return both ids."""
    run_id = harness.trigger(harness.task(approval))
    harness.run_until_idle(max_virtual_time=NOW)
    return run_id, harness.steps(run_id)["create_token"].id


def test_a_run_waits_for_its_token_and_resumes_with_the_value(harness: Harness) -> None:
    run_id, token_id = ask(harness)
    assert harness.run(run_id).state is RunState.SUSPENDED
    complete_token(token_id, {"approved": True}, by="ann")
    harness.run_until_idle(max_virtual_time=NOW)
    assert harness.result(run_id) == {"approved": True}
    assert harness.waits(run_id) == {"wait_for_token": WaitState.COMPLETED}
    stored = get_token(token_id)
    assert (stored.state, stored.closed_by, stored.run_id) == ("completed", "ann", run_id)


def test_a_token_that_is_completed_before_anyone_waits_works(harness: Harness) -> None:
    token = create_token()
    complete_token(token, 7)
    run_id = harness.trigger(harness.task(given), str(token.id))
    harness.run_until_idle(max_virtual_time=NOW)
    assert harness.result(run_id) == 7


def test_several_waits_and_runs_on_one_token_all_complete(harness: Harness) -> None:
    async def twice(token_id: str) -> Any:
        first = await wait_for_token(token_id)
        return [first, await wait_for_token(token_id)]

    token = create_token()
    pair, single = harness.task(twice), harness.task(given)
    runs = [harness.trigger(pair, str(token.id)), harness.trigger(single, str(token.id))]
    harness.run_until_idle(max_virtual_time=NOW)
    complete_token(str(token.id), "yes")
    harness.run_until_idle(max_virtual_time=NOW)
    assert [harness.result(run_id) for run_id in runs] == [["yes", "yes"], "yes"]


def test_an_async_body_awaits_its_token_and_gets_the_same_on_replay(harness: Harness) -> None:
    seen = []

    async def flow() -> Any:
        token = await create_token(tags=["a"], key="ask")
        seen.append(token)
        return await wait_for_token(token, timeout=HOUR)

    run_id = harness.trigger(harness.task(flow))
    harness.run_until_idle(max_virtual_time=NOW)
    complete_token(seen[0], None)
    harness.run_until_idle(max_virtual_time=NOW)
    assert harness.result(run_id) is None
    assert len(seen) == 2
    assert seen[0] == seen[1] == harness.steps(run_id)["ask"]


def test_the_url_is_recorded_nowhere(harness: Harness) -> None:
    secret = f"secret-{uuid4()}"
    harness.engine.token_url = lambda token_id: f"/tokens/{token_id}/{secret}/"
    urls = []

    def flow() -> Any:
        token = create_token()
        urls.append(token.url)
        return wait_for_token(token, timeout=1, default=token)

    run_id = harness.trigger(harness.task(flow))
    harness.run_until_idle()
    assert urls[0] == urls[1] == harness.result(run_id).url
    assert secret in urls[0]
    assert secret not in str(harness.memory.dump())
    assert secret not in str(harness.run(run_id))


def test_the_first_completion_wins_and_the_second_raises(harness: Harness) -> None:
    run_id, token_id = ask(harness)
    complete_token(token_id, "first", by="ann")
    with pytest.raises(TokenClosed, match="completed before by ann"):
        complete_token(token_id, "second", by="bob")
    assert cancel_token(token_id) is False
    harness.run_until_idle(max_virtual_time=NOW)
    assert harness.result(run_id) == "first"


def test_a_token_is_not_completed_after_its_timeout(harness: Harness) -> None:
    run_id, token_id = ask(harness)
    harness.advance(HOUR)
    with pytest.raises(TokenClosed, match="is over since"):
        complete_token(token_id, "late")
    harness.run_until_idle()
    with pytest.raises(RunFailed, match="WaitTimeout"):
        harness.result(run_id)


def test_the_wait_ends_with_the_earlier_of_both_timeouts(harness: Harness) -> None:
    def flow(expires: float, own: float) -> Any:
        token = create_token(timeout=expires)
        return wait_for_token(token, timeout=own, default="none")

    task = harness.task(flow)
    for expires, own in ((60, 600), (600, 60)):
        began = harness.clock.now
        run_id = harness.trigger(task, expires, own)
        harness.run_until_idle()
        assert harness.result(run_id) == "none"
        assert timedelta(seconds=60) <= harness.clock.now - began < timedelta(seconds=120)


def test_a_canceled_token_gives_the_default_at_once(harness: Harness) -> None:
    token = create_token()
    task = harness.task(given)
    before = harness.trigger(task, str(token.id), "canceled")
    harness.run_until_idle(max_virtual_time=NOW)
    assert cancel_token(token) is True
    after = harness.trigger(task, str(token.id), "canceled")
    harness.run_until_idle(max_virtual_time=NOW)
    assert [harness.result(run_id) for run_id in (before, after)] == ["canceled"] * 2
    with pytest.raises(TokenClosed, match="canceled before"):
        complete_token(token, 1)


def test_a_wait_for_a_token_that_is_over_already_ends_at_once(harness: Harness) -> None:
    token = create_token(timeout=1)
    harness.advance(HOUR)
    run_id = harness.trigger(harness.task(given), str(token.id), "late")
    harness.run_until_idle(max_virtual_time=NOW)
    assert harness.result(run_id) == "late"


def test_an_unknown_token_raises(harness: Harness) -> None:
    unknown = uuid4()
    with pytest.raises(TokenNotFound):
        complete_token(unknown)
    with pytest.raises(TokenNotFound):
        cancel_token(unknown)
    run_id = harness.trigger(harness.task(given), str(unknown))
    harness.run_until_idle()
    with pytest.raises(RunFailed, match="TokenNotFound"):
        harness.result(run_id)


def test_a_token_is_created_inside_a_step_too_but_not_waited_for(harness: Harness) -> None:
    @step
    def invite() -> Token:
        token: Token = create_token()
        return token

    @step
    def wrong() -> None:
        wait_for_token(uuid4())

    def flow() -> Any:
        token = invite()
        complete_token(token, "soon")
        return wait_for_token(token)

    run_id = harness.trigger(harness.task(flow))
    bad = harness.trigger(harness.task(lambda: wrong(), name="bad"))
    harness.run_until_idle(max_virtual_time=NOW)
    assert harness.result(run_id) == "soon"
    with pytest.raises(RunFailed, match=NestedStep.__name__):
        harness.result(bad)
    with pytest.raises(NotInRun):
        wait_for_token(uuid4())


def test_a_body_completes_and_cancels_the_tokens_of_others_once(harness: Harness) -> None:
    first, second = create_token(), create_token()

    async def flow() -> Any:
        await complete_token(first, 1, by="bot")
        canceled = await cancel_token(second)
        await wait_for_token(first)
        return canceled

    run_id = harness.trigger(harness.task(flow))
    harness.run_until_idle(max_virtual_time=NOW)
    assert harness.result(run_id) is True
    assert get_token(first.id).closed_by == f"bot in run {run_id}, step complete_token"


def test_a_second_completion_by_the_same_body_is_one_too_many(harness: Harness) -> None:
    token = create_token()

    def flow() -> Any:
        complete_token(token, 1)
        with pytest.raises(TokenClosed, match="was completed before by run"):
            complete_token(token, 1)
        return [cancel_token(token), wait_for_token(token)]

    run_id = harness.trigger(harness.task(flow))
    harness.run_until_idle(max_virtual_time=NOW)
    assert harness.result(run_id) == [False, 1]


@pytest.mark.parametrize("fault", Fault)
def test_wherever_the_completing_process_dies_every_wait_ends(fault: Fault) -> None:
    for number in range(3):
        with Harness() as harness:
            token = create_token()
            task = harness.task(given)
            runs = [harness.trigger(task, str(token.id)) for _ in range(2)]
            harness.run_until_idle(max_virtual_time=NOW)
            # get, close, get, waits, conclude, settled: the faults come after the commit.
            store = FaultStore(harness.memory, {3 + number: fault})
            harness.engine.store = store
            with suppress(SimulatedCrash):
                complete_token(token, "kept")
            assert len(store.calls) > 3 + number
            store.restart()
            harness.engine.store = harness.memory
            harness.run_until_idle(max_virtual_time=NOW)
            assert [harness.result(run_id) for run_id in runs] == ["kept", "kept"]
            assert harness.memory.tokens.unsettled(limit=9) == []


def closed_by_a_process_that_died(harness: Harness, token: Token, at: int) -> None:
    """Complete the token, and die at this call: get, close, get, then waits and conclude."""
    store = FaultStore(harness.memory, {at: Fault.BEFORE})
    harness.engine.store = store
    with suppress(SimulatedCrash):
        complete_token(token, "kept")
    assert len(store.calls) == at + 1
    harness.engine.store = harness.memory


def test_a_sweep_hands_a_completed_token_over_before_its_waits_time_out() -> None:
    with Harness() as harness:
        token = create_token()
        run_id = harness.trigger(harness.task(given), str(token.id))
        harness.run_until_idle(max_virtual_time=NOW)
        closed_by_a_process_that_died(harness, token, at=3)
        harness.advance(HOUR)
        harness.sweep()
        harness.run_until_idle(max_virtual_time=NOW)
        assert harness.result(run_id) == "kept"


def test_a_token_is_settled_when_all_batches_of_its_waits_have_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tokens, "BATCH", 2)
    with Harness() as harness:
        task = harness.task(given)
        whole, cut_off = create_token(), create_token()
        for token in (whole, cut_off):
            for _ in range(5):
                harness.trigger(task, str(token.id))
        harness.run_until_idle(max_virtual_time=NOW)
        complete_token(whole, "kept")
        assert len(harness.memory.tokens.waits(whole.id, after=0, limit=9)) == 0
        closed_by_a_process_that_died(harness, cut_off, at=5)
        assert len(harness.memory.tokens.waits(cut_off.id, after=0, limit=9)) == 3
        assert harness.memory.tokens.unsettled(limit=9) == [cut_off.id]
        harness.sweep()
        assert len(harness.memory.tokens.waits(cut_off.id, after=0, limit=9)) == 0
        assert harness.memory.tokens.unsettled(limit=9) == []


@pytest.mark.parametrize(
    ("close", "result"),
    [(lambda token: complete_token(token, "mine"), [None, "mine"]), (cancel_token, [True, None])],
    ids=["complete", "cancel"],
)
def test_a_crash_between_closing_a_token_and_its_checkpoint_repeats_the_step(
    close: Callable[[Token], Any], result: list[Any]
) -> None:
    with Harness() as harness:
        token = create_token()

        def flow() -> Any:
            return [close(token), wait_for_token(token, default=None)]

        run_id = harness.trigger(harness.task(flow))
        store = FaultStore(harness.memory)
        harness.engine.store = store
        harness.run_until_idle(max_virtual_time=NOW)
        closing = next(number for number, verb in store.calls if verb == "tokens.close")

    with Harness(wrap=lambda memory: FaultStore(memory, {closing + 1: Fault.AFTER})) as harness:
        token = create_token()
        run_id = harness.trigger(harness.task(flow))
        with pytest.raises(SimulatedCrash):
            harness.run_until_idle()
        assert isinstance(harness.engine.store, FaultStore)
        harness.engine.store.restart()
        harness.advance(timedelta(minutes=5))
        harness.run_until_idle()
        assert harness.result(run_id) == result


class Decision(BaseModel):
    """What an approver answers."""

    approved: bool
    amount: int = 0


OBJECT = {"type": "object", "required": ["approved"], "properties": {"amount": {"minimum": 1}}}


@pytest.mark.parametrize(
    ("schema", "value", "path"),
    [
        (OBJECT, {}, "$"),
        (OBJECT, {"approved": True, "amount": 0}, "$.amount"),
        (Decision, {"approved": "perhaps"}, "$.approved"),
        ({"$ref": "http://127.0.0.1:9/schema"}, {}, "$"),
    ],
)
def test_a_payload_that_its_schema_does_not_allow_is_refused_and_the_token_stays_open(
    harness: Harness, schema: Any, value: object, path: str
) -> None:
    token = create_token(schema=schema)
    with pytest.raises(InvalidPayload) as refused:
        complete_token(token, value)
    assert refused.value.path == path
    assert get_token(token.id).state is TokenState.WAITING
    if schema in (OBJECT, Decision):
        complete_token(token, {"approved": True, "amount": 3})


def test_a_value_that_cannot_be_stored_leaves_the_token_open(harness: Harness) -> None:
    token = create_token()
    with pytest.raises(EncodeError):
        complete_token(token, object())
    assert get_token(token.id).is_open


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"timeout": -1}, InvalidTime, "zero or more"),
        ({"timeout": "1h"}, InvalidTime, "timedelta or seconds"),
        ({"tags": "urgent"}, InvalidOption, "list of names"),
        ({"tags": 5}, InvalidOption, "list of names"),
        ({"tags": [""]}, InvalidName, "a token's tag"),
        ({"tags": [str(n) for n in range(11)]}, InvalidOption, "at most 10 tags, got: 11"),
        ({"schema": "object"}, InvalidOption, "JSON Schema as a dict"),
        ({"schema": {"type": "nothing"}}, InvalidOption, "'nothing' is not valid"),
        ({"schema": {"const": object()}}, InvalidOption, "JSON Schema, got"),
    ],
)
def test_bad_options_of_a_token_are_refused(
    harness: Harness, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        create_token(**options)


def test_what_is_no_token_is_refused(harness: Harness) -> None:
    for wrong in ("not-an-id", None, 7):
        with pytest.raises(InvalidOption, match="expected a token, or its id"):
            complete_token(wrong)  # type: ignore[arg-type]


def test_a_schema_without_its_library_names_the_extra(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schemas, "jsonschema", None)
    with pytest.raises(UsageError, match=r"trigger-celery\[schema\]"):
        create_token(schema={})
    assert isinstance(create_token(), Token)


def test_a_token_appears_and_is_completed_with_the_callers_transaction(harness: Harness) -> None:
    def failing() -> None:
        with harness.memory.transaction():
            tokens.append(create_token())
            complete_token(kept, "lost")
            raise ZeroDivisionError

    tokens: list[Token] = []
    kept = create_token()
    run_id = harness.trigger(harness.task(given), str(kept.id))
    harness.run_until_idle(max_virtual_time=NOW)
    with pytest.raises(ZeroDivisionError):
        failing()
    with pytest.raises(TokenNotFound):
        complete_token(tokens[0])
    assert harness.run(run_id).state is RunState.SUSPENDED
    with harness.memory.transaction():
        complete_token(kept, "committed")
        assert harness.run(run_id).state is RunState.SUSPENDED
    harness.run_until_idle(max_virtual_time=NOW)
    assert harness.result(run_id) == "committed"
