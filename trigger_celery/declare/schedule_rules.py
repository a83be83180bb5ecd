"""The rules that name the times of a schedule: a cron expression in a time zone, or an interval."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice
from typing import Protocol
from zoneinfo import ZoneInfo

from trigger_celery.errors import InvalidSchedule
from trigger_celery.vocabulary.checks import LONGEST

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SHORTEST = timedelta(seconds=1)
ZONE_LENGTH = 64


NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
"""What cron takes in the place of five fields."""


def _item(value: str, *others: str) -> re.Pattern[str]:
    plain = rf"(?:\*|{value}-{value})(?:/(?P<step>[0-9]{{1,2}}))?"
    return re.compile("|".join([plain, value, *others]), re.ASCII)


# CronSim reads more: seconds, a step after one value, which cron ignores, and a step after L,
# which it ignores itself.
FIELDS = (
    ("minute", _item("[0-9]{1,2}"), 59),
    ("hour", _item("[0-9]{1,2}"), 23),
    ("day of month", _item("[0-9]{1,2}", "LW?"), 31),
    ("month", _item("(?:[0-9]{1,2}|[A-Z]{3})"), 12),
    ("day of week", _item("(?:[0-7]|[A-Z]{3})", "[0-7]L", "(?:[0-7]|[A-Z]{3})#[1-5]"), 7),
)
"""The fields of an expression: its name, what may stand between commas, and the widest step."""


class Rule(Protocol):
    """Names times without end, the same ones in every process."""

    def after(self, moment: datetime) -> datetime | None:
        """Return the first time after ``moment``, in UTC; None if there is none any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CronRule:
    """The times of a cron expression in a time zone, as Debian's cron keeps them."""

    expression: str
    timezone: str

    def after(self, moment: datetime) -> datetime | None:
        """Return the first time after ``moment``, in UTC; None if there is none any more."""
        for found in _matches(self.expression, moment.astimezone(zone(self.timezone))):
            # Where an hour comes twice the search begins at its first pass.
            if (instant := found.astimezone(UTC)) > moment:
                return instant
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class EveryRule:
    """All multiples of an interval since 1970, so that a deployment shifts nothing."""

    interval: timedelta

    def after(self, moment: datetime) -> datetime | None:
        """Return the first time after ``moment``, in UTC; None if there is none any more."""
        passed = (moment - EPOCH) // self.interval
        return EPOCH + (passed + 1) * self.interval


def rule(*, cron: str = "", every: timedelta | None = None, timezone: str = "UTC") -> Rule:
    """Return the checked rule of a schedule that has either ``cron`` or ``every``.

    Raises :exc:`InvalidSchedule` for both or none, for what cannot be read, for what never
    fires and for an unknown time zone.
    """
    if bool(cron) == (every is not None):
        raise InvalidSchedule(
            f"expected a schedule to have either cron or every, got: {cron!r} and {every!r}"
        )
    if every is not None:
        return EveryRule(interval=_interval(every))
    zone(timezone)
    found = CronRule(expression=_expression(cron), timezone=timezone)
    if found.after(EPOCH) is None:
        raise InvalidSchedule(f"the schedule {cron!r} never fires: no date matches all its fields")
    return found


def upcoming(rule: Rule, moment: datetime, count: int) -> tuple[datetime, ...]:
    """Return the next ``count`` times after ``moment``."""
    return tuple(islice(instants(rule, moment), count))


def instants(rule: Rule, moment: datetime) -> Iterator[datetime]:
    """Yield all times after ``moment``, earliest first."""
    found = rule.after(moment)
    while found is not None:
        yield found
        found = rule.after(found)


def zone(name: str) -> tzinfo:
    """Return a time zone. Raises :exc:`InvalidSchedule` for an unknown name."""
    try:
        if not 0 < len(name) <= ZONE_LENGTH:
            raise ValueError(name)
        return UTC if name == "UTC" else ZoneInfo(name)
    # Besides a KeyError: a name may be a path outside, or a folder of zones.
    except (KeyError, ValueError, OSError, TypeError):
        raise InvalidSchedule(
            f"expected the time zone of a schedule to be a name such as 'Europe/Paris', "
            f"got: {name!r}. If that is one, this system has no time zones: pip install tzdata"
        ) from None


def _interval(value: timedelta) -> timedelta:
    if not isinstance(value, timedelta) or not SHORTEST <= value <= LONGEST:
        raise InvalidSchedule(
            "expected the interval of a schedule to be a timedelta from one second to a hundred "
            f"years, got: {value!r}"
        )
    return value


def _expression(value: str) -> str:
    """Return the five fields, each of which can be read and means what it says."""
    if not isinstance(value, str) or len(value) > 255:
        raise InvalidSchedule(
            f"expected a cron expression to be text of at most 255 characters, got: {value!r}"
        )
    given = NICKNAMES.get(value.strip(), value)
    # In capitals some letters of other scripts would become the name of a day.
    fields = (given.upper() if given.isascii() else given).split()
    if len(fields) != len(FIELDS):
        known = ", ".join(NICKNAMES)
        raise InvalidSchedule(
            f"expected a cron expression of five fields (minute, hour, day of month, month, day "
            f"of week) or one of {known}, got: {value!r}"
        )
    for field, (name, item, most) in zip(fields, FIELDS, strict=True):
        for part in field.split(","):
            found = item.fullmatch(part)
            if found is None or int(found["step"] or 1) > most:
                raise InvalidSchedule(
                    f"expected the {name} of a cron expression to be values, ranges (1-5), * and "
                    f"steps of a range or * (*/5) up to {most}, got: {part!r} in {value!r}"
                )
    return " ".join(fields)


def _matches(expression: str, moment: datetime) -> Iterator[datetime]:
    try:
        from cronsim import CronSim, CronSimError
    except ImportError:
        raise InvalidSchedule(
            "cron() needs the package cronsim: pip install 'trigger-celery[schedules]'. "
            "every() works without it"
        ) from None
    try:
        return CronSim(expression, moment)
    except CronSimError as error:
        raise InvalidSchedule(
            f"expected a cron expression of five fields that fires some day, got: "
            f"{expression!r} ({error})"
        ) from None
