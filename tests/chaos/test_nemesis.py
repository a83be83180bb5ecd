"""Everything goes wrong at random moments under load: money is conserved and every run ends."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from uuid import UUID

import pytest
from django.db import Error, connections

from support.chaos import ALIAS, LONG, Stage
from testproject.chaos import SEED, ledger, ledger_waiter
from testproject.shop.tasks import linear, sleeper
from trigger_celery import send_event
from trigger_celery.vocabulary.identity import new_id

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

SECONDS = 60 if LONG else 15
LEASE = 2.0


class Nemesis:
    """Triggers runs and harms what executes them, as its seed says."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage = stage
        self.deeds: list[str] = []
        self.expected: dict[UUID, object] = {}
        self._random = random.Random(seed)
        self._pause = threading.Event()
        self._workers = 0
        self._harms: tuple[Callable[[], None], ...] = (
            self.kill_child,
            self.kill_child,
            self.kill_worker,
            self.freeze_worker,
            self.cut_connections,
            self.lose_messages,
        )

    def rage(self, seconds: float) -> None:
        """Load and harm for so many seconds."""
        self.start_worker()
        self.start_worker()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.load()
            self._pause.wait(self._random.uniform(0.1, 1.0))
            harm = self._random.choice(self._harms)
            self.deeds.append(harm.__name__)
            harm()

    def load(self) -> None:
        """Trigger some runs, and say what they have to return."""
        number = len(self.expected)
        trigger = self.stage.trigger_surely
        self.expected[trigger(linear, number)] = number + 1
        self.expected[trigger(sleeper, self._random.uniform(0, 1))] = "slept"
        self.expected[trigger(ledger, number)] = 0
        self.expected[trigger(ledger_waiter, f"k-{number}", number)] = number
        event = str(new_id())
        payload = {"key": f"k-{number}", "n": number}
        self.stage.ask(lambda: send_event("go", payload, id=event))

    def start_worker(self) -> None:
        """Start one more worker."""
        self._workers += 1
        self.stage.start(f"worker-{self._workers}")

    def kill_child(self) -> None:
        """Kill a process that executes runs."""
        pids = sorted({line.pid for line in self.stage.lines()})
        alive = [pid for pid in pids if any(w.owns(pid) for w in self.stage.workers if w.alive)]
        if alive:
            os.kill(self._random.choice(alive), signal.SIGKILL)

    def kill_worker(self) -> None:
        """Kill a whole worker and start another one."""
        self._random.choice([w for w in self.stage.workers if w.alive]).kill()
        self.start_worker()

    def freeze_worker(self) -> None:
        """Stop a worker for about as long as its leases last."""
        worker = self._random.choice([w for w in self.stage.workers if w.alive])
        worker.freeze()
        self._pause.wait(self._random.uniform(0.5, 1.5) * LEASE)
        worker.thaw()

    def cut_connections(self) -> None:
        """End all connections of the database, this one's too."""
        try:
            with connections[ALIAS].cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE backend_type = 'client backend' ORDER BY pid = pg_backend_pid()"
                )
        except Error:
            connections[ALIAS].close()

    def lose_messages(self) -> None:
        """Empty the broker."""
        self.stage.redis.flush()


def test_whatever_is_killed_money_is_conserved_and_every_run_ends(
    stage: Stage, round_number: int
) -> None:
    nemesis = Nemesis(stage, SEED + round_number)
    nemesis.rage(SECONDS)

    stage.finish()
    print(f"{len(stage.runs)} runs under {', '.join(nemesis.deeds)}")
    assert len(stage.runs) > 10
    for run, value in nemesis.expected.items():
        assert stage.result(run) == value
        assert stage.balance(run) in ((0, 0), (2, 0))
        recoveries = stage.verbs(run).count("recover")
        counts = stage.counts(run)
        assert counts["last"] >= 1
        # An atomic step's body may be repeated by a lost connection; its rows are counted above.
        counts.pop("moved", None)
        assert max(counts.values()) <= 1 + recoveries, (run, counts)
