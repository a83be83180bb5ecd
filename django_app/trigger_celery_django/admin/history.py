"""The history of a run as people read it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from trigger_celery_django.drawing.times import moment
from trigger_celery_django.models import History
from trigger_celery_django.printable import visible

SHOWN = 200
"""So many entries are shown, the last ones."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the history: when, what, by which person and why."""

    at: str
    verb: str
    state: str
    says: str


def entries(history: Iterable[History], now: datetime) -> list[Entry]:
    """Return the history of a run, oldest first."""
    return [
        Entry(
            moment(each.at, now, exact=True),
            each.verb.replace("_", " "),
            each.state,
            visible(_says(each)),
        )
        for each in list(history)[-SHOWN:]
    ]


def reason_of(entry: History) -> str:
    """Return which person did something and why: ``by user:ada: too late``, or nothing."""
    data = _data(entry)
    by, reason = data.get("by"), data.get("reason")
    return ": ".join(str(each) for each in (f"by {by}" if by else "", reason) if each)


def _says(entry: History) -> str:
    return reason_of(entry) or entry.worker


def _data(entry: History) -> dict[str, object]:
    try:
        data = json.loads(entry.data)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
