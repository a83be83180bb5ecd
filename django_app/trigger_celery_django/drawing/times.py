"""Lengths of time and moments as people read them."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.formats import date_format

_DAY = 86_400


def spoken(length: timedelta) -> str:
    """Return a length in at most two units: 38 ms, 1.26 s, 4 m 02 s, 3 d 2 h."""
    seconds = max(0.0, length.total_seconds())
    if seconds < 0.9995:
        return f"{seconds * 1_000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {seconds:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02d} m"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def since(moment: datetime, now: datetime) -> str:
    """Return how long ago a moment was, in one unit: 5 min ago."""
    seconds = max(0.0, (now - moment).total_seconds())
    if seconds < 60:
        return f"{seconds:.0f} s ago"
    if seconds < 3_600:
        return f"{seconds // 60:.0f} min ago"
    if seconds < 2 * _DAY:
        return f"{seconds // 3_600:.0f} h ago"
    return f"{seconds // _DAY:.0f} d ago"


def moment(at: datetime, now: datetime, *, exact: bool = False) -> str:
    """Return a moment where the reader is: the time of day, and the day unless it is today.

    ``exact`` adds the milliseconds.
    """
    here, today = timezone.localtime(at), timezone.localtime(now).date()
    time = here.strftime("%H:%M:%S") + (f".{here.microsecond // 1000:03d}" if exact else "")
    if here.date() == today:
        return time
    if abs((here.date() - today).days) < 300:
        return f"{date_format(here, 'D j M')}, {time}"
    return f"{here.date().isoformat()}, {time}"
