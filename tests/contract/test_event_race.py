"""An event and a wait that commit at the same moment find each other, with no sweep to help."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from time import sleep
from uuid import UUID

import pytest
from django.db import connections

from support.databases import alias_of, every_database
from trigger_celery.engine.core import Engine
from trigger_celery.engine.waking.events import send_event
from trigger_celery.engine.waking.look_back import look_back
from trigger_celery.testing.contract.tools import TASK, claim, started
from trigger_celery.values.filters import Filter
from trigger_celery.vocabulary.identity import new_token
from trigger_celery.vocabulary.records import Lease, NewWait, StepKind, Suspend
from trigger_celery.vocabulary.states import RunState, WaitState
from trigger_celery_django.models import Run, Wait
from trigger_celery_django.store import DjangoStore

ITERATIONS = 1_000
LOOPS, EVENTS = 10, 10
SERVERS = [param for param in every_database(transaction=True) if "sqlite" not in str(param)]


class Race:
    """One run after the other, each waiting for an event that is sent at the same moment."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.engine = Engine(store=DjangoStore(alias))
        self.line = Barrier(2)

    def executing(self) -> Lease:
        """Return the lease of a new run that is about to wait."""
        return started(self.engine.store)

    def wait(self, lease: Lease, pause: Callable[[], None]) -> None:
        """Suspend the run, then look for events, as the end of a segment does."""
        wait = self.wait_for(lease, "go", 1)
        suspend = Suspend(waits=(wait,), keys=("go",), next_attempt=1, token=new_token())
        self.line.wait()
        pause()
        self.engine.store.waits.suspend(lease, suspend, look_within=timedelta(hours=1))
        look_back(self.engine, lease)

    def wait_for(self, lease: Lease, key: str, position: int) -> NewWait:
        """Return a wait for an event of this run."""
        wanted = Filter("go", {"run": str(lease.run_id)}, self.engine.codec)
        return NewWait(
            key=key,
            kind=StepKind.EVENT,
            position=position,
            name="go",
            filter=wanted.text,
            paths=wanted.paths,
            match_hash=wanted.match_hash,
        )

    def emit(self, run_id: UUID, pause: Callable[[], None]) -> None:
        """Send the event, which then looks for waits."""
        self.line.wait()
        pause()
        send_event(self.engine, "go", {"run": str(run_id)})

    def close(self) -> None:
        """Leave no connection of a helper thread behind."""
        self.line.wait()
        connections[self.alias].close()


@pytest.mark.timeout(600)  # a thousand rounds, beside other tests
@pytest.mark.parametrize("database", SERVERS)
def test_an_event_and_a_wait_that_race_always_meet(database: str, transactional_db: None) -> None:
    race = Race(alias_of(database))
    seed = random.Random(20261122)

    def pause() -> Callable[[], None]:
        spins = seed.randrange(0, 4_000)  # less than a statement takes, and never the same

        def spin() -> None:
            sum(range(spins))

        return spin

    with ThreadPoolExecutor(2) as pool:
        for _ in range(ITERATIONS):
            lease = race.executing()
            sides = [
                pool.submit(race.wait, lease, pause()),
                pool.submit(race.emit, lease.run_id, pause()),
            ]
            for side in sides:
                side.result()
        for closing in [pool.submit(race.close), pool.submit(race.close)]:
            closing.result()

    runs = Run.objects.using(race.alias).filter(task=TASK)
    waits = Wait.objects.using(race.alias)
    assert runs.filter(state=RunState.QUEUED).count() == ITERATIONS
    assert waits.filter(state=WaitState.EVENT).count() == ITERATIONS
    assert waits.values("event").distinct().count() == ITERATIONS


class Sequel(Race):
    """One run that waits for one event after the other while they are sent."""

    def loop(self, lease: Lease) -> None:
        """Carry the run on until it has taken all events."""
        store = self.engine.store
        self.line.wait()
        for number in range(EVENTS):
            suspend = Suspend(
                waits=(self.wait_for(lease, f"go#{number}", number),),
                keys=(f"go#{number}",),
                next_attempt=1,
                token=new_token(),
            )
            store.waits.suspend(lease, suspend, look_within=timedelta(hours=1))
            look_back(self.engine, lease)
            while store.runs.get(lease.run_id).state is not RunState.QUEUED:  # type: ignore[union-attr]
                sleep(0.001)
            lease = claim(store, lease.run_id).lease

    def send(self, lease: Lease) -> None:
        """Send all events, each when the one before was sent."""
        self.line.wait()
        for number in range(EVENTS):
            send_event(self.engine, "go", {"run": str(lease.run_id), "n": number})


@pytest.mark.parametrize("database", every_database(transaction=True))
def test_a_loop_gets_the_events_of_one_sender_in_their_order(
    database: str, transactional_db: None
) -> None:
    race = Sequel(alias_of(database))
    with ThreadPoolExecutor(2) as pool:
        leases = [race.executing() for _ in range(LOOPS)]
        for lease in leases:
            for side in [pool.submit(race.loop, lease), pool.submit(race.send, lease)]:
                side.result()
        for closing in [pool.submit(race.close), pool.submit(race.close)]:
            closing.result()

    for lease in leases:
        recorded = race.engine.store.checkpoints.load(lease.run_id, run_attempt=1).recorded
        events = [recorded[f"go#{number}"].event for number in range(EVENTS)]
        taken = [race.engine.codec.decode(event.payload)["n"] for event in events if event]  # type: ignore[index]
        assert taken == list(range(EVENTS))
