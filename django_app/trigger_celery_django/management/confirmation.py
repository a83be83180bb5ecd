"""The user at a terminal: the name for the record, and a change confirmed before it is made."""

from __future__ import annotations

import getpass
import sys
from argparse import ArgumentParser

from django.core.management.base import BaseCommand, CommandError


def user() -> str:
    """Return the name of the user that runs the command, for the record."""
    try:
        return f"manage.py ({getpass.getuser()})"
    except (KeyError, OSError):  # a container's user without a name
        return "manage.py (unknown user)"


def add_person(parser: ArgumentParser) -> None:
    """Declare which person asks, and why."""
    parser.add_argument("--reason", default="", help="kept in the run's history")
    parser.add_argument("--by", default="", help="name of the person; kept in the run's history")


def confirm(command: BaseCommand, answer: str, *, to: str, meant: str) -> None:
    """Let a person type ``answer`` to do what ``to`` says.

    ``meant`` says what was not confirmed. Raises ``CommandError`` for any other answer, and
    where there is no terminal.
    """
    if not sys.stdin.isatty():
        raise CommandError(
            f"refused: there is no terminal to confirm that {meant}; "
            "add --yes, or see what would be done with --dry-run"
        )
    command.stderr.write(f"Type {answer} to {to}: ", ending="")
    if input().strip() != answer:
        raise CommandError("not confirmed; nothing was done")
