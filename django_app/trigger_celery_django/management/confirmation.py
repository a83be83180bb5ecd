"""Who asks for a change at a terminal, and whether that person means it."""

from __future__ import annotations

import getpass
import sys

from django.core.management.base import BaseCommand, CommandError


def user() -> str:
    """Return who runs the command, for the record."""
    try:
        return f"manage.py ({getpass.getuser()})"
    except (KeyError, OSError):  # a container's user without a name
        return "manage.py (unknown user)"


def confirm(command: BaseCommand, answer: str, *, to: str, meant: str) -> None:
    """Let a person type ``answer`` to do what ``to`` says.

    ``meant`` tells what nobody confirmed. Raises ``CommandError`` for any other answer, and
    where there is no terminal.
    """
    if not sys.stdin.isatty():
        raise CommandError(
            f"refused: nobody is there to confirm that {meant}; "
            "add --yes, or see what would be done with --dry-run"
        )
    command.stderr.write(f"Type {answer} to {to}: ", ending="")
    if input().strip() != answer:
        raise CommandError("not confirmed; nothing was done")
