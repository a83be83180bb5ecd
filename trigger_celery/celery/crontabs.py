"""Celery's ``crontab()`` objects as schedules of ours, where they say the same."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from celery.schedules import crontab

from trigger_celery.declare.schedule import Timetable, cron
from trigger_celery.errors import InvalidSchedule

_STEPS = re.compile(r"\*/[0-9]{1,2}")


def as_schedules(given: object) -> object:
    """Return what ``schedule=`` was given, with each ``crontab`` in it as a :func:`cron`.

    Raises :exc:`InvalidSchedule` for one that no cron expression says.
    """
    if isinstance(given, (list, tuple)):
        return [as_schedules(each) for each in given]
    return _as_cron(given) if isinstance(given, crontab) else given


def _as_cron(given: Any) -> Timetable:
    days = _field(given._orig_day_of_month, given.day_of_month, range(1, 32))
    weekdays = _field(given._orig_day_of_week, given.day_of_week, range(7))
    if not days.startswith("*") and not weekdays.startswith("*"):
        raise InvalidSchedule(
            f"{given!r} names days of the month and of the week: Celery means days that are both, "
            "cron those that are either. Name one of them and test the other in the task"
        )
    if given.nowfun is not None:
        raise InvalidSchedule(f"{given!r} has a nowfun: schedules go by the database's clock")
    minutes = _field(given._orig_minute, given.minute, range(60))
    hours = _field(given._orig_hour, given.hour, range(24))
    months = _field(given._orig_month_of_year, given.month_of_year, range(1, 13))
    return cron(f"{minutes} {hours} {days} {months} {weekdays}", tz=_zone(given))


def _field(said: object, values: Collection[int], every: range) -> str:
    if len(values) == len(every):
        return "*"
    if isinstance(said, str) and _STEPS.fullmatch(said) and len(values) > 1:
        return said  # where clocks change, cron treats it as it treats "*"
    return ",".join(map(str, sorted(values)))


def _zone(given: Any) -> str:
    """Return the zone of the schedule's app, by which Celery would read it."""
    zone = given.tz
    return str(getattr(zone, "key", zone))
