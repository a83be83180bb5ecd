"""``manage.py trigger_sweep``: one pass of the sweep, or one after the other."""

from __future__ import annotations

import signal
import threading
from argparse import ArgumentParser
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand

from trigger_celery.client.installed import installed_engine
from trigger_celery.engine.upkeep.sweep import sweep
from trigger_celery.errors import StoreUnavailable


class Command(BaseCommand):
    """Moves on what is due, lost or late; the same pass that beat and workers start."""

    help = (
        "Move on durable runs that are due, lost or late. One pass; with --loop one after "
        "the other until the process gets SIGINT or SIGTERM. Any number may run at once."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--loop", action="store_true", help="go on until SIGINT or SIGTERM arrives"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run."""
        engine = installed_engine()
        if not options["loop"]:
            moved = sweep(engine)
            self.stdout.write(f"{moved} runs and events looked at")
            return
        stop = threading.Event()

        def leave(number: int, frame: FrameType | None) -> None:
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, leave)
        while not stop.is_set():
            try:
                sweep(engine)
            except StoreUnavailable as error:
                self.stderr.write(f"the database is away: {error}")
            except Exception as error:  # the next pass may do better; it may be the only sweep
                self.stderr.write(f"a pass of the sweep failed: {error!r}")
            stop.wait(max(0.05, engine.config.sweep_interval.total_seconds()))
