"""Which events count for a run, and in which order they reach it, whichever process sends them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from django.db import transaction

from support.databases import alias_of, every_database
from trigger_celery.declare.definition import TaskRegistry
from trigger_celery.engine.core import Engine, NullDispatcher
from trigger_celery.engine.upkeep.sweep import sweep
from trigger_celery.engine.waking.events import send_event
from trigger_celery.engine.waking.look_back import look_back
from trigger_celery.engine.waking.matching import match_event
from trigger_celery.testing.contract.tools import claim, got, new_run, queued
from trigger_celery.values.filters import Filter
from trigger_celery.vocabulary.identity import new_token
from trigger_celery.vocabulary.records import (
    Lease,
    NewEvent,
    NewWait,
    Nudge,
    StepKind,
    StoredEvent,
    Subscription,
    Suspend,
)
from trigger_celery.vocabulary.states import RunState, WaitState
from trigger_celery_django import models
from trigger_celery_django.store import DjangoStore

pytestmark = pytest.mark.parametrize("database", every_database(transaction=True))


class Silent(NullDispatcher):
    """Publishes nothing: the test looks at the rows."""

    def nudge(self, nudges: Sequence[Nudge]) -> None:
        """Do nothing."""


class Loop:
    """A run that waits for one event after the other."""

    def __init__(self, engine: Engine, lease: Lease) -> None:
        self.engine = engine
        self.lease = lease
        self.waits = 0

    def suspend(self, *, look: bool = True, count: int = 1) -> None:
        """Wait for so many events at once; a worker without ``look`` is still about to look."""
        wanted = Filter("go", {"to": "loop"}, self.engine.codec)
        waits = tuple(
            NewWait(
                key=f"go#{number}",
                kind=StepKind.EVENT,
                position=number,
                name="go",
                filter=wanted.text,
                paths=wanted.paths,
                match_hash=wanted.match_hash,
            )
            for number in range(self.waits, self.waits + count)
        )
        self.waits += count
        keys = tuple(wait.key for wait in waits)
        suspend = Suspend(waits=waits, keys=keys, next_attempt=1, token=new_token())
        self.engine.store.waits.suspend(self.lease, suspend, look_within=timedelta(hours=1))
        if look:
            look_back(self.engine, self.lease)

    def resume(self) -> None:
        """Claim the run, which an event has woken."""
        assert got(self.engine.store, self.lease.run_id).state is RunState.QUEUED
        self.lease = claim(self.engine.store, self.lease.run_id).lease

    def taken(self) -> list[object]:
        """Return what each wait got, None for one that is open."""
        recorded = self.engine.store.checkpoints.load(self.lease.run_id, run_attempt=1).recorded
        events = [recorded[f"go#{number}"].event for number in range(self.waits)]
        return [event and self.engine.codec.decode(event.payload)["n"] for event in events]  # type: ignore[index]


def engine_on(database: str) -> Engine:
    return Engine(store=DjangoStore(alias_of(database)), dispatcher=Silent(), tasks=TaskRegistry())


def looping(engine: Engine) -> Loop:
    return Loop(engine, claim(engine.store, queued(engine.store)).lease)


def stored(engine: Engine, number: int) -> StoredEvent:
    """Store an event as a sender that dies before it looks at the waits."""
    payload = engine.codec.encode({"to": "loop", "n": number})
    event = engine.store.events.add(NewEvent(id=f"e{number}", name="go", payload=payload))
    assert event is not None
    return event


def send(engine: Engine, number: int) -> None:
    send_event(engine, "go", {"to": "loop", "n": number})


def test_what_one_transaction_sends_before_it_triggers_is_not_for_the_run(database: str) -> None:
    engine = engine_on(database)
    with transaction.atomic(using=alias_of(database)):
        send(engine, 1)
        run_id = queued(engine.store)
        send(engine, 2)
    loop = Loop(engine, claim(engine.store, run_id).lease)
    loop.suspend(count=2)
    assert loop.taken() == [2, None]


def test_an_event_from_before_the_run_is_not_given_to_it_by_the_sweep(database: str) -> None:
    engine = engine_on(database)
    early = stored(engine, 0)
    loop = looping(engine)
    loop.suspend()
    models.Event.objects.using(alias_of(database)).update(
        received_at=engine.store.now() - timedelta(hours=1)
    )
    sweep(engine)
    assert loop.taken() == [None]
    assert not engine.store.events.unmatched(older_than=timedelta(0), after=0, limit=9)
    assert match_event(engine, early) == 0
    send(engine, 1)
    assert loop.taken() == [1]


def test_an_event_whose_sender_died_comes_before_a_later_one(database: str) -> None:
    engine = engine_on(database)
    loop = looping(engine)
    loop.suspend()
    stored(engine, 1)
    send(engine, 2)
    assert loop.taken() == [1]
    loop.resume()
    loop.suspend()
    assert loop.taken() == [1, 2]


def test_a_wait_whose_run_has_not_looked_gets_the_first_stored_event(database: str) -> None:
    engine = engine_on(database)
    loop = looping(engine)
    send(engine, 1)  # matched with all the waits there are: none
    loop.suspend(look=False)
    send(engine, 2)
    assert loop.taken() == [1]
    loop.resume()
    loop.suspend(look=False)
    send(engine, 3)
    assert loop.taken() == [1, 2]


def test_each_wait_of_a_run_gets_an_event_of_its_own_in_their_order(database: str) -> None:
    engine = engine_on(database)
    loop = looping(engine)
    loop.suspend(count=3)
    stored(engine, 1)
    stored(engine, 2)
    send(engine, 3)
    assert loop.taken() == [1, 2, 3]


def test_an_earlier_event_that_the_run_has_taken_does_not_hide_the_next(database: str) -> None:
    engine = engine_on(database)
    loop = looping(engine)
    stored(engine, 1)
    loop.suspend()
    assert loop.taken() == [1]
    loop.resume()
    loop.suspend()
    send(engine, 2)
    assert loop.taken() == [1, 2]


def test_a_database_clock_that_steps_back_loses_no_event(database: str) -> None:
    engine = engine_on(database)
    loop = looping(engine)
    send(engine, 1)
    back = engine.store.now() - timedelta(minutes=1)
    events = models.Event.objects.using(alias_of(database))
    events.update(received_at=back, matched_at=back)
    loop.suspend()
    assert loop.taken() == [1]


def test_a_run_that_an_event_starts_takes_those_that_follow_however_late_it_starts(
    database: str,
) -> None:
    engine = engine_on(database)
    engine.store.subscriptions.sync([Subscription(task="t", name="go", filter="{}")], [])
    _, first, after = (stored(engine, number) for number in range(3))
    assert match_event(engine, first) == 1
    [run_id] = models.Run.objects.using(alias_of(database)).values_list("pk", flat=True)
    found = engine.store.waits.unseen_events(run_id, "go", after=0, limit=9)
    assert list(found) == [after]


def test_a_look_back_reads_by_sequence_from_the_cut_on(database: str) -> None:
    engine = engine_on(database)
    for number in range(3):
        send(engine, number)
    engine.store.runs.create([new := new_run()])
    loop = Loop(engine, claim(engine.store, new.id).lease)
    for number in range(3, 6):
        send(engine, number)
    for _ in range(3):
        loop.suspend()
        loop.resume()
    assert loop.taken() == [3, 4, 5]
    states = models.Wait.objects.using(alias_of(database)).values_list("state", flat=True)
    assert set(states) == {WaitState.EVENT}
