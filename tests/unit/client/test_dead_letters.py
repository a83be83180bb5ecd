"""What a person asks of dead letters and their groups, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from trigger_celery import (
    RunState,
    discard_dead_letter,
    get_dead_letter,
    get_dead_letter_group,
    get_run,
    ignore_dead_letter_group,
    list_dead_letter_groups,
    list_dead_letters,
    plan_retry,
    retry_dead_letter,
    retry_run,
    show_dead_letter_group,
    step,
)
from trigger_celery.client.access import Caller, acting
from trigger_celery.errors import (
    CodecError,
    DeadLetterNotFound,
    GroupNotFound,
    IllegalTransition,
    InvalidOption,
    InvalidTime,
    RunNotFound,
    StepNotFound,
    UnknownOption,
)
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.identity import new_id

GATEWAY = {"up": False}
CALLS: list[str] = []
MISTYPED: dict[str, Any] = {"sate": "open"}


@step
def reserve(order: int) -> str:
    CALLS.append(f"reserve {order}")
    return "reserved"


@step
def charge(order: int) -> str:
    CALLS.append(f"charge {order}")
    if not GATEWAY["up"]:
        raise ConnectionError(f"gateway refused order {order}")
    return "charged"


def buy(order: int) -> str:
    reserve(order)
    return charge(order)


@pytest.fixture(autouse=True)
def gateway() -> None:
    GATEWAY["up"] = False
    CALLS.clear()


@pytest.fixture
def failed(harness: Harness) -> Callable[[int], UUID]:
    task = harness.task(buy, name="buy-for-dead-letters")

    def make(order: int) -> UUID:
        run_id = harness.trigger(task, order)
        harness.run_until_idle()
        return run_id

    return make


def test_a_dead_letter_says_which_step_failed_and_where(failed: Callable[[int], UUID]) -> None:
    found = get_dead_letter(failed(7))
    assert (found.state, found.task, found.cause.step) == ("open", "buy-for-dead-letters", "charge")
    assert (found.cause.kind, found.cause.message) == (
        "ConnectionError",
        "gateway refused order 7",
    )
    assert found.cause.place == "charge in client/test_dead_letters.py"
    assert found.error is not None
    assert found.error.fingerprint == found.group
    assert "raise ConnectionError" in found.error.traceback
    assert not found.quarantined


def test_equal_failures_are_one_group(failed: Callable[[int], UUID]) -> None:
    for order in (7, 8, 9):
        failed(order)
    [group] = list_dead_letter_groups().groups
    assert (group.open, group.kind, group.tasks) == (
        3,
        "ConnectionError",
        ("buy-for-dead-letters",),
    )
    assert get_dead_letter_group(group.fingerprint[:4]) == group
    assert len(list_dead_letters(group=group.fingerprint).dead_letters) == 3


def test_a_retry_goes_on_at_the_failed_step_and_resolves(
    failed: Callable[[int], UUID], harness: Harness
) -> None:
    run_id = failed(7)
    plan = plan_retry(run_id)
    assert [call.key for call in plan.recalled] == ["reserve"]
    assert [call.key for call in plan.again] == ["charge"]
    GATEWAY["up"] = True
    assert retry_dead_letter(run_id, by="ann", reason="gateway is up") == run_id
    harness.run_until_idle()
    assert CALLS == ["reserve 7", "charge 7", "charge 7"]
    found = get_dead_letter(run_id)
    assert (found.state, found.by, found.reason) == ("resolved", "ann", "gateway is up")
    [group] = list_dead_letter_groups(state="resolved").groups
    assert (group.open, group.settled) == (0, 1)


def test_a_dead_letter_that_comes_back_too_often_is_quarantined(
    failed: Callable[[int], UUID], harness: Harness
) -> None:
    run_id = failed(7)
    for returns in (1, 2, 3):
        retry_dead_letter(run_id)
        harness.run_until_idle()
        found = get_dead_letter(run_id)
        assert (found.state, found.returns, found.quarantined) == ("open", returns, returns == 3)
    assert list_dead_letters(quarantined=False).dead_letters == ()
    assert len(list_dead_letters().dead_letters) == 1


@pytest.mark.parametrize("way", ["from start", "step", "input"])
def test_a_copy_that_completes_resolves_the_dead_letter(
    failed: Callable[[int], UUID], harness: Harness, way: str
) -> None:
    run_id = failed(7)
    GATEWAY["up"] = True
    if way == "from start":
        assert plan_retry(run_id, from_start=True).recalled == ()
        new = retry_dead_letter(run_id, from_start=True, by="ann")
    elif way == "step":
        assert [call.key for call in plan_retry(run_id, step="charge").recalled] == ["reserve"]
        new = retry_dead_letter(run_id, step="charge")
    else:
        new = retry_dead_letter(run_id, args=[8])
    assert new != run_id
    assert get_dead_letter(run_id).state == "retried"
    harness.run_until_idle()
    assert get_run(new).state is RunState.COMPLETED
    assert get_run(run_id).state is RunState.FAILED
    assert get_dead_letter(run_id).state == "resolved"
    ran = {"from start": "reserve 7", "step": "charge 7", "input": "reserve 8"}
    assert CALLS[2] == ran[way]


def test_what_cannot_be_retried_is_refused_before_anything_is_written(
    failed: Callable[[int], UUID], harness: Harness
) -> None:
    run_id = failed(7)
    with pytest.raises(StepNotFound, match="'charge'"):
        retry_dead_letter(run_id, step="chrage")
    with pytest.raises(TypeError, match="order"):
        retry_dead_letter(run_id, kwargs={"size": 3}, args=[])
    with pytest.raises(CodecError):
        retry_dead_letter(run_id, args=[object()])
    with pytest.raises(InvalidOption, match="both"):
        retry_dead_letter(run_id, from_start=True, step="charge")
    with pytest.raises(InvalidOption, match="both"):
        plan_retry(run_id, from_start=True, step="charge")
    assert get_dead_letter(run_id).state == "open"
    retry_dead_letter(run_id, by="ann")
    with pytest.raises(IllegalTransition, match="retried since .* by ann: only an open one"):
        retry_dead_letter(run_id)
    with pytest.raises(IllegalTransition, match="only an open one can be discarded"):
        discard_dead_letter(run_id)
    with pytest.raises(RunNotFound):
        retry_dead_letter(new_id())
    GATEWAY["up"] = True
    good = failed(8)
    with pytest.raises(DeadLetterNotFound, match="is completed"):
        get_dead_letter(good)


def test_a_discarded_dead_letter_leaves_its_run_as_it_was(failed: Callable[[int], UUID]) -> None:
    run_id = failed(7)
    discard_dead_letter(run_id, by="ann", reason="order was canceled")
    found = get_dead_letter(run_id)
    assert (found.state, found.reason) == ("discarded", "order was canceled")
    assert get_run(run_id).state is RunState.FAILED
    retry_run(run_id)
    assert get_dead_letter(run_id).state == "retried"


def test_another_input_needs_a_permission_of_its_own(failed: Callable[[int], UUID]) -> None:
    run_id = failed(7)

    def authorize(verb: str, subject: object, by: str) -> None:
        if verb == "edit_input":
            raise PermissionError(verb)

    with acting(Caller(by="ann", authorize=authorize)):
        with pytest.raises(PermissionError):
            retry_dead_letter(run_id, args=[8])
        assert get_dead_letter(run_id).state == "open"
        assert retry_dead_letter(run_id) == run_id


def test_a_group_is_ignored_until_it_fails_often_enough(failed: Callable[[int], UUID]) -> None:
    failed(1)
    [group] = list_dead_letter_groups().groups
    ignored = ignore_dead_letter_group(group.fingerprint, failures=2, by="ann", reason="known")
    assert (ignored.state, ignored.by, ignored.reason) == ("ignored", "ann", "known")
    assert list_dead_letter_groups(state="open").groups == ()
    failed(2)
    assert list_dead_letter_groups(state="open").groups == ()
    failed(3)
    [back] = list_dead_letter_groups(state="open").groups
    assert (back.regressions, back.seen) == (1, 3)
    ignore_dead_letter_group(group.fingerprint)
    assert show_dead_letter_group(group.fingerprint).state == "open"


def test_lists_come_in_pages(failed: Callable[[int], UUID], harness: Harness) -> None:
    made = []
    for order in (1, 2, 3):
        made.append(failed(order))
        harness.clock.advance(timedelta(minutes=1))
    found, cursor = [], None
    while True:
        page = list_dead_letters(limit=2, cursor=cursor)
        found += [each.run_id for each in page.dead_letters]
        cursor = page.next
        if cursor is None:
            break
    assert found == made[::-1]


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (partial(list_dead_letters, **MISTYPED), UnknownOption, "'state'"),
        (lambda: list_dead_letters(state="opne"), InvalidOption, "did you mean 'open'"),
        (lambda: list_dead_letter_groups(state="shut"), InvalidOption, "shut"),
        (lambda: list_dead_letters(limit=0), InvalidOption, "limit"),
        (lambda: list_dead_letters(cursor="x"), InvalidOption, "cursor"),
        (lambda: list_dead_letters(cursor="12-x"), InvalidOption, "cursor"),
        (lambda: list_dead_letter_groups(cursor="x"), InvalidOption, "cursor"),
        (lambda: list_dead_letters(since=datetime(2026, 1, 1)), InvalidTime, "since"),
        (lambda: get_dead_letter_group("abcd"), GroupNotFound, "abcd"),
        (lambda: ignore_dead_letter_group("abcd"), GroupNotFound, "abcd"),
        (lambda: ignore_dead_letter_group("abcd", failures=0), InvalidOption, "failures"),
        (
            lambda: ignore_dead_letter_group("abcd", until=datetime(2000, 1, 1, tzinfo=UTC)),
            InvalidOption,
            "to come",
        ),
        (lambda: get_dead_letter("x"), RunNotFound, "UUID"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    harness: Harness, call: Callable[[], object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        call()
