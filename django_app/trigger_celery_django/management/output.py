"""How commands read times and print rows: for people, or as JSON with stable keys."""

from __future__ import annotations

import json
import re
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from trigger_celery.errors import DecodeError
from trigger_celery.values.strict import parse
from trigger_celery.vocabulary.checks import LONGEST
from trigger_celery_django.printable import visible

SCHEMA = 1
"""The version of the keys in JSON output."""
FORMATS = ("table", "json", "jsonl", "ids")
MOST = 1_000_000_000
"""No count or number that a person types is larger: every column of every database takes it."""
_QUOTED = 80
"""So many characters of a wrong argument are repeated."""

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


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
        raise ArgumentTypeError(
            f"expected a duration such as 90s, 30m, 2h or 1d12h, got: {quoted(text)}"
        )
    if parts[1]:
        pairs = [(float(parts[1]), "s")]
    else:
        pairs = [(float(number), unit) for number, unit in re.findall(r"(\d+)([smhdw])", text)]
    try:
        found = sum((timedelta(**{_UNITS[unit]: number}) for number, unit in pairs), timedelta())
    except OverflowError:
        found = timedelta.max
    if found > LONGEST:
        raise ArgumentTypeError(f"expected at most {LONGEST.days:,} days, got: {quoted(text)}")
    return found


def moment(text: str) -> timedelta | datetime:
    """Return a duration, or the aware time of an ISO 8601 text; without an offset it is UTC."""
    try:
        return length(text)
    except ArgumentTypeError as error:
        try:
            return iso_time(text, UTC)
        except ValueError:
            raise ArgumentTypeError(
                f"{error}; a time such as 2030-01-31T09:00Z is taken, too"
            ) from None


def iso_time(text: str, local: tzinfo) -> datetime:
    """Return the aware time of an ISO 8601 text, in ``local`` unless it has an offset.

    Raises ``ValueError`` also for one that has no time in UTC.
    """
    at = datetime.fromisoformat(text)
    at = at if at.tzinfo else at.replace(tzinfo=local)
    try:
        at.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(str(error)) from None
    return at


def count(text: str, *, least: int = 1, most: int = MOST) -> int:
    """Return a whole number of at least one, or from ``least`` to ``most``."""
    try:
        number = int(text)
    except ValueError:  # also of more digits than Python reads
        number = least - 1
    if not least <= number <= most:
        span = f"of at least {least:,} and at most {most:,}"
        raise ArgumentTypeError(f"expected a whole number {span}, got: {quoted(text)}")
    return number


def number(text: str) -> int:
    """Return a whole number, which may be negative."""
    return count(text, least=-MOST)


def row_id(text: str) -> int:
    """Return the number of a row; 0 stands before all of them."""
    return count(text, least=0, most=2**63 - 1)


def json_value(text: str, kind: type[list[Any]] | type[dict[str, Any]]) -> Any:
    """Return the JSON that a person gave as positional (list) or keyword (dict) arguments."""
    what = "list" if kind is list else "object"
    try:
        value = parse(text.encode("utf-8", "surrogateescape"))
    except DecodeError as error:
        raise ArgumentTypeError(f"expected a JSON {what}, got: {quoted(text)} ({error})") from None
    if not isinstance(value, kind):
        raise ArgumentTypeError(f"expected a JSON {what}, got: {quoted(text)}")
    return value


def quoted(text: str) -> str:
    """Return a wrong argument as an error repeats it: without what steers a terminal, and cut."""
    return repr(text if len(text) <= _QUOTED else f"{text[:_QUOTED]}...")


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
