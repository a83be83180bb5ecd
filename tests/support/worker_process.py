"""A real worker in a process group of its own, to be killed, stopped and watched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from support.waiting import eventually


class WorkerProcess:
    """``celery worker`` with a pool of this kind; its main process leads a process group."""

    def __init__(
        self,
        name: str,
        folder: Path,
        environment: Mapping[str, str],
        *,
        concurrency: int,
        pool: str = "prefork",
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._ready = folder / f"{name}.ready"
        self._ready.unlink(missing_ok=True)
        self._killed = False
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "testproject.celery", "worker"]
                + [
                    "-I",
                    "testproject.chaos",
                    "-n",
                    f"{name}@%h",
                    "-P",
                    pool,
                    "-c",
                    str(concurrency),
                ]
                + ["-l", "INFO", "--without-gossip", "--without-mingle", "--without-heartbeat"],
                env={**environment, "TC_READY": str(self._ready)},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        """Whether its main process is there."""
        return self._process.poll() is None

    def wait_ready(self) -> None:
        """Return once it consumes messages."""
        eventually(self._is_ready, 60, f"worker {self.name} is ready")

    def _is_ready(self) -> bool:
        assert self.alive, f"worker {self.name} ended at its start:\n{self.tail()}"
        return self._ready.exists()

    def owns(self, pid: int) -> bool:
        """Whether the process is of this worker's group."""
        try:
            return os.getpgid(pid) == self._process.pid
        except ProcessLookupError:
            return False

    def kill(self) -> None:
        """End all its processes at once, as when the machine is gone, also those it left behind."""
        if self._killed:
            return  # by now the number of its group may be another's
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._killed = True
        self._process.wait(timeout=30)

    def stop(self, within: float) -> int:
        """Ask for a warm shutdown; return the exit code once it has ended."""
        self._process.terminate()
        return self._process.wait(timeout=within)

    def freeze(self) -> None:
        """Stop all its processes where they are."""
        os.killpg(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        os.killpg(self._process.pid, signal.SIGCONT)

    def said(self, text: str) -> bool:
        """Whether its log has the text."""
        return text in self.log.read_text(errors="replace")

    def tail(self, lines: int = 60) -> str:
        """Return the end of its log."""
        said = self.log.read_text(errors="replace").splitlines()
        return "\n".join(said[-lines:])
