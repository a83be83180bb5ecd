"""The page on converting a Celery project says of each option what the code does with it."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from celery import Task

from support.modules import load
from support.pages import page
from trigger_celery import durable_task
from trigger_celery.celery import canvas
from trigger_celery.celery.options import (
    RETRIES,
    CeleryOptions,
    OverruledOptions,
    RunOptions,
    TaskOptions,
    passed_on,
    take_ours,
)
from trigger_celery.celery.task import DurableTask
from trigger_celery.declare.hooks import HOOKS
from trigger_celery.errors import UnknownOption, UsageError
from trigger_celery.testing import Harness

NO_OPTIONS = {
    *("app", "abstract", "from_config", "request", "request_stack", "name", "backend"),
    *("subtask", "subtask_from_request"),
}
"""Attributes of Celery's task class that are no options of its decorator."""


def table(heading: str) -> dict[str, str]:
    """Return what each option becomes."""
    rows = page("converting").rows(heading)[1:]
    found = {row[0].strip("`"): row[1] for row in rows}
    assert len(found) == len(rows), "an option is there twice"
    return found


TASK = table("Options of the task")
CALL = table("Options of a call")


def test_each_option_of_a_task_becomes_what_the_code_makes_of_it() -> None:
    celerys = {
        **dict.fromkeys(["bind", *CeleryOptions.__annotations__], "the same"),
        **dict.fromkeys(OverruledOptions.__annotations__, "no effect"),
        **dict.fromkeys(RETRIES, "retries"),
        **dict.fromkeys(RunOptions.__annotations__.keys() & vars(Task).keys(), "option of runs"),
        **dict.fromkeys(HOOKS.keys() & vars(Task).keys(), "hook"),
        "pydantic": "refused",
    }
    assert celerys == TASK


@pytest.mark.parametrize("option", sorted(TASK))
def test_an_option_is_passed_on_to_celery_only_if_it_stays_the_same(option: str) -> None:
    taken = passed_on({option: "x"})
    assert bool(taken) == (TASK[option] in ("the same", "refused"))
    assert option in {"bind", "pydantic", *TaskOptions.__annotations__}


def test_no_option_of_celerys_task_class_is_left_out() -> None:
    attributes = {
        name
        for name, value in vars(Task).items()
        if not name.startswith("_") and name.islower() and not inspect.isroutine(value)
    }
    of_settings = {name for name, _ in Task.from_config}
    assert (attributes | of_settings) - NO_OPTIONS - TASK.keys() == set()


def test_each_option_of_a_call_becomes_what_the_code_makes_of_it() -> None:
    kept = {*canvas.ROUTING, *canvas.MESSAGE, *canvas.REQUEST, *canvas.TEXTS, "headers"}
    celerys = {
        **dict.fromkeys(canvas.TRANSIENT, "no effect"),
        **dict.fromkeys(kept, "kept"),
        **dict.fromkeys(("countdown", "eta"), "start of the run"),
        **dict.fromkeys(("args", "kwargs"), "input of the run"),
        "task_id": "id of the run",
        "expires": "`ttl` of the run",
        "add_to_parent": "the same",
    }
    assert celerys == CALL


@pytest.mark.parametrize("option", sorted(CALL))
def test_an_option_of_a_call_is_in_the_canvas_of_its_run_if_it_is_kept(option: str) -> None:
    if option in inspect.signature(DurableTask.apply_async).parameters and CALL[option] != "kept":
        return
    if option == "expires":
        options: dict[str, Any] = {"expires": 60}
        assert take_ours(options, countdown=None, eta=None).ttl is not None
        assert options == {}
        return
    assert (canvas.save({option: ["x"]}) != "") == (CALL[option] == "kept")


def test_no_parameter_of_celerys_apply_async_is_left_out() -> None:
    text = inspect.getdoc(Task.apply_async) or ""
    documented = set(re.findall(r"^    (\w+) \([~\w, .]+\):", text, re.M))
    assert len(documented) > 15
    assert {"routing_key", "link_error"} <= documented
    assert documented - CALL.keys() == set()


def test_other_names_are_refused_as_the_page_says() -> None:
    decorate: Any = durable_task
    with pytest.raises(UnknownOption, match="acks_late"):
        decorate(acks_lately=True)(lambda: None)
    with pytest.raises(UsageError, match="does not know the option"):
        canvas.save({"acks_lately": True})


def test_the_example_of_the_page_runs(tmp_path: Path) -> None:
    [block] = page("converting").blocks("python")
    example = load(tmp_path / "converted_project.py", block.text)
    with Harness() as harness:
        run = harness.trigger(example.ship, 7, example.Address("Main St", "Springfield"))
        harness.run_until_idle()
        assert harness.result(run) == [7, 0, "label for Main St, Springfield"]
