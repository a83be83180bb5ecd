"""The shop's processes: a web server and Celery workers, each the leader of its own group."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from django.conf import settings

PATIENCE = 10
"""Seconds that a process may take to end when asked to."""


class Process:
    """A child process with its own process group and log file."""

    def __init__(self, name: str, command: Sequence[str], folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                [sys.executable, *command],
                cwd=settings.BASE_DIR,
                env={**os.environ, "SHOP_HOME": str(folder), "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The id of the process, and of its group."""
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._child.poll() is None

    def owns(self, pid: int) -> bool:
        """Whether the process ``pid`` is one of this group."""
        try:
            return os.getpgid(pid) == self.pid
        except ProcessLookupError:
            return False

    def kill(self) -> None:
        """End the whole group as a power cut would."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._child.wait()

    def ask(self) -> None:
        """Ask it to finish what it does and end."""
        if self.running:
            self._child.terminate()

    def stop(self) -> None:
        """Wait until it has ended, and end what is left of its group."""
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(PATIENCE)
        self.kill()

    def tail(self, lines: int = 15) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Processes:
    """All processes of one demo; leaving the ``with`` block ends them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._workers = 0
        self.all: list[Process] = []

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            for process in self.all:
                process.ask()
            for process in self.all:
                process.stop()
        finally:  # also after a second Ctrl-C
            for process in self.all:
                process.kill()

    def web(self, port: int) -> Process:
        """Start a web server on a port of this machine."""
        command = ["manage.py", "runserver", "--noreload", "--skip-checks", f"127.0.0.1:{port}"]
        return self._start("web", command)

    def worker(self, concurrency: int = 2, *, beat: bool = True) -> Process:
        """Start a Celery worker with so many pool processes, and an embedded beat if asked for."""
        self._workers += 1
        name = f"worker-{self._workers}"
        command = ["-m", "celery", "-A", "config", "worker", "-n", f"{name}@%h", "-l", "INFO"]
        command += ["-P", "prefork", "-c", str(concurrency)]
        if beat:
            command += ["-B", "-s", str(self._folder / f"{name}.beat")]
        return self._start(name, command)

    def _start(self, name: str, command: Sequence[str]) -> Process:
        process = Process(name, command, self._folder)
        self.all.append(process)
        return process


def free_port(wanted: int = 0) -> int:
    """Return ``wanted`` if nothing listens there, else any free port."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("this machine has no free port")
