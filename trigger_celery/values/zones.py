"""Time zones of whatever library: a fixed offset is stored as such, a named zone by its name."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, time, timedelta, timezone, tzinfo
from zoneinfo import TZPATH, ZoneInfo

from trigger_celery.values.refusal import Refused

_HINT = (
    "use a zoneinfo.ZoneInfo that has a key, or keep the instant alone: "
    "`value.astimezone(datetime.timezone.utc)`"
)
_HINT_OF_A_TIME = "store its zone's name beside it: `value.replace(tzinfo=None)`"

# Real ones also where a test has replaced the classes of ``datetime`` since.
_JANUARY = datetime(2026, 1, 1)


def known_zone(value: datetime | time) -> tzinfo | None:
    """The ``datetime.timezone`` or ``ZoneInfo`` that says what the zone of ``value`` says.

    Raises ``Refused`` for a zone that has neither one offset all year nor a name.
    """
    zone = value.tzinfo
    if zone is None or type(zone) is timezone:
        return zone
    if type(zone) is ZoneInfo and zone.key is not None:
        return zone
    found = _named(zone) or _fixed(zone, value)
    if found is None:
        hint = _HINT_OF_A_TIME if isinstance(value, time) else _HINT
        raise Refused(type(zone).__qualname__, hint)
    return found


def _fixed(zone: tzinfo, value: datetime | time) -> timezone | None:
    """``None`` if the offset depends on the date, or if the zone does not say."""
    moment = _JANUARY.replace(tzinfo=zone) if isinstance(value, time) else value
    probes = (moment, moment.replace(month=1, day=1), moment.replace(month=7, day=1))
    try:
        # Zones that follow the examples of Python's documentation have an offset for None too.
        offsets = {zone.utcoffset(None), *map(zone.utcoffset, probes)}
        return timezone(_only(offsets))
    except Exception:
        # A stranger's zone may raise anything; the refusal says what helps.
        return None


def _only(offsets: set[timedelta | None]) -> timedelta:
    (offset,) = offsets
    if offset is None:
        raise ValueError("no offset")
    return offset


def _named(zone: tzinfo) -> ZoneInfo | None:
    for name in _names(zone):
        try:
            return ZoneInfo(name)
        except (ValueError, LookupError, OSError):
            continue
    return None


def _names(zone: tzinfo) -> Iterator[str]:
    """What zoneinfo's kin, pytz and dateutil call it, if it is more than an offset."""
    if isinstance(zone, ZoneInfo):
        names: tuple[object, ...] = (zone.key,)
    else:
        names = () if _has_offset(zone) else (getattr(zone, "zone", None), _file(zone))
    return (name for name in names if type(name) is str)


def _has_offset(zone: tzinfo) -> bool:
    try:
        return zone.utcoffset(None) is not None
    except Exception:
        # A stranger's zone may raise anything; then it is no fixed offset either.
        return False


def _file(zone: tzinfo) -> str | None:
    path = getattr(zone, "_filename", None)
    if type(path) is not str:
        return None
    root = next((root for root in TZPATH if path.startswith(f"{root}/")), None)
    return path if root is None else path[len(root) + 1 :]
