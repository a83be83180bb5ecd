"""Where sweepers live: a thread of beat, and a process of its own beside a worker's pool."""

from __future__ import annotations

import atexit
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from celery import Celery, bootsteps, signals
from celery.utils.log import mlevel

from trigger_celery.config import SWEEPERS
from trigger_celery.engine.core import Engine
from trigger_celery.engine.upkeep.sweeper import Sweeper

logger = logging.getLogger("trigger_celery.worker")

PROCESS = "trigger_celery.celery.worker.sweep_process"
"""The module that runs as the process beside the pool."""
LOOK = 1.0
"""Seconds between two looks at whether that process lives."""
FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0
"""Seconds until a process that has ended is started again: at first, and at last."""
GRACE = 5.0
"""Seconds that a sweeper gets to end its pass."""


class SweeperThread:
    """A sweeper inside of a process that never forks: beat, or a worker inside of a test."""

    def __init__(self, engine: Engine, place: str) -> None:
        self._engine = engine
        self._place = place
        self._stop = threading.Event()
        # A daemon: beat ends by an exception that no step of ours sees.
        self._thread = threading.Thread(
            target=self._run, name="trigger-celery-sweeper", daemon=True
        )

    def start(self) -> None:
        """Begin to sweep."""
        self._thread.start()

    def stop(self) -> None:
        """End after the pass under way, if it takes not too long."""
        self._stop.set()
        self._thread.join(GRACE)

    def _run(self) -> None:
        try:
            Sweeper(self._engine, self._place).run(self._stop)
        finally:
            self._engine.store.release()


class SweeperProcess:
    """A sweeper in a process of its own: started fresh, not forked, and started again if it dies.

    It ends with this one, however this one ends.
    """

    def __init__(self, engine: Engine, arguments: Sequence[str]) -> None:
        """``arguments`` are those of the module :data:`PROCESS`."""
        self._engine = engine
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        # The worker's timer, which keeps the process, may be a thread of its own.
        self._lock = threading.Lock()
        self._delay = 0.0
        self._started_at = self._start_at = engine.clock.monotonic()

    @property
    def pid(self) -> int | None:
        """The id of the process, None if there is none."""
        return self._process.pid if self._process is not None else None

    def keep(self) -> None:
        """Start the process if it is not there, after a pause if it has just ended."""
        now = self._engine.clock.monotonic()
        with self._lock:
            if self._stopped:
                return
            if self._process is not None and self._process.poll() is not None:
                self._bury(self._process, now)
            if self._process is None and now >= self._start_at:
                self._started_at = now
                self._process = self._start()

    def stop(self) -> None:
        """End it for good: after the pass under way, or at once if that takes too long."""
        with self._lock:
            self._stopped = True
            process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _close(process)

    def _start(self) -> subprocess.Popen[bytes]:
        # What Python found here it finds there; checks were made when the worker started.
        path = os.pathsep.join(each or os.getcwd() for each in sys.path)
        environment = {**os.environ, "PYTHONPATH": path, "CELERY_SKIP_CHECKS": "1"}
        return subprocess.Popen(
            [sys.executable, "-m", PROCESS, *self._arguments],
            env=environment,
            stdin=subprocess.PIPE,  # which ends with this process
        )

    def _bury(self, process: subprocess.Popen[bytes], now: float) -> None:
        lived = now - self._started_at
        again = min(2 * self._delay, LONGEST_DELAY) if lived < LONGEST_DELAY else 0.0
        self._delay = max(again, FIRST_DELAY)
        self._start_at = now + self._delay
        self._process = None
        _close(process)
        logger.warning(
            "the sweeper's process %d ended with code %s: another is started in %.0f s",
            process.pid,
            process.returncode,
            self._delay,
        )


class SweeperStep(bootsteps.StartStopStep):
    """Keeps a sweeper beside the worker's pool, unless the worker has a beat that sweeps."""

    # After the pool, so that its first processes inherit nothing of the sweeper's.
    requires = ("celery.worker.components:Pool", "celery.worker.components:Beat")
    engine: ClassVar[Engine]

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        self._thread: SweeperThread | None = None
        self._process: SweeperProcess | None = None
        self._entry: Any = None
        super().__init__(parent, **kwargs)

    def start(self, parent: Any) -> None:
        """Start it; called in the worker's main process."""
        if not _sweeps(self.engine, "worker"):
            return
        if threading.current_thread() is not threading.main_thread():
            # A worker inside of a test: another process would not know the test's database.
            self._thread = SweeperThread(self.engine, "worker")
            self._thread.start()
            return
        place = import_path(parent.app)
        if place is None:
            logger.error(
                "this worker does not sweep: no module that its sweeper could import has the "
                "Celery app. Start it as 'celery -A yourproject worker', or set "
                "TRIGGER_CELERY['SWEEPER'] = 'command' and run 'manage.py trigger_sweep --loop'"
            )
            return
        self._process = SweeperProcess(self.engine, _arguments(place, parent))
        self._entry = parent.timer.call_repeatedly(LOOK, self._look, (parent,))
        self._look(parent)

    def stop(self, parent: Any) -> None:
        """End it: from now on this worker only ends what it has begun."""
        if self._entry is not None:
            self._entry.cancel()
        if self._process is not None:
            self._process.stop()
        if self._thread is not None:
            self._thread.stop()
        self._entry = self._process = self._thread = None

    terminate = stop

    def _look(self, parent: Any) -> None:
        if self._process is None:
            return
        beat = getattr(parent, "beat", None)
        if beat and beat.is_alive() and _sweeps(self.engine, "beat"):
            return  # which this worker outlives, maybe
        try:
            self._process.keep()
        except OSError as error:
            logger.warning("the sweeper's process could not be started: %s", error)


def import_path(app: Celery) -> str | None:
    """Return ``module:name`` by which another process can import this app, None if there is none.

    However the worker was started, with ``-A`` or by code. Of several the shortest is taken.
    """
    return min(_import_paths(app), key=lambda path: (len(path), path), default=None)


def _import_paths(app: Celery) -> Iterator[str]:
    app = app._get_current_object() if hasattr(app, "_get_current_object") else app
    for name, module in list(sys.modules.items()):
        if name == "__main__":
            name = getattr(getattr(module, "__spec__", None), "name", None) or ""
        if not name or name.partition(".")[0] in ("celery", "trigger_celery"):
            continue
        for attribute, value in list(getattr(module, "__dict__", {}).items()):
            if value is app:
                yield f"{name}:{attribute}"


def connect(engine: Engine) -> None:
    """Give every beat of this process a sweeper, and every worker one beside its pool."""
    SweeperStep.engine = engine
    signals.beat_init.connect(_start_in_beat, dispatch_uid="trigger_celery.sweeper")


def _start_in_beat(**kwargs: Any) -> None:
    engine = SweeperStep.engine
    if _sweeps(engine, "beat"):
        thread = SweeperThread(engine, "beat")
        thread.start()
        # Another takes over at once. One that a worker embeds is killed: its turn runs out.
        atexit.register(thread.stop)


def _sweeps(engine: Engine, place: str) -> bool:
    return place in SWEEPERS[engine.config.sweeper]


def _arguments(place: str, worker: Any) -> list[str]:
    """Return the arguments of the process that sweeps beside this worker, and logs as it does."""
    arguments = [place, f"--parent={os.getpid()}", f"--hostname={worker.hostname}"]
    if worker.loglevel:
        arguments.append(f"--loglevel={mlevel(worker.loglevel)}")
    if worker.logfile:
        arguments.append(f"--logfile={worker.logfile}")
    return arguments


def _close(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
