"""The types of the standard library that the codec stores whole, and their tagged forms.

A tagged form is ``{"$t": tag, "v": ...}`` and what else the type needs; loading calls the
tag's loader with those entries as keywords, so a missing or foreign entry is an error.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from trigger_celery.values.failures import Failure, from_data, to_data
from trigger_celery.values.refusal import Refused
from trigger_celery.values.zones import known_zone

Envelope = dict[str, object]

TAG = "$t"
"""The key that marks a tagged form; a user's dict that has it is stored in one itself."""


# Bound while the module is loaded: what a test puts in the place of datetime's classes is not used.
_datetime_text = datetime.isoformat
_read_datetime = datetime.fromisoformat


def _dump_bytes(value: bytes) -> Envelope:
    return {TAG: "bytes", "v": b64encode(value).decode("ascii")}


def _dump_datetime(value: datetime) -> Envelope:
    return {TAG: "datetime", **_zoned(value, _datetime_text), **_fold(value.fold)}


def _dump_date(value: date) -> Envelope:
    return {TAG: "date", "v": value.isoformat()}


def _dump_time(value: time) -> Envelope:
    return {TAG: "time", **_zoned(value, time.isoformat), **_fold(value.fold)}


def _dump_timedelta(value: timedelta) -> Envelope:
    return {TAG: "timedelta", "v": [value.days, value.seconds, value.microseconds]}


def _dump_decimal(value: Decimal) -> Envelope:
    if not value.is_finite():
        raise Refused("Decimal", "NaN and infinity are not stored: use `None` or `str(value)`")
    return {TAG: "decimal", "v": str(value)}


def _dump_failure(value: Failure) -> Envelope:
    return {TAG: "failure", "v": to_data(value)}


def _as_text(tag: str) -> Callable[[object], Envelope]:
    return lambda value: {TAG: tag, "v": str(value)}


def _fold(fold: int) -> Envelope:
    return {"fold": fold} if fold else {}


def _zoned(value: Any, text: Callable[[Any], str]) -> Envelope:
    """The ISO text, and what it does not say of the time zone: its key, or its given name."""
    zone = known_zone(value)
    if type(zone) is ZoneInfo:
        return {"v": text(value), "zone": zone.key}
    if zone is None or zone is UTC:
        return {"v": text(value)}
    name, plain = zone.tzname(None), timezone(_offset(zone)).tzname(None)
    form: Envelope = {"v": text(value if zone is value.tzinfo else value.replace(tzinfo=zone))}
    return form if name == plain else {**form, "name": name}


def _offset(zone: tzinfo) -> timedelta:
    offset = zone.utcoffset(None)
    assert offset is not None
    return offset


def _load_bytes(v: str) -> bytes:
    return b64decode(v, validate=True)


def _load_datetime(
    v: str, zone: str | None = None, name: str | None = None, fold: int = 0
) -> datetime:
    moment = _read_datetime(v).replace(fold=fold)
    if zone is not None:
        local = moment.replace(tzinfo=ZoneInfo(zone))
        # Where the rules of the zone changed since, the instant is kept and its reading moves.
        return (
            local if local.utcoffset() == moment.utcoffset() else moment.astimezone(ZoneInfo(zone))
        )
    return moment if name is None else moment.replace(tzinfo=_named(moment.utcoffset(), name))


def _load_time(v: str, zone: str | None = None, name: str | None = None, fold: int = 0) -> time:
    moment = time.fromisoformat(v).replace(fold=fold)
    if zone is not None:
        return moment.replace(tzinfo=ZoneInfo(zone))
    return moment if name is None else moment.replace(tzinfo=_named(moment.utcoffset(), name))


def _named(offset: timedelta | None, name: str) -> timezone:
    if offset is None:
        raise ValueError("a time zone's name without its offset")
    return timezone(offset, name)


def _load_timedelta(v: list[int]) -> timedelta:
    days, seconds, microseconds = v
    return timedelta(days, seconds, microseconds)


def _load_decimal(v: str) -> Decimal:
    value = Decimal(_text(v))
    if not value.is_finite():
        raise ValueError("not a finite number")
    return value


def _load_tuple(v: list[object]) -> tuple[object, ...]:
    return tuple(_list(v))


def _load_set(v: list[object]) -> set[object]:
    value = set(_list(v))
    if len(value) != len(v):
        raise ValueError("the same element twice")
    return value


def _load_frozenset(v: list[object]) -> frozenset[object]:
    return frozenset(_load_set(v))


def _load_dict(k: list[object], v: list[object]) -> dict[object, object]:
    value = dict(zip(_list(k), _list(v), strict=True))
    if len(value) != len(k):
        raise ValueError("the same key twice")
    return value


def _from_text(build: Callable[[str], object]) -> Callable[[str], object]:
    return lambda v: build(_text(v))


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"expected text, got: {type(value).__name__}")
    return value


def _list(value: list[Any]) -> list[Any]:
    if type(value) is not list:
        raise TypeError(f"expected a list, got: {type(value).__name__}")
    return value


DUMPERS: dict[type, Callable[[Any], Envelope]] = {
    bytes: _dump_bytes,
    datetime: _dump_datetime,
    date: _dump_date,
    time: _dump_time,
    timedelta: _dump_timedelta,
    Decimal: _dump_decimal,
    UUID: _as_text("uuid"),
    type(Path()): _as_text("path"),
    PurePosixPath: _as_text("posixpath"),
    PureWindowsPath: _as_text("windowspath"),
    Failure: _dump_failure,
}
"""By exact type, what has no values of other types inside."""

STORED = frozenset({*DUMPERS, bool, int, float, str, list, tuple, dict, set, frozenset, type(None)})
"""The types that need no registration."""

LOADERS: dict[str, Callable[..., object]] = {
    "bytes": _load_bytes,
    "datetime": _load_datetime,
    "date": _from_text(date.fromisoformat),
    "time": _load_time,
    "timedelta": _load_timedelta,
    "decimal": _load_decimal,
    "uuid": _from_text(UUID),
    "path": _from_text(Path),
    "posixpath": _from_text(PurePosixPath),
    "windowspath": _from_text(PureWindowsPath),
    "tuple": _load_tuple,
    "set": _load_set,
    "frozenset": _load_frozenset,
    "dict": _load_dict,
    "failure": from_data,
}
"""By tag; called with the entries of the tagged form as keywords."""
