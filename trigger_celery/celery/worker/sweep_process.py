"""The process beside a worker's pool that sweeps.

A worker's main process starts this module with the Celery app to import, its own process id, and
how it logs, and holds the other end of its standard input until it ends itself.
"""

from __future__ import annotations

import os
import signal
import threading
from argparse import ArgumentParser
from contextlib import suppress

from celery import Celery, platforms
from celery.app.utils import find_app

from trigger_celery.client.access import installed_engine
from trigger_celery.engine.upkeep.sweeper import Sweeper

LOOK = 1.0
"""Seconds between two looks at whether the parent lives."""


class Ended:
    """Says when this process is to end: it was asked to, or its parent is gone."""

    def __init__(self, parent: int) -> None:
        self._parent = parent
        self._asked = threading.Event()

    def listen(self) -> None:
        """Take SIGTERM, and the end of what the parent writes, as the wish to end."""
        signal.signal(signal.SIGTERM, lambda *_: self._asked.set())
        # From a terminal it reaches the whole group: the parent decides what it means.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=self._read, name="trigger-celery-parent", daemon=True).start()

    def wait(self, timeout: float) -> bool:
        """Return True as soon as this process is to end, False after so many seconds."""
        while True:
            # Children of the parent hold its end of the pipe open, also when it was killed.
            if self._asked.wait(min(timeout, LOOK)) or self._is_orphan():
                return True
            timeout -= LOOK
            if timeout <= 0:
                return False

    def _is_orphan(self) -> bool:
        # Elsewhere the number stays the same, and no process inherits the pipe.
        return os.name == "posix" and os.getppid() != self._parent

    def _read(self) -> None:
        with suppress(OSError):
            while os.read(0, 1024):
                pass
        self._asked.set()


def main() -> None:
    """Sweep, or stand by, until the worker ends."""
    asked = _parser().parse_args()
    ended = Ended(asked.parent)
    ended.listen()
    app = _load(asked.app)
    app.log.setup(asked.loglevel, asked.logfile, hostname=asked.hostname)
    platforms.set_process_title("trigger-celery sweeper", info=asked.hostname)
    Sweeper(installed_engine(), "worker").run(ended)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(description="Sweep beside the pool of a worker, which starts this.")
    parser.add_argument("app")
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--hostname", default="")
    parser.add_argument("--loglevel", type=int)
    parser.add_argument("--logfile")
    return parser


def _load(place: str) -> Celery:
    app: Celery = find_app(place)
    app.set_default()
    app.set_current()
    app.loader.init_worker()
    app.finalize()
    return app


if __name__ == "__main__":
    main()
