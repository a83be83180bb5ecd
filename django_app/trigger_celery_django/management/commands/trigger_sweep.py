"""``manage.py trigger_sweep``: one pass of the sweep, or one after the other."""

from __future__ import annotations

import signal
import threading
from argparse import ArgumentParser
from types import FrameType
from typing import Any

from django.core.management.base import CommandError

from trigger_celery.client.access import installed_engine
from trigger_celery.engine.upkeep.sweeper import Sweeper
from trigger_celery.errors import StoreError
from trigger_celery_django.management.command import DurableCommand


class Command(DurableCommand):
    """Moves on what is due, lost or late, as beat and workers do."""

    help = (
        "Move on durable runs that are due, lost or late. One pass; with --loop one after "
        "the other until the process gets SIGINT or SIGTERM. Of any number one sweeps at a time."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--loop", action="store_true", help="go on until SIGINT or SIGTERM arrives"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run."""
        sweeper = Sweeper(installed_engine(), "trigger_sweep")
        if options["loop"]:
            sweeper.run(_stop_at_signals())
            return
        try:
            moved = sweeper.once()
        except StoreError as error:
            raise CommandError(str(error)) from error
        if moved is None:
            self.stdout.write(f"another process sweeps, and goes on: {sweeper.whose}")
        else:
            self.stdout.write(f"{moved} runs and events looked at")


def _stop_at_signals() -> threading.Event:
    stop = threading.Event()

    def leave(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    return stop
