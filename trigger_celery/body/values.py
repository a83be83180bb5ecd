"""``now``, ``uuid4`` and ``random``: values that differ each time, recorded so that they don't."""

from __future__ import annotations

import random as _random
import sys
import uuid as _uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

from trigger_celery.body.both_styles import Durable, DurableDatetime, DurableFloat, DurableUUID
from trigger_celery.body.context import StepCall, current_session
from trigger_celery.body.steps import primitive, source_line
from trigger_celery.vocabulary.records import StepKind


@primitive
def now() -> DurableDatetime:
    """Return the aware current time; in a run the database's, and every replay gets the same one.

    So ``sleep_until(now() + timedelta(hours=1))`` is right where the worker's clock is wrong.
    """
    session = current_session()
    return _recorded("now", _of_this_process if session is None else session.now)


@primitive
def uuid4() -> DurableUUID:
    """Return a random ``UUID``; in a run every replay gets the same one."""
    return _recorded("uuid4", _uuid.uuid4)


@primitive
def random() -> DurableFloat:
    """Return a random ``float`` of [0, 1); in a run every replay gets the same one."""
    return _recorded("random", _random.random)


def _of_this_process() -> datetime:
    return datetime.now(UTC)


def _recorded(name: str, fn: Callable[[], object]) -> Durable[Any]:
    session = current_session()
    if session is None or session.in_step:
        return cast(Durable[Any], fn())
    source = source_line(sys._getframe(2))
    return session.step(StepCall(name=name, kind=StepKind.VALUE, fn=fn, kwargs={}, source=source))
