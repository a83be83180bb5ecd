"""What people type: options of Django behind the verb, beginnings of ids, names by heart."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command, load_command_class

from trigger_celery.declare.definition import declared_tasks, define
from trigger_celery.testing.contract.tools import TASK, new_run, queued
from trigger_celery_django.store import DjangoStore

pytestmark = pytest.mark.django_db


@pytest.fixture
def store() -> DjangoStore:
    return DjangoStore()


@pytest.fixture
def task() -> Iterator[None]:
    declared_tasks.add(define(lambda: None, name=TASK))
    yield
    declared_tasks.remove(TASK)


def run(*args: object, **streams: Any) -> str:
    """Call the command and return what it printed."""
    out = io.StringIO()
    call_command(
        "trigger_runs", *map(str, args), stdout=out, **{"stderr": io.StringIO(), **streams}
    )
    return out.getvalue()


def shown(*args: object) -> Any:
    """Call the command and return its JSON."""
    return json.loads(run(*args, "--json"))


@pytest.mark.parametrize("option", ["--no-color", "--force-color", "--traceback"])
def test_options_of_django_may_stand_behind_the_verb(store: DjangoStore, option: str) -> None:
    run_id = queued(store)
    assert str(run_id) in run("trace", run_id, option)
    assert "queued" in run("list", option)


def test_an_option_before_the_verb_still_counts(store: DjangoStore) -> None:
    command = load_command_class("trigger_celery_django", "trigger_runs")
    parser = command.create_parser("manage.py", "trigger_runs")
    before = parser.parse_args(["--no-color", "--verbosity", "0", "list"])
    assert (before.no_color, before.verbosity) == (True, 0)
    behind = parser.parse_args(["list", "--no-color", "--settings", "shop.settings"])
    assert (behind.no_color, behind.settings, behind.verbosity) == (True, "shop.settings", 1)


def test_the_beginning_of_an_id_names_the_run_if_it_is_the_only_one(store: DjangoStore) -> None:
    ids = [UUID(f"{start}-0000-7000-8000-000000000000") for start in ("0aaa1111", "0aaa2222")]
    ids.append(UUID("f0f0f0f0-0000-4000-8000-00000000000a"))
    for each in ids:
        store.runs.create([replace(new_run(), id=each, input="[[],{}]")])
    assert shown("show", "0AAA1")["run"]["id"] == str(ids[0])
    assert shown("show", "f0f0f0f0-0000")["run"]["id"] == str(ids[2])
    with pytest.raises(CommandError, match=f"several runs .* begin with 0aaa: {ids[0]}, {ids[1]}"):
        run("show", "0aaa")
    with pytest.raises(CommandError, match="no run has an id that begins with 0bbb"):
        run("trace", "0bbb")
    with pytest.raises(CommandError, match="its first four digits"):
        run("show", "0aa")
    assert str(ids[1]) in run("cancel", "0aaa2")
    assert run("list", "--root", "0aaa1", "--format", "ids").split() == [str(ids[0])]
    assert run("list", "--parent", "0aaa1", "--format", "ids") == ""


def test_a_task_that_is_not_known_is_named_with_the_closest(task: None, store: DjangoStore) -> None:
    declared_tasks.add(define(lambda: None, name="documents.tasks.consume_file"))
    try:
        for verb in ("list", "cancel"):
            err = io.StringIO()
            run(verb, "--task", "consume_file", stderr=err)
            assert "did you mean 'documents.tasks.consume_file'?" in err.getvalue()
        err = io.StringIO()
        run("list", "--task", TASK, stderr=err)
        assert err.getvalue().strip() == "no runs"
    finally:
        declared_tasks.remove("documents.tasks.consume_file")
