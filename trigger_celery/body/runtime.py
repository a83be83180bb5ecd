"""The engine that this process works with, for calls that are made outside of a run."""

from __future__ import annotations

from typing import Protocol

from trigger_celery.body.queue_info import QueueVerbs
from trigger_celery.body.run_info import RunVerbs
from trigger_celery.body.token_verbs import TokenVerbs
from trigger_celery.errors import UsageError
from trigger_celery.ports import Codec


class Verbs(RunVerbs, TokenVerbs, QueueVerbs, Protocol):
    """What authors may ask of the engine."""

    @property
    def codec(self) -> Codec: ...

    def send_event(
        self, name: str, payload: object, *, id: str | None = None, source: str = ""
    ) -> str: ...


class _Slot:
    """Holds the one installed engine."""

    verbs: Verbs | None = None


def install(verbs: Verbs) -> Verbs | None:
    """Make ``verbs`` the engine of this process; return the one before."""
    before, _Slot.verbs = _Slot.verbs, verbs
    return before


def uninstall(before: Verbs | None) -> None:
    """Put back what :func:`install` returned."""
    _Slot.verbs = before


def installed() -> Verbs:
    """Return the engine. Raises :exc:`UsageError` if nothing installed one."""
    if _Slot.verbs is None:
        raise UsageError(
            "trigger-celery is not set up in this process: add 'trigger_celery_django' to "
            "INSTALLED_APPS and call django.setup() before durable tasks are used"
        )
    return _Slot.verbs
