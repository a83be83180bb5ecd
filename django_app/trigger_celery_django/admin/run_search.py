"""What is typed into the search of the runs list, as filters of ``list_runs``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from django.utils.dateparse import parse_date, parse_datetime

from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.printable import visible

LONGEST = 500
"""So many characters of a search are read."""
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_WORDS = {"running": RunState.EXECUTING, "waiting": RunState.SUSPENDED}
_ID = re.compile(r"[0-9a-f]{4,32}")


@dataclass(slots=True)
class Search:
    """What a search asks for: ``filters`` of ``list_runs``, the beginning of an id, mistakes."""

    filters: dict[str, Any] = field(default_factory=dict)
    id_prefix: str = ""
    mistakes: list[str] = field(default_factory=list)
    is_impossible: bool = False
    """Whether nothing can be found, as no task has a name like the one asked for."""


def parsed(text: str, *, tasks: Iterable[str], now: datetime) -> Search:
    """Read a search: words ``name:value``, several values by comma, or the beginning of an id.

    ``task:`` takes ``*`` for anything, among the names ``tasks``. What cannot be read is named in
    ``mistakes``, and left out.
    """
    search = Search()
    for word in _words(text[:LONGEST], search):
        name, colon, value = word.partition(":")
        if not colon:
            _bare(word, search)
        elif name in _READERS and value:
            _READERS[name](value, search, now)
        elif name == "task" and value:
            _tasks(value, search, list(tasks))
        else:
            known = ", ".join(f"{each}:" for each in ("task", *_READERS))
            search.mistakes.append(f"{visible(word)} is not understood: there are {known} and ids")
    return search


def _words(text: str, search: Search) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        search.mistakes.append("a quotation mark is not closed")
        return text.replace('"', " ").replace("'", " ").split()


def _bare(word: str, search: Search) -> None:
    digits = word.replace("-", "").lower()
    if _ID.fullmatch(digits):
        search.id_prefix = digits
    else:
        search.mistakes.append(
            f"{visible(word)} is no id: the first four digits or more of one are enough"
        )


def _tasks(value: str, search: Search, tasks: list[str]) -> None:
    wanted: list[str] = []
    for pattern in value.split(","):
        if "*" in pattern:
            wanted += [task for task in tasks if fnmatchcase(task, pattern)]
        else:
            wanted.append(pattern)
    if wanted:
        search.filters["task"] = wanted
    else:
        search.is_impossible = True


def _status(value: str, search: Search, now: datetime) -> None:
    states = []
    for word in value.lower().split(","):
        try:
            states.append(_WORDS.get(word) or RunState(word))
        except ValueError:
            known = ", ".join([*_WORDS, *(state for state in RunState)])
            search.mistakes.append(f"status:{visible(word)} is none of {known}")
    search.filters["state"] = states


def _exactly(name: str) -> Callable[[str, Search, datetime], None]:
    def read(value: str, search: Search, now: datetime) -> None:
        search.filters[name] = value

    return read


def _tag(value: str, search: Search, now: datetime) -> None:
    search.filters.setdefault("tag", []).append(value)


def _moment(name: str) -> Callable[[str, Search, datetime], None]:
    def read(value: str, search: Search, now: datetime) -> None:
        moment = _ago(value, now) or _at(value)
        if moment is None:
            search.mistakes.append(f"{name}:{visible(value)} is no time: 2h, 3d or 2026-11-30")
        else:
            search.filters[name] = moment

    return read


def _ago(value: str, now: datetime) -> datetime | None:
    number, unit = value[:-1], value[-1:]
    if unit not in _UNITS or not number.isdecimal() or len(number) > 6:
        return None
    try:
        return now - timedelta(**{_UNITS[unit]: int(number)})
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def _at(value: str) -> datetime | None:
    try:
        day = parse_date(value)
        moment = datetime(day.year, day.month, day.day) if day else parse_datetime(value)
    except ValueError:
        return None
    if moment is None:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_READERS: Mapping[str, Callable[[str, Search, datetime], None]] = {
    "status": _status,
    "queue": _exactly("queue"),
    "tag": _tag,
    "schedule": _exactly("schedule"),
    "error": _exactly("error"),
    "parent": _exactly("parent"),
    "root": _exactly("root"),
    "since": _moment("since"),
    "until": _moment("until"),
}
