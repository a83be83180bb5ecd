"""``cron`` and ``every``: when a task's declaration says that it is to be started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from trigger_celery.declare.schedule_rules import rule
from trigger_celery.errors import DeclarationError, InvalidSchedule
from trigger_celery.vocabulary.checks import duration, valid_name
from trigger_celery.vocabulary.records import Overlap

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
