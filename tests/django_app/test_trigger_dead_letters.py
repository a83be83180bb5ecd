"""``manage.py trigger_dead_letters`` and the two commands that are named after its verbs."""

from __future__ import annotations

import io
import json
import sys
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command

from trigger_celery import durable_task, get_dead_letter, step
from trigger_celery_django.management.commands import trigger_dead_letters
from trigger_celery_django.testing import drain

pytestmark = pytest.mark.django_db(transaction=True)
GATEWAY = {"up": False}
CALLS: list[str] = []


@step
def reserve_for_command(order: int) -> str:
    CALLS.append(f"reserve {order}")
    return "reserved"


@step
def charge_for_command(order: int) -> str:
    if not GATEWAY["up"]:
        raise ConnectionError(f"gateway refused order {order}")
    CALLS.append(f"charge {order}")
    return "charged"


@durable_task(name="buy-for-command")
def buy(order: int) -> str:
    reserve_for_command(order)
    return charge_for_command(order)


@pytest.fixture
def failed() -> list[str]:
    """Ten orders that failed for one reason, which is mended since."""
    GATEWAY["up"] = False
    CALLS.clear()
    ids = [str(buy.trigger(order).id) for order in range(10)]
    drain()
    GATEWAY["up"] = True
    return ids


def run(*arguments: str, command: str = "trigger_dead_letters") -> str:
    out = io.StringIO()
    call_command(command, *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def states(ids: list[str]) -> list[str]:
    return [str(get_dead_letter(each).state) for each in ids]


def test_the_gateway_was_down_for_an_hour(failed: list[str]) -> None:
    groups = json.loads(run("groups", "--json"))["groups"]
    assert [(group["open"], group["tasks"]) for group in groups] == [(10, ["buy-for-command"])]
    group = groups[0]["group"]
    assert group in run("groups")
    listed = run("list", "--group", group[:6], "--since", "1h", "--format", "ids").split()
    assert sorted(listed) == sorted(failed)
    shown = run("show", failed[0])
    assert "runs again" in shown
    assert "raise ConnectionError" in shown
    planned = run("retry", "--group", group, "--dry-run")
    assert planned.count("recalls reserve_for_command; runs again charge_for_command") == 10
    assert states(failed) == ["open"] * 10
    done = run("retry", "--group", group, "--noinput", "--rate", "1000/s", "--by", "ann")
    assert done.count("queued again") == 10
    drain()
    assert states(failed) == ["resolved"] * 10
    assert sorted(CALLS) == sorted(
        f"{what} {n}" for n in range(10) for what in ("reserve", "charge")
    )
    assert json.loads(run("groups", "--state", "resolved", "--json"))["groups"][0]["settled"] == 10


def test_ids_of_one_command_feed_another(
    failed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = run("list", "--limit", "3", "--format", "ids")
    monkeypatch.setattr(sys, "stdin", io.StringIO(ids))
    assert run("-", "--format", "ids", command="retry_dead_letters").split() == ids.split()
    [kept] = [each for each in failed if each not in ids][:1]
    assert "discarded" in run(kept, "--reason", "old", command="discard_dead_letters")
    assert get_dead_letter(kept).reason == "old"


def test_dead_letters_start_again_as_new_runs_from_the_start_or_a_step(failed: list[str]) -> None:
    planned = run("retry", failed[0], "--from-start", "--dry-run")
    assert "would rerun: recalls nothing; runs again reserve_for_command" in planned
    new = run("retry", failed[0], "--args", "[77]").split()[-1]
    assert UUID(new) != UUID(failed[0])
    forked = run("retry", failed[1], "--step", "charge_for_command").split()[-1]
    drain()
    assert states(failed[:2]) == ["resolved"] * 2
    assert "reserve 77" in CALLS
    assert CALLS.count("reserve 1") == 1
    assert len({new, forked, *failed[:2]}) == 4


def test_the_exit_code_says_how_much_of_a_batch_failed(failed: list[str]) -> None:
    run("retry", failed[0])
    with pytest.raises(CommandError, match="only an open one can be retried") as caught:
        run("retry", failed[0], failed[1])
    assert caught.value.returncode == 3
    with pytest.raises(CommandError) as caught:
        run("retry", failed[0])
    assert caught.value.returncode == 1
    assert states(failed[:2]) == ["retried"] * 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["retry"], "or choose them with filters or --all"),
        (["retry", "--all", "0123"], "not both"),
        (["retry", "--all"], "no terminal"),
        (["discard", "--task", "buy-for-command"], "no terminal"),
        (["retry", "--all", "--rate", "fast"], "a rate such as"),
        (["retry", "--all", "--since", "yesterday"], "a duration such as"),
        (["retry", "--group", "abcd", "--noinput"], "no group of dead letters"),
        (["list", "--state", "opne"], "did you mean 'open'"),
        (["show", "01234567-0123-0123-0123-0123456789ab"], "no run has the id"),
        (["ignore", "abcd"], "no group of dead letters"),
        (["retry", "--all", "--noinput", "--kwargs", '{"size": 3}'], "size"),
        (["retry", "--all", "--noinput", "--step", "chrage_for_command"], "'charge_for_command'"),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(
    failed: list[str], arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    monkeypatch.setattr(trigger_dead_letters, "ASKED_FROM", 5)
    with pytest.raises(CommandError, match=said):
        run(*arguments)
    assert states(failed) == ["open"] * 10


def test_a_group_is_kept_out_of_sight_and_brought_back(failed: list[str]) -> None:
    group = json.loads(run("groups", "--json"))["groups"][0]["group"]
    assert run("ignore", group, "--until", "2h", "--reason", "known") == f"{group}  ignored\n"
    assert run("groups", "--format", "ids") == ""
    assert run("groups", "--state", "ignored", "--format", "ids") == f"{group}\n"
    assert run("ignore", group, "--stop") == f"{group}  open\n"
