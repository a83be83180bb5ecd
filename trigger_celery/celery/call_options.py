"""Which options of ``apply_async`` are Celery's, and which say something of the run."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from trigger_celery.celery.canvas import of_message
from trigger_celery.declare.options import TriggerOptions
from trigger_celery.declare.queue import Queue
from trigger_celery.vocabulary.checks import duration, instant

OURS = (
    "ttl",
    "idempotency_key",
    "idempotency_scope",
    "idempotency_ttl",
    "debounce",
    "tags",
    "metadata",
    "max_attempts",
    "max_duration",
    "concurrency_key",
    "parent_close",
)
"""Trigger options that ``apply_async`` takes too; ``priority`` is Celery's there.

So is ``queue``, unless it is a :class:`Queue`.
"""


def take_ours(
    options: dict[str, Any], *, countdown: float | None, eta: datetime | None
) -> TriggerOptions:
    """Remove our options from those of a call and return them with when the run may start.

    A priority stays, as that of the messages.

    Raises :exc:`InvalidOption`, :exc:`InvalidTime`, :exc:`InvalidName`.
    """
    ours = {name: options.pop(name) for name in OURS if name in options}
    if isinstance(options.get("queue"), Queue):
        ours["queue"] = options.pop("queue")
    if eta is not None:
        ours["delay"] = instant(eta, "eta")
    elif countdown:
        ours["delay"] = duration(countdown, "countdown")
    taken = TriggerOptions(**ours, priority=options.get("priority"))
    if taken.priority is not None:
        options["priority"] = of_message(taken.priority)
    return taken
