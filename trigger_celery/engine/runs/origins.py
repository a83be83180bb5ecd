"""What started a run, as text in its row and back."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from trigger_celery.body.context import ScheduledRun
from trigger_celery.declare.schedule import zone
from trigger_celery.ports import Codec
from trigger_celery.vocabulary.records import FromEvent, FromPerson, FromSchedule, Origin


def encode_origin(codec: Codec, origin: Origin | None) -> str:
    """Return the text of an origin, "" for a plain call. What is empty of a person is left out."""
    if origin is None:
        return ""
    data = {each.name: getattr(origin, each.name) for each in fields(origin)}
    if isinstance(origin, FromPerson):
        data = {name: text for name, text in data.items() if text}
    elif isinstance(origin, FromSchedule):
        data["upcoming"] = list(origin.upcoming)
    return codec.encode(data, what="the origin of a run")


def decode_origin(codec: Codec, text: str) -> Origin | None:
    """Return what started a run; None for a plain call, and for what a later version wrote."""
    data: Any = codec.decode(text) if text else None
    if not isinstance(data, dict):
        return None
    try:
        if "schedule" in data:
            return FromSchedule(**{**data, "upcoming": tuple(data["upcoming"])})
        return FromEvent(**data) if "event" in data else FromPerson(**data)
    except TypeError:
        return None


def scheduled_run(codec: Codec, text: str) -> ScheduledRun | None:
    """Return which nominal time of which schedule started a run, None for all other runs.

    It is read from what was stored with the run, so that every replay sees the same.
    """
    origin = decode_origin(codec, text)
    if not isinstance(origin, FromSchedule):
        return None
    local = zone(origin.timezone)
    return ScheduledRun(
        key=origin.schedule,
        nominal_at=origin.nominal_at.astimezone(local),
        last_at=None if origin.last_at is None else origin.last_at.astimezone(local),
        upcoming=tuple(each.astimezone(local) for each in origin.upcoming),
        timezone=origin.timezone,
    )
