"""When a task is to be started: ``cron`` and ``every``, and the rules that name the times."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice
from typing import Any, Literal, Protocol
from zoneinfo import ZoneInfo

from trigger_celery.errors import DeclarationError, InvalidSchedule
from trigger_celery.vocabulary.checks import LONGEST, duration, valid_name
from trigger_celery.vocabulary.records import Overlap

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
    if not isinstance(cron, str):
        raise InvalidSchedule(f"expected cron to be a text, got: {cron!r}{_in_text(cron)}")
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


def _in_text(crontab: Any) -> str:
    """Return the advice for a ``crontab`` of Celery: the text that says the same."""
    parts = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
    fields = [getattr(crontab, f"_orig_{part}", None) for part in parts]
    if not all(isinstance(each, (str, int)) for each in fields):
        return ""
    said = " ".join(str(each).replace(" ", "") for each in fields)
    try:
        rule(cron=said)
    except InvalidSchedule:  # what Celery reads and cron does not, as "*/90"
        return ""
    return f". Write {said!r}, and its time zone as tz="


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


OverlapName = Literal["allow", "skip", "buffer", "cancel"]
"""What happens at a nominal time while the run before has not ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timetable:
    """A checked rule and its options; ``key`` is empty where the task's name is to be it."""

    cron: str = ""
    every: timedelta | None = None
    timezone: str = "UTC"
    key: str = ""
    overlap: Overlap = Overlap.SKIP
    catch_up: timedelta = timedelta(0)
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any]


def cron(
    expression: str,
    *,
    tz: str | ZoneInfo = "UTC",
    key: str = "",
    overlap: OverlapName = "skip",
    catch_up: timedelta | float = timedelta(0),
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Timetable:
    """Return a schedule for ``durable_task``: a cron expression of five fields, in a time zone.

    ``overlap`` says what happens while the run before has not ended: ``"skip"`` leaves the
    time out, ``"allow"`` starts another run beside it, ``"buffer"`` starts one as soon as it
    has ended, ``"cancel"`` cancels it first. ``catch_up`` is how late a nominal time may
    still start a run, one minute at least. ``args`` and ``kwargs`` are the run's arguments,
    ``key`` names the schedule (default: the task's name).

    Raises :exc:`InvalidSchedule` for an expression that cannot be read or never fires, and
    for an unknown time zone; :exc:`InvalidTime`, :exc:`InvalidName` for wrong options.
    """
    zone = tz.key if isinstance(tz, ZoneInfo) else tz
    return timetable(
        cron=expression,
        timezone=zone,
        key=key,
        overlap=overlap,
        catch_up=catch_up,
        args=args,
        kwargs=kwargs,
    )


def every(
    interval: timedelta,
    *,
    key: str = "",
    overlap: OverlapName = "skip",
    catch_up: timedelta | float = timedelta(0),
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Timetable:
    """Return a schedule for ``durable_task``: all multiples of ``interval`` since 1970, in UTC.

    So ``every(timedelta(minutes=5))`` fires at :00, :05, ... of each hour. The options are
    those of :func:`cron`. Raises :exc:`InvalidSchedule` for an interval under one second.
    """
    return timetable(
        every=interval, key=key, overlap=overlap, catch_up=catch_up, args=args, kwargs=kwargs
    )


def timetable(
    *,
    cron: str = "",
    every: timedelta | None = None,
    timezone: str = "UTC",
    key: str = "",
    overlap: str = "skip",
    catch_up: timedelta | float = timedelta(0),
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Timetable:
    """Check a rule and its options; raises what :func:`cron` says."""
    rule(cron=cron, every=every, timezone=timezone)
    if overlap not in set(Overlap):
        known = ", ".join(repr(item.value) for item in Overlap)
        raise InvalidSchedule(f"expected overlap to be one of {known}, got: {overlap!r}")
    if isinstance(args, str) or not isinstance(args, Sequence):
        raise InvalidSchedule(f"expected args of a schedule to be a list, got: {args!r}")
    return Timetable(
        cron=" ".join(cron.split()),
        every=every,
        timezone=timezone,
        key=valid_name(key, "the key of a schedule") if key else "",
        overlap=Overlap(overlap),
        catch_up=duration(catch_up, "catch_up"),
        args=tuple(args),
        kwargs=dict(kwargs or {}),
    )


def timetables(task: str, given: object) -> dict[str, Timetable]:
    """Return what a task's ``schedule=`` says, by key: one, or several in a list.

    Raises :exc:`DeclarationError` for anything else and for a key that is there twice.
    """
    several = list(given) if isinstance(given, (list, tuple)) else [given]
    found: dict[str, Timetable] = {}
    for number, each in enumerate(several, start=1):
        if not isinstance(each, Timetable):
            raise DeclarationError(
                f"expected schedule of task {task!r} to be cron(...) or every(...), got: {each!r}"
            )
        key = each.key or (task if number == 1 else f"{task}#{number}")
        valid_name(key, f"the key of a schedule of task {task!r}")
        if key in found:
            raise DeclarationError(f"task {task!r} has two schedules with the key {key!r}")
        found[key] = each
    return found
