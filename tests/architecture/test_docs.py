"""The documentation says what the code does and names what exists."""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import tomllib
from dataclasses import fields
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest
from django.core.management import load_command_class

import trigger_celery
from support.pages import DOCS, PAGES, ROOT, Page, page
from trigger_celery import errors, testing
from trigger_celery.config import Config
from trigger_celery.limits import RequestRate
from trigger_celery.vocabulary.states import TERMINAL, TRANSITIONS, RunState

APP = ROOT / "django_app" / "trigger_celery_django"
every_page = pytest.mark.parametrize("name", [page.name for page in PAGES])


def unquoted(cell: str) -> str:
    """Return what stands between the first backticks."""
    return cell.split("`")[1]


def shown(default: object) -> str:
    """Return a default as ``settings.md`` writes it."""
    if default is None or isinstance(default, bool):
        return f"`{default}`"
    if isinstance(default, str):
        return f'`"{default}"`'
    if isinstance(default, timedelta):
        seconds = int(default.total_seconds())
        if seconds % 86_400 == 0:
            return f"{default.days} days"
        return f"{seconds} s" if seconds <= 60 else f"{seconds // 60} min"
    if isinstance(default, RequestRate):
        return "`[{:_}, {}, {:_}]`".format(*default)
    if isinstance(default, dict):
        return f"`{default}`"
    return f"{default:,}"


def test_every_setting_is_listed_with_its_default() -> None:
    rows = [row for row in page("settings").rows() if len(row) == 3 and row[0] != "setting"]
    defaults = Config()
    expected = {
        field.name.upper(): shown(getattr(defaults, field.name)) for field in fields(Config)
    }
    assert {unquoted(name): default for name, default, _ in rows} == expected


def test_every_error_is_listed_and_nothing_else() -> None:
    classes = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and value.__module__.startswith(errors.__name__)
    }
    documented = page("errors")
    listed = [unquoted(row[0]) for row in documented.rows() if row[0] != "error"]
    assert len(listed) == len(set(listed))
    assert set(listed) <= classes
    assert set(re.findall(r"`(\w+)`", documented.prose)) >= classes


def test_the_drawing_of_states_is_the_table_of_transitions() -> None:
    (drawing,) = page("states").blocks("mermaid")
    arrows = re.findall(r"^ +(\S+) --> ([^\s:]+)(?:: (.+))?$", drawing.text, re.M)
    ends = {RunState(source) for source, target, _ in arrows if target == "[*]"}
    moves = [arrow for arrow in arrows if "[*]" not in arrow]
    assert [arrow[1:] for arrow in arrows if arrow[0] == "[*]"] == [("queued", "trigger")]
    assert ends == {state for state in TERMINAL if not TRANSITIONS[state]}
    assert sorted(moves) == sorted(
        (str(source), str(target), verb)
        for source, targets in TRANSITIONS.items()
        for target, verb in targets.items()
    )
    explained = [unquoted(row[0]) for row in page("states").rows()[1:] if len(row) == 3]
    assert sorted(explained) == sorted(RunState)


def test_every_system_check_is_listed_and_nothing_else() -> None:
    known = re.findall(
        r'id="(trigger_celery\.\w+)"',
        "".join(each.read_text("utf-8") for each in APP.glob("checks/*.py")),
    )
    rows = page("settings").rows("System checks")[1:]
    assert [unquoted(row[0]) for row in rows] == sorted(set(known))


def test_every_command_is_listed_and_nothing_else() -> None:
    known = {path.stem for path in (APP / "management" / "commands").glob("trigger_*.py")}
    assert set(re.findall(r"manage\.py (trigger_\w+)", page("commands").text)) == known


COMMAND = re.compile(
    r"\btrigger_(?:sweep|task|runs|events|waits|schedules|queues|keys|bulk)\b(?:(?!\$\()[^`|\n])*"
)
ENTERED = re.compile(r"`([^`\n]+)`|^ *(?:\$ )?(.*manage\.py.*)$", re.M)


@cache
def options_of(command: str, verb: str) -> frozenset[str] | None:
    """Return the options of a command, or of one of its verbs; None if there is no such verb."""
    parser: argparse.ArgumentParser = load_command_class(
        "trigger_celery_django", command
    ).create_parser("manage.py", command)
    kinds = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    if kinds and verb:
        if verb not in kinds[0].choices:
            return None
        parser = kinds[0].choices[verb]
    return frozenset(option for each in parser._actions for option in each.option_strings)


