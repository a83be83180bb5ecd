"""Hooks that write down their calls, and bodies that fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

from trigger_celery import (
    CurrentRun,
    RetryPolicy,
)
from trigger_celery.declare.hooks import HOOKS
from trigger_celery.testing import Harness

TWICE = RetryPolicy(max_attempts=2, min_delay=10, jitter=False)


class Calls:
    """Hooks that write down what they were called with."""

    def __init__(self) -> None:
        self.made: list[tuple[str, dict[str, Any]]] = []

    def all(self, *names: str) -> dict[str, Callable[..., None]]:
        """Return these hooks, or all there are but ``catch_error``."""
        return {name: partial(self._hook, name) for name in names or HOOKS if name != "catch_error"}

    def _hook(self, name: str, **given: Any) -> None:
        self.made.append((name, given))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.made]

    def of(self, name: str) -> dict[str, Any]:
        """Return what the only call of a hook was given."""
        (given,) = [given for each, given in self.made if each == name]
        return given


def fail() -> None:
    raise LookupError("no such order")


def notes(harness: Harness, run_id: UUID) -> list[dict[str, Any]]:
    """Return what the history says of failed hooks."""
    history = harness.memory.runs.history(run_id)
    recorded = [json.loads(entry.data) for entry in history if entry.verb == "hook"]
    return [note for note in recorded if "error" in note]


def decides(answer: object) -> Callable[..., object]:
    """Return a ``catch_error`` that always says the same."""

    def catch_error(run: CurrentRun, error: Exception) -> object:
        return answer

    return catch_error
