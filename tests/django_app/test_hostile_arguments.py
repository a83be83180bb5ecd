"""What a person or a script types wrongly: exit 2 with a sentence, and nothing printed raw."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import load_command_class
from django.db import connections

import trigger_celery_django
from trigger_celery.testing.contract.tools import queued
from trigger_celery_django.models import Run
from trigger_celery_django.store import DjangoStore

pytestmark = pytest.mark.django_db

COMMANDS = sorted(
    path.stem
    for path in Path(trigger_celery_django.__file__).parent.glob("management/commands/*_*.py")
    if path.stem != "__init__"
)
STEERING = "\x1b[2J\x9b1m\x7f\r\u202egone"
NOT_UTF_8 = b"caf\xe9".decode("utf-8", "surrogateescape")
NO_NUMBERS = {"--value", "-v", "--verbosity"}
"""Options with a type to which a long number is JSON, or that are Django's own."""

Enter = Callable[..., tuple[int, str]]


@pytest.fixture
def enter(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Enter:
    """Return a function that runs a command line; it returns the exit code and what is printed."""
    monkeypatch.setattr(connections, "close_all", lambda: None)

    def run(command: str, *arguments: str) -> tuple[int, str]:
        code = 0
        try:
            entered = load_command_class("trigger_celery_django", command)
            entered.run_from_argv(["manage.py", command, *arguments, "--skip-checks"])
        except SystemExit as left:
            code = int(left.code or 0)
        return code, "".join(capsys.readouterr())

    return run


def verbs_of(command: str) -> Iterator[tuple[list[str], argparse.ArgumentParser]]:
    """Yield each verb of a command with the arguments that it must have, and its parser."""
    parser: argparse.ArgumentParser = load_command_class(
        "trigger_celery_django", command
    ).create_parser("manage.py", command)
    kinds = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    verbs: dict[str, Any] = dict(kinds[0].choices) if kinds else {"": parser}
    for verb, its in verbs.items():
        positional = [
            "1"
            for each in its._actions
            if not each.option_strings and each.nargs not in ("*", "?", "==SUPPRESS==")
        ]
        yield [*([verb] if verb else []), *positional], its


def printable(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize("command", COMMANDS)
def test_arguments_that_are_not_utf_8_or_not_known_are_refused_in_a_sentence(
    command: str, enter: Enter
) -> None:
    for needed, _ in verbs_of(command):
        code, text = enter(command, *needed, f"--{STEERING}")
        assert (code, printable(text)) == (2, True), text
        code, text = enter(command, *needed, NOT_UTF_8)
        assert (code, printable(text)) == (2, True), text
        assert "in UTF-8, got: 'caf\\udce9'" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_numbers_and_durations_out_of_all_bounds_are_refused_in_a_sentence(
    command: str, enter: Enter
) -> None:
    for needed, parser in verbs_of(command):
        for option in parser._actions:
            if option.type is None or not {*option.option_strings} - NO_NUMBERS:
                continue
            for wrong in ("9" * 30, "9" * 5_000, "99999999d", "9999-12-31T23:59-12:00", STEERING):
                code, text = enter(command, *needed, option.option_strings[-1], wrong)
                assert (code, printable(text)) == (2, True), (needed, option.option_strings, text)
                assert len(text.split("error: ")[-1]) < 600


@pytest.mark.parametrize("command", COMMANDS)
def test_no_argument_is_printed_raw(command: str, enter: Enter) -> None:
    for needed, _ in verbs_of(command):
        hostile = [STEERING if each == "1" else each for each in needed]
        if hostile != needed:
            code, text = enter(command, *hostile)
            assert (code > 0, printable(text)) == (True, True), (hostile, text)


@pytest.mark.parametrize("how", ["table", "json", "jsonl"])
def test_no_row_is_printed_raw(how: str, enter: Enter) -> None:
    queued(DjangoStore())
    Run.objects.update(task=STEERING)
    code, text = enter("trigger_runs", "list", "--format", how)
    assert (code, printable(text), "gone" in text) == (0, True, True), text


def test_the_next_times_of_schedules_are_bounded(enter: Enter) -> None:
    code, text = enter("trigger_schedules", "list", "--next", "999999999999")
    assert code == 2
    assert "expected a whole number of at least 1 and at most 1,000, got: '999999999999'" in text
