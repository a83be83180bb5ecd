"""The budgets and habits of the house: a test holds one rule for every module and names offenders.

A rule that the tree does not meet yet has its known offenders beside it; the list may only
shrink, and a test fails as long as it names one that the rule no longer finds.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType
from typing import TypeGuard

import grimp

import trigger_celery

ROOT = Path(__file__).resolve().parent.parent.parent
OURS = ("trigger_celery", "trigger_celery_django")
MODULE_LINES = 500
CLASS_LINES = 250
FUNCTION_LINES = 40
NINE_OF_TEN_FUNCTIONS = 20
FOLDER_MODULES = 12

Function = ast.FunctionDef | ast.AsyncFunctionDef

FOLDERS_WITH_LOGIC = {"django_app/trigger_celery_django/store/__init__.py"}


def _modules(*folders: str) -> dict[str, ast.Module]:
    return {
        str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8"))
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        if "migrations" not in path.parts
    }


MODULES = _modules("trigger_celery", "django_app")
TESTS = _modules("tests")


def expect_none(found: Iterable[str], known: Collection[str] = ()) -> None:
    """Fail with what breaks a rule and is not known for it, and with what is known and does not."""
    breaking = set(found)
    wrong = sorted(breaking - set(known)) + [
        f"{name} is listed as an offender and is none: remove it from the list"
        for name in sorted(set(known) - breaking)
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def is_function(node: ast.AST) -> TypeGuard[Function]:
    return isinstance(node, Function)


def functions() -> Iterator[tuple[str, Function]]:
    for name, tree in MODULES.items():
        yield from ((name, node) for node in ast.walk(tree) if is_function(node))


def test_modules_are_short() -> None:
    long = [
        name
        for name, tree in (MODULES | TESTS).items()
        if (tree.body[-1].end_lineno or 0) > MODULE_LINES
    ]
    expect_none(long)


def test_functions_are_short() -> None:
    long = [
        f"{name}: {node.name} has {lines(node)} lines"
        for name, node in functions()
        if lines(node) > FUNCTION_LINES
    ]
    expect_none(long)


def test_nine_of_ten_functions_are_very_short() -> None:
    sizes = sorted(lines(node) for _, node in functions())
    assert sizes[len(sizes) * 9 // 10] <= NINE_OF_TEN_FUNCTIONS


def test_classes_are_short() -> None:
    long = [
        f"{name}: {node.name} has {lines(node)} lines"
        for name, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and lines(node) > CLASS_LINES
    ]
    expect_none(long)


def test_folders_hold_few_modules() -> None:
    """Beside its ``__init__.py``; Django wants one module a command."""
    held = Counter(str(Path(name).parent) for name in MODULES if not name.endswith("__init__.py"))
    crowded = {
        folder
        for folder, modules in held.items()
        if modules > FOLDER_MODULES and not folder.endswith("management/commands")
    }
    expect_none(crowded)


def test_no_module_stands_beside_a_folder_of_its_name() -> None:
    # Python imports the folder; the module would be read by people alone.
    expect_none(name for name in MODULES if (ROOT / name).with_suffix("").is_dir())


def test_the_folders_of_the_unit_tests_are_those_of_the_core() -> None:
    unit = ROOT / "tests" / "unit"
    folders = {path.parent.relative_to(unit) for path in unit.rglob("test_*.py")}
    expect_none(str(each) for each in folders if not (ROOT / OURS[0] / each).is_dir())


def test_modules_say_what_they_are_for() -> None:
    expect_none(name for name, tree in (MODULES | TESTS).items() if not ast.get_docstring(tree))


def test_folders_have_no_logic_of_their_own() -> None:
    logic = [
        name
        for name, tree in MODULES.items()
        if name.endswith("__init__.py")
        for node in tree.body
        if not isinstance(node, ast.Import | ast.ImportFrom | ast.Expr | ast.Assign)
    ]
    expect_none(logic, FOLDERS_WITH_LOGIC)


def test_what_is_to_do_has_the_number_of_an_issue() -> None:
    open_end = re.compile(r"# *(TODO|FIXME|XXX)\b(?!.*#\d)")
    expect_none(name for name in MODULES if open_end.search((ROOT / name).read_text("utf-8")))


def test_ports_and_records_are_typed() -> None:
    vague = [
        f"{name}:{node.lineno}"
        for name, tree in MODULES.items()
        if name.startswith(("trigger_celery/ports", "trigger_celery/vocabulary/records"))
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id == "Any"
    ]
    expect_none(vague)


def imports_of_ours(function: Function) -> Iterator[int]:
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


def test_no_function_imports_a_module_of_ours() -> None:
    found = {f"{name}:{line}" for name, node in functions() for line in imports_of_ours(node)}
    expect_none(found)


def test_reserved_step_keys_are_built_and_parsed_in_one_module() -> None:
    expect_none(
        f"{name}:{node.lineno}"
        for name, tree in MODULES.items()
        if name != "trigger_celery/vocabulary/step_keys.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and str(node.value).startswith("~")
    )


WRITES = {"save", "delete", "create", "update", "bulk_create", "bulk_update", "get_or_create"}
READERS = tuple(
    f"django_app/trigger_celery_django/{folder}/"
    for folder in ("admin", "management", "trace", "views")
)


def test_what_people_see_is_read_and_never_written() -> None:
    """The trace and the admin read rows; whatever changes one is a verb of the client."""
    expect_none(
        f"{name}:{node.lineno}"
        for name, tree in MODULES.items()
        if name.startswith(READERS)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in WRITES
    )


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


def test_json_is_built_and_read_in_values_alone() -> None:
    """The test kit keeps a history in memory, and its contract reads one: both stand outside."""
    own = ("trigger_celery/values/", "trigger_celery/testing/")
    found = [
        name
        for name, tree in MODULES.items()
        if name.startswith("trigger_celery/")
        and not name.startswith(own)
        and any(
            alias.name == "json"
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        )
    ]
    expect_none(found)
