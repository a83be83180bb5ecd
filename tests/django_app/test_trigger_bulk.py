"""``manage.py trigger_bulk``: each verb, what it prints, its exit codes, and each bad input."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command

from support.bulk import carried_out
from trigger_celery import BulkOperation, RetryPolicy, get_bulk, list_bulk
from trigger_celery.client.access import installed_engine
from trigger_celery.declare.definition import declared_tasks, define
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.testing.contract.bulk.operations import failed as failed_run
from trigger_celery.testing.contract.tools import got
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.management import bulk, following
from trigger_celery_django.management.bulk import rate
from trigger_celery_django.store import DjangoStore
from trigger_celery_django.testing import drain

pytestmark = pytest.mark.django_db
NOW = timedelta(0)


@pytest.fixture
def store() -> DjangoStore:
    return DjangoStore()


@pytest.fixture
def failed() -> Iterator[Callable[[int], list[UUID]]]:
    """Return a function that makes so many runs fail; all later ones complete."""
    away = [True]

    def pay(number: int) -> None:
        if away[0]:
            raise ConnectionError("the gateway is away")

    task = define(pay, name="bulk-pay", retry=RetryPolicy(max_attempts=1))
    declared_tasks.add(task)

    def fail(count: int) -> list[UUID]:
        ids = [trigger(installed_engine(), task, (number,)) for number in range(count)]
        drain(NOW)
        away[0] = False
        return ids

    yield fail
    declared_tasks.remove("bulk-pay")


def run(*args: object, **streams: Any) -> str:
    """Call the command and return what it printed."""
    out = io.StringIO()
    call_command(
        "trigger_bulk", *map(str, args), stdout=out, **{"stderr": io.StringIO(), **streams}
    )
    return out.getvalue()


def refused(*args: object) -> CommandError:
    with pytest.raises(CommandError) as caught:
        run(*args)
    return caught.value


def started(*args: object) -> BulkOperation:
    """Start an operation and return it."""
    (text,) = run("start", *args, "--format", "ids").split()
    return get_bulk(text)


def test_an_operation_is_started_listed_and_shown(
    store: DjangoStore, failed: Callable[[int], list[UUID]]
) -> None:
    ids = failed(3)
    asked = ("retry", "--task", "bulk-pay", "--batch-size", 2, "--rate", "20/s", "--reason", "back")
    operation = started(*asked)
    assert (operation.batch_size, operation.interval) == (2, timedelta(seconds=0.05))
    (row,) = json.loads(run("list", "--json"))["operations"]
    assert (row["id"], row["state"], row["planned"]) == (str(operation.id), "running", 3)
    assert row["filter"] == {"tasks": ["bulk-pay"], "states": ["failed", "timed_out"]}
    assert run("list", "--state", "paused", "--format", "ids") == ""
    drain(NOW)
    shown = run("show", operation.id)
    assert "completed" in shown
    assert {got(store, each).state for each in ids} == {RunState.COMPLETED}
    assert "completed" in run("wait", operation.id)


def test_a_person_pauses_resumes_and_aborts_an_operation(
    failed: Callable[[int], list[UUID]],
) -> None:
    failed(1)
    operation = started("retry", "--all")
    assert run("pause", operation.id) == f"{operation.id}  paused\n"
    assert run("pause", operation.id) == f"{operation.id}  is not running\n"
    error = refused("wait", operation.id)
    assert (error.returncode, "is paused: it dealt with 0 of 1" in str(error)) == (1, True)
    assert run("resume", operation.id) == f"{operation.id}  resumed\n"
    assert run("abort", operation.id) == f"{operation.id}  aborted\n"
    assert run("abort", operation.id) == f"{operation.id}  is over already\n"


def test_ids_of_one_command_feed_another(
    store: DjangoStore, failed: Callable[[int], list[UUID]]
) -> None:
    ids = failed(3)
    operation = started("retry", *ids[:2])
    drain(NOW)
    assert get_bulk(operation.id).done == 2
    assert got(store, ids[2]).state is RunState.FAILED


def test_nothing_matched_is_no_failure_and_starts_nothing() -> None:
    errors = io.StringIO()
    assert run("start", "retry", "--task", "bulk-pai", stderr=errors) == ""
    assert errors.getvalue().startswith("runs to retry: 0; no durable task of this process")
    assert list_bulk() == []


def test_runs_that_failed_make_the_exit_code_three(
    failed: Callable[[int], list[UUID]], monkeypatch: pytest.MonkeyPatch
) -> None:
    failed(2)

    def refuse(*args: object, **kwargs: object) -> None:
        raise ValueError("no copy")

    monkeypatch.setattr("trigger_celery.engine.runs.bulk.copy_of", refuse)
    operation = started("rerun", "--task", "bulk-pay", "--yes")
    drain(NOW)
    error = refused("wait", operation.id)
    assert (error.returncode, str(error)) == (3, "failed 2: ValueError: no copy")
    assert "failed 2: ValueError: no copy" in run("show", operation.id)


def test_a_person_that_leaves_learns_that_it_goes_on(
    failed: Callable[[int], list[UUID]], monkeypatch: pytest.MonkeyPatch
) -> None:
    failed(1)
    operation = started("retry", "--all")

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)
    error = refused("wait", operation.id)
    assert (error.returncode, f"trigger_bulk abort {operation.id}" in str(error)) == (130, True)


def test_progress_says_how_fast_it_goes_and_how_long_it_takes(
    failed: Callable[[int], list[UUID]],
) -> None:
    failed(4)
    operation = started("retry", "--all")
    assert following.progress_line(operation, 0, 0.0).strip() == "0/4"
    assert following.progress_line(operation, 2, 1.0).strip() == "0/4, 2 runs/s, 0:00:02 left"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("start", "retry"), "choose them with filters or --all"),
        (("start", "retri", "--all"), "retri"),
        (("start", "retry", "--all", "--rate", "20"), "--rate"),
        (("start", "retry", "--all", "--rate", "0/s"), "--rate"),
        (("start", "retry", "--all", "--batch-size", "0"), "--batch-size"),
        (("start", "retry", "--all", "--since", "5x"), "--since"),
        (("start", "prioritize", "--all", "--yes"), "needs priority="),
        (("start", "retry", new_id()), "nothing was done"),
        (("show", new_id()), "no bulk operation has the id"),
        (("pause", "x"), "to be a UUID"),
    ],
)
def test_what_makes_no_sense_is_refused(args: tuple[object, ...], said: str) -> None:
    assert said in str(refused(*args))
    assert list_bulk() == []


def test_many_runs_are_not_touched_without_a_confirmation(
    failed: Callable[[int], list[UUID]],
) -> None:
    failed(2)
    error = refused("start", "rerun", "--all")
    assert "there is no terminal to confirm that 2 runs are meant" in str(error)
    assert list_bulk() == []


def test_few_runs_are_retried_without_a_question_and_many_are_not(
    store: DjangoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bulk.UNASKED == 20
    monkeypatch.setattr("trigger_celery_django.management.commands.trigger_bulk.UNASKED", 1)
    dead = [failed_run(store), failed_run(store)]
    assert "2 runs" in str(refused("start", "retry", "--state", "failed"))
    for options in (("--limit", 1), ("--yes",)):
        run("start", "retry", "--state", "failed", *options)
        assert carried_out(store).done == 1
    assert {got(store, each).state for each in dead} == {RunState.QUEUED}


def test_a_rate_is_given_in_short() -> None:
    for text, interval in (("20/s", 0.05), ("100/60s", 0.6), ("6/m", 10)):
        found = rate(text)
        assert found is not None
        assert found.rate.interval == timedelta(seconds=interval)
