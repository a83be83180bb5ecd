"""A RabbitMQ of three nodes of a test's own, on this machine: it may end one of them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from support.private_servers import free_port

NODES = 3
START_WITHIN = 60.0


class RabbitMQCluster:
    """Nodes with names, ports, folders and a port mapper (epmd) of their own.

    The second and the third join the first. None is ended but by the ids of its processes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._name = f"tc{os.getpid()}"
        self._mapper = free_port()
        self._ports = [free_port() for _ in range(NODES)]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._epmd: subprocess.Popen[bytes] | None = None

    @staticmethod
    def missing() -> str:
        """Return why there can be none here, or nothing."""
        return "" if _server() and shutil.which("epmd") else "rabbitmq-server is not installed"

    @property
    def url(self) -> str:
        """What Celery connects to: one node, and the others should that be gone."""
        return ";".join(f"amqp://guest:guest@127.0.0.1:{port}//" for port in self._ports)

    def start(self) -> None:
        """Start all nodes and return when each takes connections."""
        cookie = self._folder / ".erlang.cookie"
        cookie.write_text(self._name)
        cookie.chmod(0o400)
        self._epmd = subprocess.Popen(["epmd"], env=self._environment())
        self._start(0)
        self._wait(0)
        for number in range(1, NODES):
            self._start(number)
        for number in range(1, NODES):
            self._wait(number)

    def kill(self, number: int) -> None:
        """End a node at once, as when its machine is gone."""
        process = self._processes.pop(number)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)

    def stop(self) -> None:
        """End what is left of the nodes, and their port mapper."""
        for number in list(self._processes):
            self.kill(number)
        if self._epmd is not None:
            self._epmd.terminate()
            self._epmd.wait(timeout=30)

    def _start(self, number: int) -> None:
        folder = self._folder / f"node-{number}"
        folder.mkdir()
        folder.joinpath("plugins").write_text("[].\n")
        discovery = "cluster_formation.classic_config.nodes.1 = " + self._node(0)
        folder.joinpath("rabbitmq.conf").write_text(
            f"listeners.tcp.local = 127.0.0.1:{self._ports[number]}\n"
            "cluster_formation.peer_discovery_backend = classic_config\n"
            f"{discovery}\n"
        )
        with folder.joinpath("log").open("wb") as log:
            self._processes[number] = subprocess.Popen(
                [str(_server())],
                env={
                    **self._environment(),
                    "RABBITMQ_NODENAME": self._node(number),
                    "RABBITMQ_DIST_PORT": str(free_port()),
                    "RABBITMQ_MNESIA_BASE": str(folder),
                    "RABBITMQ_LOG_BASE": str(folder),
                    "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
                    "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
                    "RABBITMQ_PID_FILE": str(folder / "pid"),
                    "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1",
                },
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _node(self, number: int) -> str:
        return f"{self._name}n{number}@localhost"

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "HOME": str(self._folder), "ERL_EPMD_PORT": str(self._mapper)}

    def _wait(self, number: int) -> None:
        ends_at = time.monotonic() + START_WITHIN
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._ports[number]), timeout=1).close()
                return
            except OSError:
                if self._processes[number].poll() is not None or time.monotonic() > ends_at:
                    log = self._folder / f"node-{number}" / "log"
                    raise RuntimeError(f"a node did not start:\n{log.read_text()}") from None
                time.sleep(0.1)


def _server() -> Path | None:
    """Return the server's own script; that in the path of Debian changes the user."""
    found = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    other = shutil.which("rabbitmq-server")
    return found[-1] if found else Path(other) if other else None
