"""The last children of a run end while it suspends: it is woken once, with no sweep to help."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from django.db import connections

from support.databases import alias_of, every_database
from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs.consequences import of_end_here
from trigger_celery.engine.waking.look_back import look_back
from trigger_celery.testing.contract.tools import TASK, claim, started
from trigger_celery.vocabulary.identity import new_id, new_token
from trigger_celery.vocabulary.records import Ending, Lease, NewRun, NewWait, StepKind, Suspend
from trigger_celery.vocabulary.states import RunState, WaitState
from trigger_celery_django.models import History, Run, Wait
from trigger_celery_django.store import DjangoStore

ITERATIONS = 150
SERVERS = [param for param in every_database(transaction=True) if "sqlite" not in str(param)]


class Race:
    """One parent after the other, each with two children that end at the same moment."""

    def __init__(self, alias: str, sides: int) -> None:
        self.alias = alias
        self.engine = Engine(store=DjangoStore(alias))
        self.line = Barrier(sides)

    def parent(self) -> Lease:
        """Return the lease of a new run that may start children."""
        return started(self.engine.store)

    def family(self, parent: Lease) -> list[Lease]:
        """Return the leases of two children of the run."""
        born = [
            NewRun(
                id=new_id(),
                task=TASK,
                input="[[],{}]",
                parent_id=parent.run_id,
                parent_key="fan",
            )
            for _ in range(2)
        ]
        self.engine.store.children.create(parent, born)
        return [claim(self.engine.store, run.id).lease for run in born]

    def suspend(self, lease: Lease) -> None:
        """Suspend the parent, then look, as the end of a segment does."""
        wait = NewWait(key="fan", kind=StepKind.CHILDREN, position=1)
        suspend = Suspend(waits=(wait,), keys=("fan",), next_attempt=1, token=new_token())
        self.engine.store.waits.suspend(lease, suspend, look_within=timedelta(hours=1))
        look_back(self.engine, lease)

    def end(self, lease: Lease) -> None:
        """End a child and do what follows from that."""
        ending = Ending(state=RunState.COMPLETED, token=new_token(), output="1")
        self.engine.store.runs.end(lease, ending)
        run = self.engine.store.runs.get(lease.run_id)
        assert run is not None
        of_end_here(self.engine, run, run.state, call_hooks=lambda: None)

    def together(self, action: Callable[[], object], spins: int) -> None:
        """Do it at the moment at which all do theirs, give or take less than a statement."""
        self.line.wait()
        sum(range(spins))
        action()

    def close(self) -> None:
        """Leave no connection of a helper thread behind."""
        self.line.wait()
        connections[self.alias].close()


@pytest.mark.parametrize("early", [True, False], ids=["it waits already", "it suspends meanwhile"])
@pytest.mark.parametrize("database", SERVERS)
def test_a_parent_is_woken_once_by_children_that_end_together(
    database: str, early: bool, transactional_db: None
) -> None:
    sides = 2 if early else 3
    race = Race(alias_of(database), sides)
    seed = random.Random(20261122)
    with ThreadPoolExecutor(sides) as pool:
        for _ in range(ITERATIONS):
            parent = race.parent()
            actions = [lambda lease=lease: race.end(lease) for lease in race.family(parent)]
            if early:
                race.suspend(parent)
            else:
                actions.append(lambda lease=parent: race.suspend(lease))
            running = [
                pool.submit(race.together, action, seed.randrange(0, 4_000)) for action in actions
            ]
            for each in running:
                each.result()
        for closing in [pool.submit(race.close) for _ in range(sides)]:
            closing.result()

    parents = Run.objects.using(race.alias).filter(task=TASK, parent=None)
    assert parents.filter(state=RunState.QUEUED).count() == ITERATIONS
    waits = Wait.objects.using(race.alias).filter(state=WaitState.COMPLETED)
    assert waits.count() == ITERATIONS
    woken = History.objects.using(race.alias).filter(verb="wake")
    assert woken.count() == woken.values("run").distinct().count() == ITERATIONS
