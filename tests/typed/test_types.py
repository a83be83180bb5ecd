"""What type checkers find in users' code, and what the public names are declared to return."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import trigger_celery
from trigger_celery.celery.options import HookOptions, TaskOptions
from trigger_celery.declare.hooks import HOOKS
from trigger_celery.declare.options import OptionValues
from trigger_celery.declare.queue import QUEUEING

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PROJECT = sorted(set(HERE.glob("*.py")) - {Path(__file__).resolve()})

RETURN_ANY = {
    "wait_for_token": "the value comes from outside, as any JSON",
    "wait_for_event": "with default=None only: an optional value cannot be awaited as well",
    "DurableTask.batch_trigger_and_wait": "with default=None only",
    "ConfiguredTask.batch_trigger_and_wait": "with default=None only",
    "DurableTask.backend": "Celery's result backends have no common type",
}
"""Public functions and methods that return ``Any``, each with the reason."""

NOT_PUBLIC_YET = {
    "example_project/shop/story.py: trigger_celery.vocabulary.records",
    "example_project/shop/story.py: trigger_celery.values.failures",
}
"""What documents and examples import although no user may; the list may only become shorter."""


def check(*command: str) -> None:
    path = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_finds_the_types_of_users_code_and_its_mistakes() -> None:
    pytest.importorskip("mypy")
    options = ("--strict", "--config-file=", "--cache-dir=.mypy_cache/typed")
    check("mypy", *options, "--explicit-package-bases", *map(str, PROJECT))


def test_pyright_finds_the_same() -> None:
    pytest.importorskip("basedpyright")
    check("basedpyright", "--project", str(HERE), "--pythonpath", sys.executable)


def test_public_names_that_return_any_have_a_reason() -> None:
    found = {name for name, answers in returned() if any(map(has_any, answers))}
    assert found == RETURN_ANY.keys()


def test_options_for_checkers_are_those_that_are_known() -> None:
    assert HookOptions.__annotations__.keys() == HOOKS.keys()
    assert TaskOptions.__annotations__.keys() >= QUEUEING
    fields = trigger_celery.TriggerOptions.__dataclass_fields__.keys()
    assert OptionValues.__annotations__.keys() == fields


def has_any(annotation: str) -> bool:
    """Whether a returned value is of no type; a type that Any is a parameter of is one."""
    return re.fullmatch(r"Any(\s*\|.*)?|.*\|\s*Any", annotation) is not None


def returned() -> Iterator[tuple[str, list[str]]]:
    for name in trigger_celery.__all__:
        value = getattr(trigger_celery, name)
        if inspect.isclass(value):
            for attribute, member in methods(value):
                yield f"{name}.{attribute}", return_types(member)
        else:
            yield name, return_types(value if inspect.isroutine(value) else type(value).__call__)


def methods(cls: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The public methods and properties that classes of ours define."""
    ours = [base for base in cls.__mro__ if base.__module__.startswith("trigger_celery")]
    for name in {name for base in ours for name in vars(base) if not name.startswith("_")}:
        member = inspect.getattr_static(cls, name)
        member = member.fget if isinstance(member, property) else member
        member = getattr(member, "__func__", member)
        if inspect.isfunction(member):
            yield name, member


def return_types(function: Callable[..., Any]) -> list[str]:
    function = getattr(function, "__func__", function)
    declared = typing.get_overloads(function) or [function]
    return [str(each.__annotations__.get("return", "Any")) for each in declared]


def test_modules_that_are_listed_as_public_are_there() -> None:
    """All others are private by the rule of that page."""
    page = (ROOT / "docs/reference/stability.md").read_text(encoding="utf-8")
    table = page.partition("## What is public")[2].partition("**Everything else")[0]
    listed = re.findall(r"^\| `(trigger_celery[\w.]*)` \|", table, re.MULTILINE)
    assert {"trigger_celery", "trigger_celery.errors", "trigger_celery_django"} <= set(listed)
    for name in listed:
        assert importlib.util.find_spec(name) is not None, name


def test_documents_and_examples_import_public_modules_only() -> None:
    page = (ROOT / "docs/reference/stability.md").read_text(encoding="utf-8")
    public = set(re.findall(r"^\| `(trigger_celery[\w.]*)` \|", page, re.MULTILINE))
    texts = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("example_project/**/*.py")]
    found = {
        f"{path.relative_to(ROOT)}: {module}"
        for path in texts
        for module in re.findall(
            r"^(?:from|import) (trigger_celery[\w.]*)",
            path.read_text(encoding="utf-8"),
            re.MULTILINE,
        )
        if module not in public
    }
    assert found == NOT_PUBLIC_YET
