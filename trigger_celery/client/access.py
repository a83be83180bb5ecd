"""What a verb is called with: the engine of this process, and its caller with what it may do.

Every verb of this package begins with :func:`permitted`. Plain code may do everything; HTTP
and the admin call verbs inside ``with acting(by=..., authorize=...)``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Protocol
from uuid import UUID

from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs.control import get, no_run, record_of
from trigger_celery.errors import BlocksEventLoop, InvalidOption, RequestRefused, UsageError
from trigger_celery.limits import RequestRate
from trigger_celery.vocabulary.checks import valid_name
from trigger_celery.vocabulary.records import Rate, Run


class _Slot:
    """Holds the one installed engine."""

    engine: Engine | None = None


def install_engine(engine: Engine | None) -> Engine | None:
    """Make ``engine`` the one of this process; return the one before, to be put back."""
    before, _Slot.engine = _Slot.engine, engine
    return before


def installed_engine() -> Engine:
    """Return the engine of this process. Raises :exc:`UsageError` if there is none."""
    if _Slot.engine is None:
        raise UsageError(
            "trigger-celery is not set up in this process: add 'trigger_celery_django' to "
            "INSTALLED_APPS and call django.setup() before durable tasks are used"
        )
    return _Slot.engine


def database_time() -> datetime:
    """Return the database's time, by which all times of runs are judged."""
    return installed_engine().patient.now()


@contextmanager
def using_engine(engine: Engine) -> Iterator[None]:
    """Make ``engine`` the one of the process for a ``with`` block, and put back what was."""
    before = install_engine(engine)
    try:
        yield
    finally:
        install_engine(before)


REASON_LENGTH = 1_000
"""How many characters a ``reason`` may have."""


class Authorize(Protocol):
    """Decides whether a caller may do something."""

    def __call__(self, verb: str, subject: object, by: str, /) -> None:
        """Raise what the caller gets if ``by`` may not do ``verb`` to ``subject``.

        ``verb`` is the name of the function in ``trigger_celery``, as ``"cancel_run"``;
        ``subject`` is what identifies its object: the id of a run, token or wait, the name of
        a task, event or queue, the key of a schedule; None for a list.
        """


def allow(verb: str, subject: object, by: str) -> None:
    """Allow everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """On whose behalf verbs are called; ``via`` names the way in (``"api"``), "" is plain code.

    ``by`` goes into the record of verbs that are called without a ``by`` of their own. ``source``
    is where events come from that it sends, and has idempotency keys of its own; "" is this
    application. ``tasks`` are those whose runs there are for it, None for all.
    """

    by: str = ""
    via: str = ""
    source: str = ""
    tasks: frozenset[str] | None = None
    authorize: Authorize = allow


PLAIN_CODE = Caller()
API_SOURCE = "api:"
"""What the sources of API keys begin with; the name of the key follows."""

_caller: ContextVar[Caller] = ContextVar("trigger_celery_caller", default=PLAIN_CODE)


@contextmanager
def acting(caller: Caller) -> Iterator[None]:
    """Let the verbs that are called inside be those of ``caller``."""
    before = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(before)


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """What a permitted call works with: the engine, the caller (``by``) and the ``reason``."""

    engine: Engine
    by: str
    reason: str
    caller: Caller

    def get_run(self, run_id: UUID) -> Run:
        """Return a run. Raises ``RunNotFound``, also for one of a task that is not the caller's."""
        run = get(self.engine, run_id)
        if not self.sees(run.spec.task):
            raise no_run(run_id)
        return run

    def sees(self, task: str) -> bool:
        """Whether there are runs of this task for the caller."""
        return self.caller.tasks is None or task in self.caller.tasks

    @property
    def record(self) -> dict[str, str]:
        """What a history keeps of the call."""
        return record_of(self.by, self.reason)


def permitted(verb: str, subject: object = None, *, by: str = "", reason: str = "") -> Permit:
    """Return what a call of ``verb`` works with, once it is known to be allowed.

    Raises ``InvalidName`` for a ``by`` of more than 200 printable characters,
    :exc:`InvalidOption` for a ``reason`` that is not one line of up to 1,000 characters, and
    what the caller's :class:`Authorize` raises, and ``BlocksEventLoop``.
    """
    if by:
        valid_name(by, f"the by of {verb}()")
    if reason != "":
        _check_reason(verb, reason)
    caller = check_permission(verb, subject, by=by)
    engine = installed_engine()
    check_thread(engine, verb)
    return Permit(engine=engine, by=by or caller.by, reason=reason, caller=caller)


def check_thread(engine: Engine, verb: str, twin: str = "") -> None:
    """Raise :exc:`BlocksEventLoop` if ``verb`` would block an event loop; ``twin`` would not."""
    if not engine.store.may_block():
        raise BlocksEventLoop(
            f"{verb}() waits for the database and would block this thread's event loop: write "
            f"`await {twin or f'a{verb}'}(...)`"
        )


def check_permission(verb: str, subject: object, *, by: str = "") -> Caller:
    """Return the caller if it may do ``verb``; for what is given an engine."""
    caller = _caller.get()
    caller.authorize(verb, subject, by or caller.by)
    return caller


def _check_reason(verb: str, reason: object) -> None:
    if not isinstance(reason, str) or len(reason) > REASON_LENGTH or not reason.isprintable():
        raise InvalidOption(
            f"expected the reason given to {verb}() to be one line of at most "
            f"{REASON_LENGTH:,} characters, got: {reason!r}"
        )


def count_request(kind: str, sender: str, rate: RequestRate | None) -> None:
    """Count a request of a sender, which ``kind`` and ``sender`` name; nothing without a rate.

    Raises :exc:`RequestRefused` (429, with ``retry_after``) for one that comes too early.
    """
    if rate is None:
        return
    interval = timedelta(microseconds=ceil(rate.per * 1_000_000 / rate.limit))
    counted = Rate(interval=interval, burst=rate.burst)
    wait = installed_engine().patient.queues.count_request(kind, sender, counted)
    if wait > timedelta(0):
        raise RequestRefused(
            429,
            f"too many requests: at most {rate.limit:,} in {rate.per:g} s, of them "
            f"{rate.burst:,} at once",
            retry_after=wait,
        )
