"""``on_event=``: what events start runs of a task."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass

from trigger_celery.errors import DeclarationError
from trigger_celery.values import JsonCodec
from trigger_celery.values.filters import Filter
from trigger_celery.vocabulary.checks import valid_name


@dataclass(frozen=True, slots=True)
class EventTrigger:
    """Each event of this name that passes the filter starts one run."""

    name: str
    filter: Mapping[str, object]


def event_trigger(
    task: str,
    signature: inspect.Signature,
    on_event: str | None,
    filter: Mapping[str, object] | None,
) -> EventTrigger | None:
    """Check ``on_event=`` and ``filter=`` of a task; None if no event starts it.

    Raises :exc:`DeclarationError`, :exc:`InvalidName` and :exc:`InvalidFilter`.
    """
    if on_event is None:
        if filter is not None:
            raise DeclarationError(f"task {task!r} has a filter= but no on_event= to filter")
        return None
    valid_name(on_event, f"on_event of task {task!r}")
    Filter(on_event, filter, JsonCodec())
    try:
        signature.bind(None)
    except TypeError as error:
        raise DeclarationError(
            f"expected task {task!r} with on_event= to take the event as its only argument: {error}"
        ) from None
    return EventTrigger(on_event, dict(filter or {}))
