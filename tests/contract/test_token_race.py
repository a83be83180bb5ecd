"""A completion and a wait that commit at the same moment find each other, without the sweep."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
from django.db import connections, transaction

from support.databases import alias_of, every_database
from trigger_celery.engine.core import Engine
from trigger_celery.engine.upkeep.sweep import sweep
from trigger_celery.engine.waking.look_back import look_back
from trigger_celery.engine.waking.tokens import complete_token, create_token
from trigger_celery.errors import TokenClosed
from trigger_celery.testing import Fault, FaultStore, SimulatedCrash
from trigger_celery.testing.contract.tools import started, suspended, suspension
from trigger_celery.testing.contract.waits import token_wait
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import Lease, NewToken
from trigger_celery.vocabulary.states import RunState, WaitState
from trigger_celery_django.models import Run, Token, Wait
from trigger_celery_django.store import DjangoStore

ITERATIONS = 400
EVERYWHERE = every_database(transaction=True)
SERVERS = [param for param in EVERYWHERE if "sqlite" not in str(param)]


class Race:
    """One run after the other, whose token is completed in the moment it begins to wait."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.engine = Engine(store=DjangoStore(alias))
        self.line = Barrier(2)

    def wait(self, lease: Lease, token_id: UUID, pause: Callable[[], None]) -> None:
        """Suspend the run, then look, as the end of a segment does."""
        what = suspension(token_wait(token_id))
        self.line.wait()
        pause()
        self.engine.store.waits.suspend(lease, what, look_within=timedelta(hours=1))
        look_back(self.engine, lease)

    def complete(self, token_id: UUID, value: object, pause: Callable[[], None]) -> bool:
        """Complete the token in a transaction of user code; whether it was the first to."""
        self.line.wait()
        pause()
        try:
            with transaction.atomic(using=self.alias):
                complete_token(self.engine, token_id, value)
        except TokenClosed:
            return False
        return True

    def close(self) -> None:
        """Leave no connection of a helper thread behind."""
        self.line.wait()
        connections[self.alias].close()


def pauses() -> Callable[[], Callable[[], None]]:
    seed = random.Random(20261122)

    def pause() -> Callable[[], None]:
        spins = seed.randrange(0, 4_000)  # less than a statement takes, and never the same

        def spin() -> None:
            sum(range(spins))

        return spin

    return pause


@pytest.mark.parametrize("database", SERVERS)
def test_a_completion_and_a_wait_that_race_always_meet(
    database: str, transactional_db: None
) -> None:
    race, pause = Race(alias_of(database)), pauses()
    with ThreadPoolExecutor(2) as pool:
        for _ in range(ITERATIONS):
            lease = started(race.engine.store)
            token_id = create_token(race.engine, NewToken(id=new_id())).id
            sides: list[Future[Any]] = [
                pool.submit(race.wait, lease, token_id, pause()),
                pool.submit(race.complete, token_id, 1, pause()),
            ]
            for side in sides:
                side.result()
        for closing in [pool.submit(race.close), pool.submit(race.close)]:
            closing.result()

    waits = Wait.objects.using(race.alias)
    assert Run.objects.using(race.alias).filter(state=RunState.QUEUED).count() == ITERATIONS
    assert waits.filter(state=WaitState.COMPLETED, value="1").count() == ITERATIONS
    assert not Token.objects.using(race.alias).filter(settled_at=None).exists()


@pytest.mark.parametrize("database", SERVERS)
def test_of_two_completions_at_once_one_wins(database: str, transactional_db: None) -> None:
    race, pause = Race(alias_of(database)), pauses()
    with ThreadPoolExecutor(2) as pool:
        for _ in range(100):
            token_id = create_token(race.engine, NewToken(id=new_id())).id
            sides = [pool.submit(race.complete, token_id, value, pause()) for value in (1, 2)]
            won = [side.result() for side in sides]
            assert sorted(won) == [False, True]
            stored = race.engine.store.tokens.get(token_id)
            assert stored is not None
            assert stored.value == str(won.index(True) + 1)
        for closing in [pool.submit(race.close), pool.submit(race.close)]:
            closing.result()


@pytest.mark.parametrize("database", EVERYWHERE)
def test_a_process_that_dies_after_it_completed_a_token_is_made_up_for(
    database: str, transactional_db: None
) -> None:
    inner = DjangoStore(alias_of(database))
    # The calls are get and close, then, committed: get, waits, conclude, settled.
    faults = [(1, Fault.AFTER), *((n, f) for n in range(2, 6) for f in (Fault.BEFORE, Fault.AFTER))]
    for number, fault in faults:
        store = FaultStore(inner, {number: fault})
        engine = Engine(store=store)
        token_id = inner.tokens.create(NewToken(id=new_id())).id
        run_id = suspended(inner, token_wait(token_id))
        with pytest.raises(SimulatedCrash):
            complete_token(engine, token_id, "kept")
        store.restart()
        sweep(engine)
        run = inner.runs.get(run_id)
        assert run is not None
        assert run.state is RunState.QUEUED
        wait = Wait.objects.using(inner.alias).get(run=run_id)
        assert (wait.state, wait.value) == (WaitState.COMPLETED, '"kept"')
        assert list(inner.tokens.unsettled(limit=9)) == []
