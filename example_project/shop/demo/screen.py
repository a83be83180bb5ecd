"""What the demo prints: one line an event, with the time since it began."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.core.management.base import OutputWrapper
from django.core.management.color import Style

Paint = Callable[[str], str]


class Screen:
    """Prints lines; coloured where Django's own commands would be."""

    def __init__(self, out: OutputWrapper, style: Style) -> None:
        self._out = out
        self._began = time.monotonic()
        self.good: Paint = style.SUCCESS
        self.bad: Paint = style.ERROR
        self.warn: Paint = style.WARNING
        self.title: Paint = style.MIGRATE_HEADING
        self.strong: Paint = style.MIGRATE_LABEL

    @property
    def elapsed(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self._began

    def event(self, text: str, paint: Paint = str) -> None:
        """Print what happened just now."""
        self.line(f"{self.elapsed:6.2f} s  {paint(text)}")

    def heading(self, text: str) -> None:
        """Print a heading."""
        self.line()
        self.line(self.title(text))

    def line(self, text: str = "") -> None:
        """Print a line at once: the output is watched live."""
        self._out.write(text)
        self._out.flush()
