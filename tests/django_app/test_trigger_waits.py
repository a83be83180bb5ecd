"""``manage.py trigger_waits``: lists open waits, completes, skips and extends them (point 9)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from trigger_celery import create_token, sleep, wait_for_event, wait_for_token
from trigger_celery.testing import Harness


@pytest.fixture
def harness() -> Iterator[Harness]:
    with Harness() as harness:
        yield harness


def run(*words: str) -> str:
    out = StringIO()
    call_command("trigger_waits", *words, stdout=out)
    return out.getvalue()


def run_json(*words: str) -> Any:
    return json.loads(run(*words, "--json"))


@pytest.fixture
def waiting(harness: Harness) -> dict[str, Any]:
    """Return the runs of three waits and the wait ids, by the name of the wait."""
    token = create_token(timeout=3600)
    bodies = {
        "token": lambda: wait_for_token(token),
        "event": lambda: wait_for_event("approved", timeout=60, default=None),
        "sleep": lambda: sleep(86_400),
    }
    runs = {name: harness.trigger(harness.task(body, name=name)) for name, body in bodies.items()}
    harness.run_until_idle(max_virtual_time=timedelta(0))
    listed = run_json("list")["waits"]
    ids = {wait["task"]: wait["id"] for wait in listed}
    return {"runs": runs, "ids": ids, "token": token}


def test_it_lists_open_waits(waiting: dict[str, Any]) -> None:
    listed = run_json("list")
    assert listed["schema"] == 1
    assert {wait["kind"] for wait in listed["waits"]} == {
        "wait_for_token",
        "wait_for_event",
        "sleep",
    }
    text = run("list", "--kind", "wait_for_event")
    assert "approved" in text
    assert "sleep" not in text
    run_id = waiting["runs"]["sleep"]
    assert run("list", "--run", str(run_id), "--format", "ids").split() == [
        str(waiting["ids"]["sleep"])
    ]
    assert run("list", "--after", "1000000000", "--format", "ids") == ""


def test_it_completes_waits_for_tokens_and_events(
    harness: Harness, waiting: dict[str, Any]
) -> None:
    ids, runs = waiting["ids"], waiting["runs"]
    assert run("complete", str(ids["token"]), "--value", '{"ok": true}').endswith("completed\n")
    printed = run_json("complete", str(ids["event"]), "--value", "7")
    assert printed["done"] == {str(ids["event"]): "completed"}
    harness.run_until_idle(max_virtual_time=timedelta(0))
    assert harness.result(runs["token"]) == {"ok": True}
    assert harness.result(runs["event"]).payload == 7
    stored = harness.memory.tokens.get(waiting["token"].id)
    assert stored is not None
    assert stored.closed_by.startswith("manage.py (")


def test_it_skips_and_extends(harness: Harness, waiting: dict[str, Any]) -> None:
    ids, runs = waiting["ids"], waiting["runs"]
    assert "waits until" in run("extend", str(ids["event"]), "--by", "2d")
    assert "skipped" in run("skip", str(ids["sleep"]))
    harness.advance(timedelta(days=1))
    harness.run_until_idle(max_virtual_time=timedelta(0))
    assert harness.result(runs["sleep"]) is None
    assert not harness.run(runs["event"]).state.terminal


def test_a_dry_run_changes_nothing(waiting: dict[str, Any]) -> None:
    before = run("list")
    for words in (("skip",), ("extend", "--by", "1h"), ("complete", "--value", "1")):
        printed = run(*words, "--dry-run", str(waiting["ids"]["token"]))
        assert f"would {words[0]} wait_for_token" in printed
    assert run("list") == before


def test_a_dry_run_refuses_what_would_be_refused(harness: Harness, waiting: dict[str, Any]) -> None:
    with pytest.raises(CommandError, match="takes no value"):
        run("complete", "--dry-run", str(waiting["ids"]["sleep"]), "--value", "1")
    harness.trigger(harness.task(lambda: wait_for_event("never"), name="endless"))
    harness.run_until_idle(max_virtual_time=timedelta(0))
    (endless,) = (each["id"] for each in run_json("list")["waits"] if each["due_at"] is None)
    for words in (["--dry-run"], []):
        with pytest.raises(CommandError, match="has no end"):
            run("extend", "--by", "1h", *words, str(endless))


def test_exit_codes_say_whether_some_or_all_failed(waiting: dict[str, Any]) -> None:
    event, sleeping = str(waiting["ids"]["event"]), str(waiting["ids"]["sleep"])
    with pytest.raises(CommandError, match="takes no value") as some:
        run("complete", event, sleeping, "--value", "1")
    assert some.value.returncode == 3
    with pytest.raises(CommandError, match="no open wait has the id") as every:
        run("skip", event)
    assert every.value.returncode == 1


@pytest.mark.parametrize(
    "words",
    [
        ("complete", "1", "--value", "{"),
        ("complete", "1", "--value", "NaN"),
        ("complete", "1"),
        ("extend", "1", "--by", "soon"),
        ("skip", "one"),
        ("list", "--kind", "step"),
        ("list", "--run", "no-uuid"),
        ("list", "--limit", "-1"),
    ],
)
def test_bad_arguments_are_refused(harness: Harness, words: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        run(*words)
