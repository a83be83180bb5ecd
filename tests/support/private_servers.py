"""A PostgreSQL and a Redis of a test's own: it may stop, freeze and restart them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_WITHIN = 30.0


def free_port() -> int:
    """Return a port of this machine that no process listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class PrivateRedis:
    """A Redis server without a file; what it held is gone when it stops."""

    host = "127.0.0.1"

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def missing() -> str:
        """Return why there can be none here, or nothing."""
        return "" if shutil.which("redis-server") else "redis-server is not installed"

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", self.host]
            + ["--save", "", "--appendonly", "no", "--dir", str(self._folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + START_WITHIN
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"redis-server did not start on port {self.port}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it with all that it holds."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            process.wait(timeout=START_WITHIN)

    def freeze(self) -> None:
        """Let it hang: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def flush(self) -> None:
        """Throw away all messages."""
        self._command(b"FLUSHALL\r\n")

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "the server was not started"
        self._process.send_signal(number)

    def _answers(self) -> bool:
        try:
            return self._command(b"PING\r\n").startswith(b"+PONG")
        except OSError:
            return False

    def _command(self, line: bytes) -> bytes:
        with socket.create_connection((self.host, self.port), timeout=5) as link:
            link.sendall(line)
            return link.recv(64)


class PrivatePostgres:
    """A PostgreSQL cluster in a folder; the superuser is ``root``, without a password."""

    host = "127.0.0.1"

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._bin = _postgres_binaries()
        # The server refuses to run as root; then it runs as its own user.
        self._user = "postgres" if os.geteuid() == 0 else None

    @staticmethod
    def missing() -> str:
        """Return why there can be none here, or nothing."""
        if _postgres_binaries() is None:
            return "PostgreSQL's initdb is not installed"
        if os.geteuid() == 0 and "postgres" not in Path("/etc/passwd").read_text():
            return "there is no user postgres for its server"
        return ""

    def start(self) -> None:
        """Make the cluster and start it."""
        if self._user:
            shutil.chown(self._folder, self._user)
        self._run("initdb", "-A", "trust", "-U", "root", "-E", "UTF8", "--locale=C", "-N")
        self._control("start")

    def restart(self) -> None:
        """Restart as after a crash: without a checkpoint, every connection cut."""
        self._control("restart", "-m", "immediate")

    @contextmanager
    def away(self) -> Iterator[None]:
        """Be down while the block runs."""
        self.stop()
        try:
            yield
        finally:
            self._control("start")

    def stop(self) -> None:
        """End it, as after a crash."""
        self._control("stop", "-m", "immediate")

    def _control(self, verb: str, *options: str) -> None:
        # No fsync: the machine itself is not going to crash here.
        server = (
            f"-p {self.port} -k {self._folder} -c listen_addresses={self.host} "
            "-c fsync=off -c shared_buffers=32MB -c max_connections=60"
        )
        given = [] if verb == "stop" else ["-o", server, "-l", str(self._folder / "server.log")]
        self._run("pg_ctl", verb, "-w", *options, *given)

    def _run(self, program: str, *arguments: str) -> None:
        assert self._bin is not None, self.missing()
        subprocess.run(
            [str(self._bin / program), *arguments],
            env={**os.environ, "PGDATA": str(self._folder / "data")},
            user=self._user,
            group=self._user,
            extra_groups=[] if self._user else None,
            cwd=self._folder,
            check=True,
            timeout=60,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def _postgres_binaries() -> Path | None:
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    # Debian keeps them out of the path, a folder for each version.
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return debian[-1].parent if debian else None
