"""What started a run, as its body may see it."""

from __future__ import annotations

from typing import Any

from trigger_celery.body.context import ScheduledRun
from trigger_celery.declare.schedule_rules import zone
from trigger_celery.ports import Codec


def scheduled_run(codec: Codec, origin: str) -> ScheduledRun | None:
    """Return which nominal time of which schedule started a run, None for all other runs.

    It is read from what was stored with the run, so that every replay sees the same.
    """
    told: Any = codec.decode(origin) if origin else None
    if not isinstance(told, dict) or "schedule" not in told:
        return None
    local = zone(told["timezone"])
    last_at = told["last_at"]
    return ScheduledRun(
        key=told["schedule"],
        nominal_at=told["nominal_at"].astimezone(local),
        last_at=None if last_at is None else last_at.astimezone(local),
        upcoming=tuple(each.astimezone(local) for each in told["upcoming"]),
        timezone=told["timezone"],
    )
