"""The stage of a chaos test: a database, a broker, real workers, and what holds at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from django.db import Error, connections
from django.db.models import Model
from django_celery_results.models import TaskResult

from support.brokers import transport_options
from support.databases import TESTS
from support.effect_log import EffectLog
from support.private_servers import PrivatePostgres, PrivateRedis
from support.waiting import eventually
from support.worker_process import WorkerProcess
from testproject.chaos_settings import TRIGGER_CELERY
from testproject.shop.models import Effect
from trigger_celery.client.access import installed_engine
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import Run
from trigger_celery.vocabulary.states import TERMINAL, TRANSITIONS, RunState
from trigger_celery_django import models
from trigger_celery_django.store.common.rows import DatabaseNow

T = TypeVar("T")

STAYS = frozenset({"publish", "start children"})
"""Verbs in the history that leave a run in its state."""

ALIAS = "chaos"
"""The alias under which the test process knows the database of the workers."""

LONG = os.environ.get("CHAOS") == "long"
SETTLED_WITHIN = 90
"""Seconds after which everything must have come to its end once the faults are over."""


@dataclass(kw_only=True)
class Stage(EffectLog):
    """What a chaos test works on. Workers that are left at its end are killed."""

    postgres: PrivatePostgres
    redis: PrivateRedis
    workers: list[WorkerProcess] = field(default_factory=list)
    commands: list[subprocess.Popen[bytes]] = field(default_factory=list)
    runs: list[UUID] = field(default_factory=list)
    keeps_connections: bool = False
    """Whether a worker keeps its connection to the database from one message to the next."""
    quorum_url: str = ""
    """Where the workers' broker is, if its queues are quorum queues of a cluster of RabbitMQ."""
    django_pool: bool = False
    """Whether a worker takes its connections from Django's pool, of the default size."""

    @property
    def broker(self) -> dict[str, object]:
        """Celery's settings for the broker, as the workers have them."""
        if self.quorum_url:
            return {
                "broker_transport": None,
                "broker_url": self.quorum_url,
                "broker_transport_options": {"confirm_publish": True},
                "task_default_queue_type": "quorum",
                "task_queues": [],
            }
        return {
            # Chosen by the URL, not by the settings of the test run.
            "broker_transport": None,
            "broker_url": f"redis://{self.redis.host}:{self.redis.port}/0",
            "broker_transport_options": transport_options(Path(os.environ["TC_TMP"]), "redis"),
        }

    def environment(self, fault: str = "") -> dict[str, str]:
        """Return the environment of a worker."""
        path = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "testproject.chaos_settings",
            "PYTHONPATH": os.pathsep.join(path),
            "TC_EFFECTS": str(self.log),
            "TC_FAULT": fault,
            "TC_KEEP_CONNECTIONS": "1" if self.keeps_connections else "",
            "TC_QUORUM_URL": self.quorum_url,
            "TC_DJANGO_POOL": "1" if self.django_pool else "",
            "TC_DB": "postgres",
            "TC_DB_NAME": "postgres",
            "TC_POSTGRES_HOST": self.postgres.host,
            "TC_POSTGRES_PORT": str(self.postgres.port),
            "TC_BROKER": "redis",
            "TC_RESULTS": "django-db",
            "TC_REDIS_HOST": self.redis.host,
            "TC_REDIS_PORT": str(self.redis.port),
        }

    def start(
        self, *names: str, concurrency: int = 2, fault: str = "", pool: str = "prefork"
    ) -> list[WorkerProcess]:
        """Start workers beside each other and return once they are ready."""
        environment = self.environment(fault)
        started = [
            WorkerProcess(name, self.folder, environment, concurrency=concurrency, pool=pool)
            for name in names
        ]
        self.workers += started
        for worker in started:
            worker.wait_ready()
        return started

    def command(self, *arguments: str, fault: str = "") -> subprocess.Popen[bytes]:
        """Start a command of Django in a process of its own; what is left of it is killed."""
        with self.folder.joinpath(f"command-{len(self.commands)}.log").open("wb") as log:
            started = subprocess.Popen(
                [sys.executable, "-m", "testproject.chaos_command", *arguments],
                env=self.environment(fault),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.commands.append(started)
        return started

    def kill_stopped(self, times: int) -> int:
        """Kill the process that was the so-manyth to stop at its fault; return its id."""
        line = self.wait_effect("stopped", times)[times - 1]
        os.kill(line.pid, signal.SIGKILL)
        return line.pid

    def trigger(self, task: Any, *args: object, **options: object) -> UUID:
        """Create a run and return its id."""
        run_id = UUID(task.apply_async(args, **options).id)
        self.runs.append(run_id)
        return run_id

    def trigger_surely(self, task: Any, *args: object) -> UUID:
        """Create a run while the database comes and goes: again and again under one id."""
        run_id = str(new_id())
        self.ask(lambda: task.apply_async(args, task_id=run_id))
        self.runs.append(UUID(run_id))
        return UUID(run_id)

    def owner(self, pid: int) -> WorkerProcess:
        """Return the worker that the process belongs to."""
        return next(worker for worker in self.workers if worker.owns(pid))

    def wait_said(self, worker: WorkerProcess, text: str) -> None:
        """Return once the worker's log has the text."""
        eventually(lambda: worker.said(text), 30, f"worker {worker.name} says {text!r}")

    def ask(self, question: Callable[[], T]) -> T:
        """Return the answer of a query, asking again while the database is away."""

        def look() -> tuple[T, ...]:
            try:
                return (question(),)
            except Error:
                connections[ALIAS].close()
                return ()

        return eventually(look, 30, "the database answers")[0]

    def run(self, run_id: UUID) -> Run:
        """Return a run as it is stored."""
        run = self.ask(lambda: installed_engine().store.runs.get(run_id))
        assert run is not None, run_id
        return run

    def wait_state(self, run_id: UUID, state: RunState, *, within: float = 30) -> Run:
        """Return the run once it is in this state."""

        def look() -> Run | None:
            run = self.run(run_id)
            return run if run.state is state else None

        found = eventually(look, within, f"run {run_id} is {state}")
        assert found is not None
        return found

    def verbs(self, run_id: UUID) -> list[str]:
        """Return the history of a run."""
        return [entry.verb for entry in installed_engine().store.runs.history(run_id)]

    def result(self, run_id: UUID) -> object:
        """Return what a completed run returned."""
        run = self.run(run_id)
        assert run.state is RunState.COMPLETED, run
        assert run.output is not None
        return installed_engine().codec.decode(run.output)

    def celery_states(self, run_id: UUID) -> list[str]:
        """Return the states that Celery's result backend has for the run."""
        rows = TaskResult.objects.using(ALIAS).filter(task_id=str(run_id))
        return self.ask(lambda: list(rows.values_list("status", flat=True)))

    def dead_letters(self) -> list[models.DeadLetter]:
        """Return all dead letters."""
        return self.ask(lambda: list(models.DeadLetter.objects.using(ALIAS)))

    def balance(self, run_id: UUID, step: str = "moved") -> tuple[int, int]:
        """Return how many rows an atomic step of the run left, and their sum."""
        rows = Effect.objects.using(ALIAS).filter(run=str(run_id), step=step)
        amounts = self.ask(lambda: list(rows.values_list("n", flat=True)))
        return len(amounts), sum(amounts)

    def finish(self, *, hurry: bool = False, supervised: bool = False) -> None:
        """Wait until every run has ended and is published, then check what must always hold.

        ``hurry`` lets the time until the next nudges pass at once; ``supervised`` starts workers
        that ended by themselves again, as the supervisor of a production machine does.
        """

        def look() -> bool:
            if hurry:
                self._hurry()
            if supervised:
                self._start_again()
            return not self._unsettled()

        eventually(look, SETTLED_WITHIN, "all runs ended and published")
        for run_id in self.runs:
            self._check_history(run_id)
        assert self.ask(lambda: models.Wait.objects.using(ALIAS).open().count()) == 0

    def _unsettled(self) -> list[tuple[UUID, str]]:
        runs = models.Run.objects.using(ALIAS)
        ended = runs.filter(state__in=TERMINAL, published_at__isnull=False, due_at=None)
        return self.ask(
            lambda: list(runs.exclude(pk__in=ended.values("pk")).values_list("pk", "state"))
        )

    def _start_again(self) -> None:
        for worker in [worker for worker in self.workers if not worker.alive]:
            worker.kill()
            self.workers.remove(worker)
            self.start(worker.name)

    def _hurry(self) -> None:
        runs = models.Run.objects.using(ALIAS).exclude(state=RunState.EXECUTING)
        waiting = runs.exclude(state=RunState.SUSPENDED).filter(due_at__gt=DatabaseNow())
        self.ask(lambda: waiting.update(due_at=DatabaseNow()))

    def _check_history(self, run_id: UUID) -> None:
        before: RunState | None = None
        fence = 0
        for entry in installed_engine().store.runs.history(run_id):
            if before is None:
                legal = entry.state is RunState.QUEUED
            elif entry.verb in STAYS:
                legal = entry.state is before
            else:
                legal = entry.state in TRANSITIONS[before]
            assert legal, f"run {run_id}: {entry.verb} made {entry.state} of {before}"
            assert entry.fence >= fence, f"run {run_id}: {entry} goes back behind fence {fence}"
            before, fence = entry.state, entry.fence
        assert before is self.run(run_id).state

    def tails(self) -> str:
        """Return the ends of the workers' logs."""
        said = [f"--- {worker.name}\n{worker.tail()}" for worker in self.workers]
        logs = sorted(self.folder.glob("command-*.log"))
        said += [f"--- {log.stem}\n{log.read_text(errors='replace')[-4000:]}" for log in logs]
        return "\n".join(said)


class EverythingHere:
    """A database router that makes the test process work where the workers do."""

    def db_for_read(self, model: type[Model], **hints: object) -> str:
        """Return the alias."""
        return ALIAS

    def db_for_write(self, model: type[Model], **hints: object) -> str:
        """Return the alias."""
        return ALIAS


def settings_of_workers() -> dict[str, object]:
    """Return the Django settings of the test process while it works with the workers."""
    return {
        "TRIGGER_CELERY": dict(TRIGGER_CELERY),
        "DATABASE_ROUTERS": [EverythingHere()],
    }
