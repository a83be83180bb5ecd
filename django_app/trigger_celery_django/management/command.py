"""What all commands have in common: arguments that are text, and output that steers no terminal."""

from __future__ import annotations

import sys
from argparse import SUPPRESS
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandParser, OutputWrapper

from trigger_celery_django.printable import visible

_LONGEST = 500
"""So many characters of an error about arguments are printed: they repeat what was typed."""


class Painted(str):
    """A line with colors or ``\\r`` of ours, in which foreign text was made visible before."""

    __slots__ = ()


class Output(OutputWrapper):
    """Escapes what is not printable: rows and arguments are text of strangers."""

    def write(  # type: ignore[override]
        self,
        msg: str = "",
        style_func: Callable[[str], str] | None = None,
        ending: str | None = None,
    ) -> None:
        """Write a text, line by line escaped unless it is ``Painted``."""
        if not isinstance(msg, Painted):
            msg = "\n".join(map(visible, str(msg).split("\n")))
        super().write(msg, style_func, ending)


class Parser(CommandParser):
    """Refuses arguments that are not UTF-8, and prints none of them raw."""

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """Parse. A byte that is not UTF-8 arrives as half a surrogate pair: no store takes it."""
        for text in args or ():
            if any("\ud800" <= each <= "\udfff" for each in text):
                self.error(f"expected arguments in UTF-8, got: {text!r}")
        return super().parse_args(args, namespace)

    def error(self, message: str) -> Any:
        """Exit with 2, or raise ``CommandError`` where Python code called the command."""
        return super().error(visible(message[:_LONGEST]))


class VerbParser(Parser):
    """The parser of one verb: takes Django's own options behind the verb as before it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for option, settings in _OF_DJANGO.items():
            # Without a default of its own: that would overrule what stands before the verb.
            self.add_argument(option, default=SUPPRESS, help=SUPPRESS, **settings)


_OF_DJANGO: Mapping[str, Mapping[str, Any]] = {
    "--no-color": {"action": "store_true"},
    "--force-color": {"action": "store_true"},
    "--traceback": {"action": "store_true"},
    "--skip-checks": {"action": "store_true"},
    "--verbosity": {"type": int, "choices": [0, 1, 2, 3]},
    "--settings": {},
    "--pythonpath": {},
}


class DurableCommand(BaseCommand):
    """The base of our commands."""

    def __init__(
        self, stdout: Any = None, stderr: Any = None, no_color: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(stdout, stderr, no_color, **kwargs)
        style = self.stderr.style_func
        self.stdout, self.stderr = Output(stdout or sys.stdout), Output(stderr or sys.stderr)
        self.stderr.style_func = style

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Return a parser that prints no argument raw."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.__class__ = Parser  # Django names the class itself, and Parser adds no state
        return parser

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run the command; streams that Python code gives are written to as safely."""
        for name in ("stdout", "stderr"):
            if stream := options.pop(name, None):
                setattr(self, name, Output(stream))
        return super().execute(*args, **options)


def add_verbs(parser: Any) -> Any:
    """Return what the verbs of a command are added to."""
    return parser.add_subparsers(dest="verb", required=True, parser_class=VerbParser)
