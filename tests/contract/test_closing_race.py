"""Children end by themselves while several workers close them with their canceled parent."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from django.db import connections

from support.databases import alias_of, every_database
from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs import consequences
from trigger_celery.engine.runs import control as run_control
from trigger_celery.engine.runs.consequences import of_end_here
from trigger_celery.errors import LeaseLost
from trigger_celery.testing.contract.tools import TASK, claim, started
from trigger_celery.vocabulary.identity import new_id, new_token
from trigger_celery.vocabulary.records import Ending, Lease, NewRun
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.models import History, Run
from trigger_celery_django.store import DjangoStore

COUNT, SIDES = 120, 3
SERVERS = [param for param in every_database(transaction=True) if "sqlite" not in str(param)]


class Family:
    """A parent and its children, all of them executing."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.engine = Engine(store=DjangoStore(alias))
        self.parent = started(self.engine.store)
        born = [
            NewRun(
                id=new_id(),
                task=TASK,
                input="[[],{}]",
                parent_id=self.parent.run_id,
                parent_key="fan",
                closes_with_parent=True,
            )
            for _ in range(COUNT)
        ]
        self.engine.store.children.create(self.parent, born)
        self.leases = [claim(self.engine.store, run.id).lease for run in born]

    def end(self, leases: list[Lease]) -> int:
        """End children one after the other; return how many were still theirs to end."""
        ended = 0
        for lease in leases:
            ending = Ending(state=RunState.COMPLETED, token=new_token(), output="1")
            try:
                self.engine.store.runs.end(lease, ending)
            except LeaseLost:
                continue
            self._follow(lease.run_id)
            ended += 1
        connections[self.alias].close()
        return ended

    def close(self) -> None:
        """Cancel the parent and publish that."""
        run_control.cancel(self.engine, self.parent.run_id)
        self._follow(self.parent.run_id)
        connections[self.alias].close()

    def _follow(self, run_id: UUID) -> None:
        run = run_control.get(self.engine, run_id)
        of_end_here(self.engine, run, run.state, call_hooks=lambda: None)


@pytest.mark.parametrize("database", SERVERS)
def test_each_child_ends_once_and_none_is_spared_while_all_race(
    database: str,
    transactional_db: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(consequences, "BATCH", 7)
    family = Family(alias_of(database))
    with caplog.at_level(logging.WARNING), ThreadPoolExecutor(2 * SIDES) as pool:
        ends = [
            pool.submit(family.end, family.leases[side : COUNT // 2 : SIDES])
            for side in range(SIDES)
        ]
        for closing in [pool.submit(family.close) for _ in range(SIDES)]:
            closing.result()
        completed = sum(end.result() for end in ends)
    runs = Run.objects.using(family.alias).filter(parent=family.parent.run_id)
    assert runs.filter(state=RunState.COMPLETED).count() == completed
    assert runs.filter(state=RunState.CANCELED).count() == COUNT - completed
    recorded_ends = History.objects.using(family.alias).filter(
        run__in=runs, verb__in=("complete", "cancel")
    )
    assert recorded_ends.count() == COUNT
    assert caplog.text == ""