@every_page
def test_commands_have_the_verbs_and_options_that_a_page_gives_them(name: str) -> None:
    wrong = []
    for quoted, line in ENTERED.findall(Page(ROOT / name).text):
        for found in COMMAND.findall(quoted or line):
            command, *rest = found.split()
            verb = rest[0] if rest and re.fullmatch(r"[a-z]+", rest[0]) else ""
            known = options_of(command, verb)
            used = set(re.findall(r"(?<!\S)--[a-z-]+", found))
            if known is None or used - known:
                wrong.append(found)
    assert wrong == []


def test_every_logger_is_listed_and_nothing_else() -> None:
    sources = [*(ROOT / "trigger_celery").rglob("*.py"), *APP.rglob("*.py")]
    known = re.findall(
        r'getLogger\("(trigger_celery\.\w+)"\)',
        "".join(each.read_text("utf-8") for each in sources),
    )
    listed = re.findall(r"`(trigger_celery\.\w+)`", page("production").section("Monitoring"))
    assert sorted(listed) == sorted(set(known) - {"trigger_celery.testing"})


def test_the_index_lists_every_page() -> None:
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert set(page("index").links) == pages - {"index.md"}


@every_page
def test_links_lead_to_pages_and_headings_that_exist(name: str) -> None:
    source = Page(ROOT / name)
    near = [(link, source.path.parent) for link in source.links]
    far = [(link, ROOT) for link in source.published]
    assert [link for link, folder in near + far if not leads_somewhere(link, folder, source)] == []


def leads_somewhere(link: str, folder: Path, source: Page) -> bool:
    """Return whether the file is there, and has the heading if the link names one."""
    path, _, anchor = link.partition("#")
    target = Page((folder / path).resolve() if path else source.path)
    return target.path.is_file() and (not anchor or anchor in target.anchors)


@cache
def functions_of(path: Path) -> frozenset[str]:
    """Return the names of all functions of a file."""
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in nodes if isinstance(node, kinds))


SHOWN: dict[str, dict[str, list[str]]] = tomllib.loads(
    (ROOT / "tests" / "guarantees.toml").read_text("utf-8")
)
"""The tests that show each guarantee, by part of the page and heading."""
HELD: dict[str, dict[str, list[str]]] = tomllib.loads(
    (ROOT / "tests" / "threats.toml").read_text("utf-8")
)
"""The tests that show what holds each threat, by its heading."""
NOT_PROMISED = "What is not promised"


def test_every_test_that_shows_a_guarantee_exists() -> None:
    named = [
        test.split("::")
        for part in (*SHOWN.values(), *HELD.values())
        for tests in part.values()
        for test in tests
    ]
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).is_file() or name not in functions_of(ROOT / path)
    ]
    assert missing == []


def test_every_guarantee_has_a_test_and_every_listed_test_a_guarantee() -> None:
    promised: dict[str, set[str]] = {}
    for level, heading in re.findall(r"^(##+) (.+)$", page("guarantees").prose, re.M):
        if level == "##":
            part = promised.setdefault(heading, set())
        else:
            part.add(heading)
    del promised[NOT_PROMISED]
    assert promised == {part: set(shown) for part, shown in SHOWN.items() if part != NOT_PROMISED}
    assert [name for part in SHOWN.values() for name, tests in part.items() if not tests] == []
    bold = re.findall(r"\*\*(.+?)\.?\*\*", page("guarantees").section(NOT_PROMISED), re.S)
    assert set(SHOWN[NOT_PROMISED]) <= set(bold)


def test_every_threat_is_held_by_a_test_or_says_what_is_missing_or_left() -> None:
    (held,) = HELD.values()
    threats = re.findall(r"^## (T(\d+): .+)$", page("threats").prose, re.M)
    assert [int(number) for _, number in threats] == list(range(1, 17))
    assert set(held) <= {name for name, _ in threats}
    said = ("**Missing:**", "**Left to the operator:**", "sends no request")
    unheld = [name for name, _ in threats if not held.get(name)]
    assert [n for n in unheld if not any(s in page("threats").section(n) for s in said)] == []


def test_every_public_name_is_in_the_reference_of_the_api_once() -> None:
    text = "".join(path.read_text("utf-8") for path in (DOCS / "reference" / "api").glob("*.md"))
    documented = re.findall(r"^\.\. auto\w+:: ([\w.]+)$", text, re.M)
    errors_of = {
        f"trigger_celery.{name}" for name in vars(errors) if name in trigger_celery.__all__
    }
    public = {
        f"{module.__name__}.{name}"
        for module in (trigger_celery, testing)
        for name in module.__all__
    } - errors_of
    assert len(documented) == len(set(documented))
    assert sorted(public - set(documented)) == []


@every_page
def test_blocks_of_python_compile(name: str) -> None:
    for block in Page(ROOT / name).blocks("python"):
        compile("\n" * (block.line - 1) + block.text, name, "exec", dont_inherit=True)
