"""The names and types of trigger options, for type checkers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypedDict

from trigger_celery.declare.options import Debounce, ParentClose, Scope
from trigger_celery.declare.queue import Queue


class OptionValues(TypedDict, total=False):
    """What :class:`~trigger_celery.TriggerOptions` takes, to be given by name."""

    delay: timedelta | float | datetime | None
    ttl: timedelta | float | datetime | None
    idempotency_key: str | Sequence[str] | None
    idempotency_scope: Scope | None
    idempotency_ttl: timedelta | float | None
    debounce: Debounce | None
    tags: Sequence[str]
    metadata: Mapping[str, Any] | None
    priority: int | None
    max_attempts: int | None
    max_duration: timedelta | float | None
    concurrency_key: str | None
    queue: Queue | str | None
    parent_close: ParentClose | None
