"""What can be declared as a durable task, and how the others are refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from trigger_celery.declare.definition import TaskRegistry, define
from trigger_celery.errors import DeclarationError, DuplicateTask, InvalidName, InvalidTime


def body(order: str, *, shop: str = "s") -> str:
    return order


async def async_body() -> None:
    await other()


async def other() -> None: ...


def other_body() -> None: ...


def test_a_definition_keeps_what_was_declared() -> None:
    task = define(body, name="t", heartbeat_timeout=90, max_crashes=5)
    assert task.body is task.fn is body
    assert not task.is_async
    assert task.heartbeat_timeout == timedelta(seconds=90)
    assert task.max_crashes == 5
    assert task.version.task == "t"
    assert "def body(order: str" in task.version.source


def test_async_bodies_are_rewritten_unless_they_are_explicit() -> None:
    assert define(async_body, name="t").body is not async_body
    assert define(async_body, name="t", checkpoint="explicit").body is async_body


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoint": "all"}, "expected checkpoint of task 't' to be 'auto' or 'explicit'"),
        ({"retry": 3}, "expected retry of task 't' to be a RetryPolicy"),
        ({"max_crashes": 0}, "expected max_crashes of task 't' to be at least 1"),
        ({"heartbeat_timeout": 0.5}, "at least one second"),
        ({"heartbeat_timeout": -1}, "zero or more"),
        ({"name": ""}, "a task's name"),
        ({"name": "a\nb"}, "a task's name"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises((DeclarationError, InvalidTime, InvalidName), match=message):
        define(body, **{"name": "t", **options})


def test_only_functions_can_be_tasks() -> None:
    def generator() -> Any:
        yield 1

    async def async_generator() -> Any:
        yield 1

    for fn in (generator, async_generator):
        with pytest.raises(DeclarationError, match="yields"):
            define(fn, name="t")
    for thing in (len, TaskRegistry, 5):
        with pytest.raises(DeclarationError, match="to be a def or an async def"):
            define(thing, name="t")  # type: ignore[arg-type]


def test_the_first_parameter_of_a_bound_task_is_not_an_argument() -> None:
    task = define(body, name="t", bound=True)
    task.check_arguments((), {"shop": "x"})
    with pytest.raises(TypeError, match="task 't': too many positional arguments"):
        task.check_arguments(("o",), {})


def test_a_name_belongs_to_one_function() -> None:
    tasks = TaskRegistry()
    first, again = define(body, name="t"), define(body, name="t", max_crashes=9)
    tasks.add(first)
    tasks.add(again)
    assert tasks.get("t") is again
    with pytest.raises(DuplicateTask, match=r"'t': .*\.body and .*\.other_body"):
        tasks.add(define(other_body, name="t"))
    tasks.remove("t")
    assert tasks.get("t") is None
    assert list(tasks) == []


def test_a_task_is_found_by_its_earlier_names_too() -> None:
    tasks = TaskRegistry()
    definition = define(body, name="new", aliases=["old", "older"])
    tasks.add(definition)
    assert [*tasks] == [definition]
    for alias in ("old", "older"):
        found = tasks.get(alias)
        assert found is not None
        assert (found.name, found.body) == (alias, body)
    tasks.add(define(body, name="new", aliases=["older"]))  # a reload
    assert tasks.get("old") is None
    tasks.remove("new")
    assert tasks.get("older") is None


@pytest.mark.parametrize(("name", "aliases"), [("old", []), ("third", ["old"]), ("third", ["new"])])
def test_an_alias_belongs_to_one_function(name: str, aliases: list[str]) -> None:
    tasks = TaskRegistry()
    tasks.add(define(body, name="new", aliases=["old"]))
    with pytest.raises(DuplicateTask, match=r"(old|new)': .*\.body and .*\.other_body"):
        tasks.add(define(other_body, name=name, aliases=aliases))


@pytest.mark.parametrize("aliases", ["old", ["t"], ["a", "a"], [1], None])
def test_aliases_are_a_list_of_other_names(aliases: Any) -> None:
    with pytest.raises(DeclarationError, match="aliases"):
        define(body, name="t", aliases=aliases)
