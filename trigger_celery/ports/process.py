"""What surrounds the engine in a process: how it publishes, encodes and measures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from trigger_celery.vocabulary.records import Nudge


class Dispatcher(Protocol):
    """How workers hear that a run may be claimed."""

    @property
    def refusals(self) -> int:
        """How many times in a row nothing of what was to be published could be."""

    def nudge(self, nudges: Sequence[Nudge]) -> None:
        """Publish a hint for each; a failure is logged and otherwise ignored."""

    def route(self, nudge: Nudge) -> str:
        """Return a name for the way of a nudge: two of one name arrive in their order."""

    def backlog(self, nudge: Nudge) -> int | None:
        """Return how many messages wait where this nudge would; None if that is not known."""


class Codec(Protocol):
    """How values become text and come back, with their exact types."""

    def encode(self, value: object, *, what: str = "value") -> str:
        """Return JSON text. Raises ``EncodeError`` or ``PayloadTooLarge``."""

    def decode(self, text: str) -> object:
        """Return the value. Raises ``DecodeError``."""


class Clock(Protocol):
    """The process's own clock; it measures and pauses, it never decides."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""

    def sleep(self, seconds: float) -> None:
        """Block this thread."""
