"""A durable queue as commands show it, and how people write its limits."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import timedelta

from trigger_celery import RateLimit
from trigger_celery.client.queues import LIMITS, QueueInfo
from trigger_celery.errors import TriggerError
from trigger_celery.vocabulary.records import Holder, Limits, Rate
from trigger_celery_django.management.output import count, length, quoted

COLUMNS = (
    "name",
    "limit",
    "key_limit",
    "rate",
    "key_rate",
    "held",
    "waiting",
    "waiting_since",
    "state",
)
HOLDER_COLUMNS = ("id", "queue", "task", "key", "worker", "since")
NO_LIMIT = "none"
LABELS = dict(zip(LIMITS.values(), ("limit", "key_limit", "rate", "key_rate"), strict=True))
"""What a table calls the limits, by their names in ``Limits``."""

_UNITS = {"1s": 1, "1m": 60, "1h": 3_600, "1d": 86_400}


def data(queue: QueueInfo) -> dict[str, object]:
    """Return what JSON shows of a queue; rates with the seconds between two starts."""
    return {
        "name": queue.name,
        "limits": _as_data(queue.limits),
        "declared": _as_data(queue.declared),
        "overridden": [name for name, own in LIMITS.items() if own in queue.overridden],
        "held": queue.held,
        "waiting": queue.waiting,
        "waiting_since": queue.waiting_since,
        "stopped": queue.stopped,
        "paused_at": queue.paused_at,
        "paused_by": queue.paused_by,
        "pause_reason": queue.pause_reason,
    }


def row(queue: QueueInfo) -> dict[str, object]:
    """Return what a table shows of a queue."""
    return {
        "name": queue.name,
        **{label: _limit(queue, own) for own, label in LABELS.items()},
        "held": queue.held,
        "waiting": queue.waiting,
        "waiting_since": queue.waiting_since,
        "state": state(queue),
    }


def state(queue: QueueInfo) -> str:
    """Return in one line whether runs of a queue are started, or why not."""
    if queue.paused_at is None:
        return queue.stopped or "open"
    by = f" by {queue.paused_by}" if queue.paused_by else ""
    reason = f": {queue.pause_reason}" if queue.pause_reason else ""
    return f"paused{by}{reason}"


def limits_of(queue: QueueInfo) -> str:
    """Return the limits of a queue in one line."""
    shown = {label.replace("_", " "): _limit(queue, own) for own, label in LABELS.items()}
    return ", ".join(f"{name} {text}" for name, text in shown.items() if text) or "no limits"


def holder(each: Holder) -> dict[str, object]:
    """Return what is shown of a run that holds a slot."""
    return {
        "id": each.run_id,
        "queue": each.queue,
        "task": each.task,
        "key": each.key,
        "worker": each.worker,
        "since": each.since,
    }


def whole(text: str) -> int | None:
    """Return a whole number of zero or more, or None for ``none``."""
    if text == NO_LIMIT:
        return None
    try:
        return count(text, least=0)
    except ArgumentTypeError as error:
        raise ArgumentTypeError(f"{error}; {NO_LIMIT!r} is no limit") from None


def rate(text: str) -> RateLimit | None:
    """Return what ``100/60s`` or ``100/60s,burst=20`` says, or None for ``none``."""
    if text == NO_LIMIT:
        return None
    said, _, burst = text.partition(",burst=")
    limit, _, per = said.partition("/")
    if not limit.isdecimal() or not per or (burst and not burst.isdecimal()):
        raise ArgumentTypeError(
            f"expected a rate such as 100/60s, 10/1h or 100/60s,burst=20, or {NO_LIMIT!r}, "
            f"got: {quoted(text)}"
        )
    try:
        return RateLimit(count(limit), per=length(per), burst=count(burst or "1"))
    except TriggerError as error:
        raise ArgumentTypeError(str(error)) from None


def _limit(queue: QueueInfo, name: str) -> str:
    """Return a limit that holds, and what code says if that is something else."""
    text = _text(getattr(queue.limits, name))
    if name not in queue.overridden:
        return text
    declared = _text(getattr(queue.declared, name))
    return f"{text or NO_LIMIT} (code: {declared or NO_LIMIT})"


def _text(limit: int | Rate | None) -> str:
    if not isinstance(limit, Rate):
        return "" if limit is None else str(limit)
    burst = "" if limit.burst == 1 else f",burst={limit.burst}"
    for unit, seconds in _UNITS.items():
        starts = round(timedelta(seconds=seconds) / limit.interval)
        # The interval was rounded up where code said it in this unit.
        if starts and RateLimit(starts, per=seconds).rate.interval == limit.interval:
            return f"{starts}/{unit}{burst}"
    return f"1/{limit.interval.total_seconds():g}s{burst}"


def _as_data(limits: Limits) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, own in LIMITS.items():
        value = getattr(limits, own)
        if isinstance(value, Rate):
            value = {"interval": value.interval.total_seconds(), "burst": value.burst}
        found[name] = value
    return found
