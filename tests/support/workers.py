"""Real workers for tests: processes of their own on this test run's database and broker."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from django.conf import settings
from kombu import pools

from support import brokers
from support.databases import child_environment
from support.services import SERVICES
from support.waiting import eventually
from testproject.celery import app
from trigger_celery.celery.dispatcher import CeleryDispatcher
from trigger_celery.client.access import installed_engine

FOLDER = Path(os.environ["TC_TMP"])
PREFIX = os.environ["TC_PREFIX"]
FILES = "trigger_celery.celery.file_transport:Transport"
"""Our own transport for brokers in a folder."""
QUICK = {"SWEEP_INTERVAL": 0.2, "NUDGE_INTERVAL": 1}
"""Settings under which tests do not wait long for the sweep."""


@dataclass(kw_only=True)
class Worker:
    """A process that was started; its output is kept for a failure's report."""

    process: subprocess.Popen[bytes]
    log: Path
    ready: Path

    @property
    def pid(self) -> int:
        """The id of the process, which leads a group of its own."""
        return self.process.pid

    def wait_until_ready(self) -> None:
        """Wait until it consumes."""
        eventually(self._is_ready, 40, f"worker {self.pid} is ready")

    def _is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the worker ended at once:\n{self.output()}")
        return self.ready.exists()

    def output(self) -> str:
        """Return the end of what it printed."""
        return self.log.read_text(errors="replace")[-20_000:]

    def tell_to_stop(self) -> None:
        """Ask for a warm shutdown."""
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it and its children at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(10)


@dataclass(kw_only=True)
class Site:
    """One broker, one result backend, and the log of what tasks did there."""

    broker: str
    results: str
    folder: Path
    workers: list[Worker] = field(default_factory=list)

    @property
    def effects_file(self) -> Path:
        """Where tasks write what they do."""
        return self.folder / "effects"

    def start(
        self,
        *arguments: str,
        pool: str = "prefork",
        concurrency: int = 2,
        queues: str = "default,other",
        **trigger_settings: object,
    ) -> Worker:
        """Start a worker; ``wait_until_ready`` says when it works."""
        number = len(self.workers)
        log, ready = self.folder / f"worker-{number}.log", self.folder / f"ready-{number}"
        command = [
            *(sys.executable, "-m", "celery", "-A", "testproject.celery", "worker", "-l", "INFO"),
            *("-P", pool, "-c", str(concurrency), "-n", f"w{number}@{PREFIX}"),
            *("-Q", ",".join(queue(name) for name in queues.split(","))),
            *("--without-gossip", "--without-mingle", *arguments),
        ]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env={**self.environment(**trigger_settings), "TC_READY": str(ready)},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        worker = Worker(process=process, log=log, ready=ready)
        self.workers.append(worker)
        return worker

    def environment(self, **trigger_settings: object) -> dict[str, str]:
        """Return the environment of a child process that belongs here."""
        return {
            **child_environment(),
            "TC_BROKER": self.broker,
            "TC_RESULTS": self.results,
            "TC_EFFECTS": str(self.effects_file),
            "TC_SETTINGS": json.dumps({**QUICK, **trigger_settings}),
        }

    def effects(self, of: object) -> list[str]:
        """Return what the steps of a run, or plain tasks with this tag, did; in order."""
        return [name for whose, name, _ in self._lines() if whose == str(of)]

    def pids(self, of: object) -> list[int]:
        """Return in which process each effect happened."""
        return [int(pid) for whose, _, pid in self._lines() if whose == str(of)]

    def _lines(self) -> Iterator[tuple[str, str, str]]:
        if self.effects_file.exists():
            for line in self.effects_file.read_text().splitlines():
                whose, _, rest = line.partition(" ")
                name, _, pid = rest.rpartition(" ")
                yield whose, name, pid

    def purge(self) -> None:
        """Drop what waits in Redis for a worker: an earlier one's messages live on after it."""
        with app.connection_for_write() as connection:
            for waiting in settings.CELERY_TASK_QUEUES:
                waiting(connection.default_channel).purge()

    def hold(self, name: str) -> Path:
        """Make ``held`` steps of this name wait until the returned file is removed."""
        path = self.folder / f"hold-{name}"
        path.touch()
        return path

    def outputs(self) -> str:
        """Return the logs of all workers."""
        return "\n".join(f"--- {worker.log.name}\n{worker.output()}" for worker in self.workers)


def queue(name: str) -> str:
    """Return the full name of the queue ``default`` or ``other`` of this test run."""
    return f"{PREFIX}.{name}"


@contextmanager
def site(broker: str, results: str) -> Iterator[Site]:
    """Let this process and the workers it starts talk over this broker and result backend."""
    folder = Path(tempfile.mkdtemp(prefix="site-", dir=FOLDER))
    place = Site(broker=broker, results=results, folder=folder)
    before = (brokers.CHOSEN, brokers.CHOSEN_RESULTS)
    _point_app_at(broker, results)
    try:
        yield place
    finally:
        for worker in place.workers:
            worker.kill()
        _clean_up(broker)
        _point_app_at(*before)


def _point_app_at(broker: str, results: str) -> None:
    gc.collect()  # results that are not held any more unsubscribe, which needs their connection
    pools.reset()
    forgetful: Any = app  # of its connections, its producers and its result backend
    with suppress(AttributeError):  # only those that have a connection of their own
        forgetful.backend.result_consumer.stop()
        forgetful.backend.client.connection_pool.disconnect()
    forgetful._after_fork()
    forgetful._local.__dict__.pop("backend", None)
    forgetful._backend_cache = None
    conf: Any = app.conf
    conf.broker_url = brokers.url(broker)
    conf.broker_transport = FILES if broker == "filesystem" else None
    conf.broker_transport_options = brokers.transport_options(FOLDER, broker)
    conf.result_backend = brokers.result_backend(results)
    dispatcher = installed_engine().dispatcher
    if isinstance(dispatcher, CeleryDispatcher):
        dispatcher.close()


def _clean_up(broker: str) -> None:
    """Remove what this test run left on servers that outlive it."""
    if broker == "rabbitmq":
        with app.connection_for_write() as connection:
            for wanted in settings.CELERY_TASK_QUEUES:
                wanted(connection.default_channel).delete()
    with suppress(redis.ConnectionError):
        service = SERVICES["redis"]
        with redis.Redis(host=service.host, port=service.port) as client:
            for key in client.scan_iter(f"{PREFIX}.*", count=1000):
                client.delete(key)
