"""``now``, ``uuid4`` and ``random``: values that differ each time, recorded so that they don't."""

from __future__ import annotations

import random as _random
import sys
import uuid as _uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from trigger_celery.body.context import StepCall, current_session
from trigger_celery.body.steps import line_of, primitive
from trigger_celery.vocabulary.records import StepKind


@primitive
def now() -> Any:
    """Return the aware current time; in a run every replay gets the same one."""
    return _recorded("now", lambda: datetime.now(UTC))


@primitive
def uuid4() -> Any:
    """Return a random ``UUID``; in a run every replay gets the same one."""
    return _recorded("uuid4", _uuid.uuid4)


@primitive
def random() -> Any:
    """Return a random ``float`` of [0, 1); in a run every replay gets the same one."""
    return _recorded("random", _random.random)


def _recorded(name: str, fn: Callable[[], object]) -> Any:
    session = current_session()
    if session is None or session.in_step:
        return fn()
    source = line_of(sys._getframe(2))
    return session.step(StepCall(name=name, kind=StepKind.VALUE, fn=fn, kwargs={}, source=source))
