"""Watches the effect log and the history of all runs, and prints what is new in them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from shop import effects
from shop.demo.processes import Process
from shop.demo.screen import Screen
from trigger_celery_django.models import History

PAUSE = 0.05
PRINTED = {
    "suspend": "is suspended",
    "wake": "is woken",
    "recover": "is taken from its dead worker",
    "complete": "is completed",
    "fail": "has failed",
}
"""Transitions that are printed as they happen, by their verb in the history."""
CROWD = frozenset({"send-welcome-email", "fetch_user", "mail_welcome"})
"""A task of many runs, and its steps: the demo prints one line of them all."""


class DemoFailed(Exception):
    """Something that was to happen did not."""


class Watch:
    """Prints what the runs do while the demo waits for something."""

    def __init__(self, screen: Screen, processes: Sequence[Process]) -> None:
        self._screen = screen
        self._processes = processes
        self._sequence = 0
        self._killed: set[int] = set()
        self.effects: list[effects.Effect] = []

    def expect_end_of(self, process: Process) -> None:
        """Note that the demo itself ended a process."""
        self._killed.add(process.pid)

    def until(self, what: str, happened: Callable[[], bool], *, seconds: float = 30) -> None:
        """Wait until ``happened()``. Raises :exc:`DemoFailed` if it takes too long."""
        give_up = time.monotonic() + seconds
        while True:
            self.look()
            if happened():
                return
            for process in self._processes:
                if not process.running and process.pid not in self._killed:
                    raise DemoFailed(f"{process.name} ended before {what}")
            if time.monotonic() > give_up:
                raise DemoFailed(f"after {seconds:.0f} s still not: {what}")
            time.sleep(PAUSE)

    def look(self) -> None:
        """Tell what is new."""
        news = [*self._new_effects(), *self._new_history()]
        for _, text in sorted(news):
            self._screen.event(text)

    def process_of(self, step: str, run: str) -> int | None:
        """Return the process that last began a step of a run, or None."""
        for entry in reversed(self.effects):
            if (entry.run, entry.step, entry.what) == (run, step, effects.BEGUN):
                return entry.pid
        return None

    def _new_effects(self) -> list[tuple[float, str]]:
        new = effects.read(skip=len(self.effects))
        self.effects += new
        return [(e.at, f"  pid {e.pid}  {e.step} {e.what}") for e in new if e.step not in CROWD]

    def _new_history(self) -> list[tuple[float, str]]:
        entries = list(
            History.objects.filter(sequence__gt=self._sequence)
            .order_by("sequence")
            .select_related("run")
        )
        if entries:
            self._sequence = entries[-1].sequence
        return [
            (entry.at.timestamp(), f"  {entry.run.task} {PRINTED[entry.verb]}")
            for entry in entries
            if entry.verb in PRINTED and entry.run.task not in CROWD
        ]
