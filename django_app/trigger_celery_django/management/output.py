"""How commands read times and print rows: for people, or as JSON with stable keys."""

from __future__ import annotations

import json
import re
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import CommandParser

from trigger_celery_django.printable import visible

SCHEMA = 1
"""The version of the keys in JSON output."""
FORMATS = ("table", "json", "jsonl", "ids")

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class VerbParser(CommandParser):
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


def add_verbs(parser: Any) -> Any:
    """Return what the verbs of a command are added to."""
    return parser.add_subparsers(dest="verb", required=True, parser_class=VerbParser)


def add_format(parser: ArgumentParser) -> None:
    """Declare ``--format`` and its short form ``--json``."""
    parser.add_argument("--format", choices=FORMATS, default="table", help="default: table")
    parser.add_argument(
        "--json",
        dest="format",
        action="store_const",
        const="json",
        help="the same as --format json",
    )


def length(text: str) -> timedelta:
    """Return a duration such as ``90s``, ``2h`` or ``1d12h``; a bare number is seconds."""
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)|((?:\d+[smhdw])+)", text.strip())
    if parts is None:
        raise ArgumentTypeError(f"expected a duration such as 90s, 30m, 2h or 1d12h, got: {text!r}")
    if parts[1]:
        pairs = [(float(parts[1]), "s")]
    else:
        pairs = [(float(number), unit) for number, unit in re.findall(r"(\d+)([smhdw])", text)]
    try:
        return sum((timedelta(**{_UNITS[unit]: number}) for number, unit in pairs), timedelta())
    except OverflowError:
        raise ArgumentTypeError(f"expected a duration, got one too long: {text!r}") from None


def moment(text: str) -> timedelta | datetime:
    """Return a duration, or the aware time of an ISO 8601 text; without an offset it is UTC."""
    try:
        return length(text)
    except ArgumentTypeError:
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            raise ArgumentTypeError(
                f"expected a duration such as 2h or a time such as 2030-01-31T09:00Z, got: {text!r}"
            ) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def count(text: str) -> int:
    """Return a whole number of at least one."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise ArgumentTypeError(f"expected a whole number of at least 1, got: {text!r}")
    return number


def json_value(text: str, kind: type[list[Any]] | type[dict[str, Any]]) -> Any:
    """Return the JSON that a person gave as positional (list) or keyword (dict) arguments."""
    what = "list" if kind is list else "object"
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ArgumentTypeError(f"expected a JSON {what}, got: {text!r} ({error})") from None
    if not isinstance(value, kind):
        raise ArgumentTypeError(f"expected a JSON {what}, got: {text!r}")
    return value


def plain(value: object) -> object:
    """Return a value as JSON has it: times in UTC as ISO 8601, other things as text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if value is None or isinstance(value, (bool, int, float, str, list, dict)):
        return value
    return str(value)


def rows_as(
    how: str,
    name: str,
    rows: Sequence[Mapping[str, object]],
    columns: Sequence[str],
    *,
    id_key: str = "id",
) -> Iterator[str]:
    """Return the lines of rows in one of the ``FORMATS``; a table has these columns only.

    ``id_key`` is what ``ids`` shows of each.
    """
    data = [{key: plain(value) for key, value in row.items()} for row in rows]
    match how:
        case "json":
            yield as_json({name: data})
        case "jsonl":
            yield from (json.dumps(row) for row in data)
        case "ids":
            yield from (str(row[id_key]) for row in data)
        case _:
            yield from table(columns, rows)


def as_json(shown: Mapping[str, object]) -> str:
    """Return one JSON object that names the version of its keys."""
    return json.dumps({"schema": SCHEMA, **shown}, indent=2)


def table(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """Return aligned lines, the first with the names of the columns."""
    lines = [[column.upper().replace("_", " ") for column in columns]]
    lines += [[cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    for line in lines:
        padded = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        yield "  ".join(padded).rstrip()


def cell(value: object) -> str:
    """Return a value as a table shows it, on one line."""
    if value in (None, "", ()):
        return "-"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, (list, tuple)):
        return visible(", ".join(map(str, value))) or "-"
    return visible(str(value))
