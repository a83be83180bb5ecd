"""The budgets and habits of the house, held for every module of both packages."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType

import grimp
import pytest

import trigger_celery

ROOT = Path(__file__).resolve().parent.parent.parent
OURS = ("trigger_celery", "trigger_celery_django")
MODULE_LINES = 250
CLASS_LINES = 250
FUNCTION_LINES = 40

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
MODULES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for folder in (ROOT / "trigger_celery", ROOT / "django_app")
    for path in sorted(folder.rglob("*.py"))
    if "migrations" not in path.parts
}
every_module = pytest.mark.parametrize("name", MODULES)


def definitions(name: str, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
    return (node for node in ast.walk(ast.parse(MODULES[name])) if isinstance(node, kinds))


def longer_than(limit: int, nodes: Iterator[ast.AST]) -> list[str]:
    return [
        f"{node.name} has {size} lines"
        for node in nodes
        if isinstance(node, (*FUNCTIONS, ast.ClassDef))
        and (size := (node.end_lineno or node.lineno) - node.lineno + 1) > limit
    ]


def imports_of_ours(function: ast.AST) -> Iterator[int]:
    for node in ast.walk(function):
        match node:
            case ast.ImportFrom(level=level, module=module):
                names = ["trigger_celery" if level else module or ""]
            case ast.Import(names=aliases):
                names = [alias.name for alias in aliases]
            case _:
                continue
        if any(name.split(".")[0] in OURS for name in names):
            yield node.lineno


@every_module
def test_a_module_is_short(name: str) -> None:
    assert MODULES[name].count("\n") <= MODULE_LINES


@every_module
def test_a_module_says_what_it_is_for(name: str) -> None:
    assert ast.get_docstring(ast.parse(MODULES[name]))


@every_module
def test_functions_are_short(name: str) -> None:
    assert longer_than(FUNCTION_LINES, definitions(name, *FUNCTIONS)) == []


@every_module
def test_classes_are_short(name: str) -> None:
    assert longer_than(CLASS_LINES, definitions(name, ast.ClassDef)) == []


@every_module
def test_no_function_imports_a_module_of_ours(name: str) -> None:
    lines = {line for node in definitions(name, *FUNCTIONS) for line in imports_of_ours(node)}
    assert sorted(lines) == []


def test_no_module_imports_itself_through_others() -> None:
    graph = grimp.build_graph(*OURS, cache_dir=None)
    # static_order() raises CycleError, which lists the modules of the cycle.
    order = TopologicalSorter(
        {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    ).static_order()
    assert set(order) == graph.modules


def test_the_public_names_are_exactly_those_that_can_be_imported() -> None:
    public = {
        name
        for name, value in vars(trigger_celery).items()
        if not name.startswith("_") and name != "annotations" and not isinstance(value, ModuleType)
    }
    assert set(getattr(trigger_celery, "__all__", ())) - {"__version__"} == public
