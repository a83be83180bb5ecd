"""A database that goes away at a chosen moment: a proxy before it loses the connection there."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import closing, suppress
from enum import StrEnum

from trigger_celery.testing import ManualClock

PAUSES = 2
"""After so many pauses of a caller that waits, the database is back."""


class Moment(StrEnum):
    """When the connection breaks, seen from one request."""

    BEFORE = "before"
    """The database never gets the request."""
    DURING = "during"
    """The database gets it, and may do it or not; its answer is not waited for."""
    LOST_ACK = "lost_ack"
    """The database has done it; the answer gets lost."""


class Proxy:
    """Forwards connections to a server and counts what clients ask of it.

    A request is what a client sends after the answer to its last one. While the database is
    away, new connections are closed at once.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._requests = 0
        self._plan: tuple[int, Moment] | None = None
        self._open: set[socket.socket] = set()
        self.is_away = False
        threading.Thread(target=self._accept, name="outage-proxy", daemon=True).start()

    def count(self) -> int:
        """Return how many requests there were since the last :meth:`plan`."""
        return self._requests

    def plan(self, at: int | None = None, moment: Moment = Moment.BEFORE) -> None:
        """Count from 0 again, and go away at the request ``at``."""
        with self._lock:
            self._requests = 0
            self._plan = None if at is None else (at, moment)

    def go_away(self) -> None:
        """Lose all connections and take no other."""
        self.is_away = True
        for each in list(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def come_back(self) -> None:
        """Take connections again."""
        self.is_away = False

    def close(self) -> None:
        """End the proxy and its connections."""
        self.go_away()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.is_away:
                client.close()
                continue
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with closing(client), closing(socket.create_connection(self._server)) as server:
            self._open |= {client, server}
            try:
                self._forward(client, server)
            except OSError:
                pass
            finally:
                self._open -= {client, server}

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        answered, planned = True, None
        while True:
            ready, _, _ = select.select([client, server], [], [])
            if server in ready:
                data = server.recv(65536)
                if planned is Moment.LOST_ACK:
                    self.go_away()
                    return
                if not data:
                    return
                client.sendall(data)
                answered = True
                continue
            data = client.recv(65536)
            if not data:
                return
            if answered:
                planned = self._next()
                answered = False
            if planned is Moment.BEFORE:
                self.go_away()
                return
            server.sendall(data)
            if planned is Moment.DURING:
                self.go_away()
                return

    def _next(self) -> Moment | None:
        with self._lock:
            number, self._requests = self._requests, self._requests + 1
            if self._plan is None or self._plan[0] != number:
                return None
            moment, self._plan = self._plan[1], None
            return moment


class OutageClock(ManualClock):
    """A clock whose pauses end an outage, after :data:`PAUSES`; ``slept`` are all its seconds."""

    def __init__(self, proxy: Proxy) -> None:
        super().__init__()
        self._proxy = proxy
        self.ends_outages = True
        self.slept = 0.0
        self._left = PAUSES

    def sleep(self, seconds: float) -> None:
        """Let time pass at once."""
        self.slept += seconds
        super().sleep(seconds)
        if self._proxy.is_away and self.ends_outages:
            self._left -= 1
            if not self._left:
                self._left = PAUSES
                self._proxy.come_back()
