"""Drives one run to its end through whatever fault its store is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from trigger_celery.declare.definition import TaskRegistry, define
from trigger_celery.engine.core import Engine, NullDispatcher
from trigger_celery.engine.execution.runner import execute, published
from trigger_celery.engine.process.leases import LeaseKeeper
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.engine.upkeep.sweep import sweep
from trigger_celery.engine.waking.events import send_event
from trigger_celery.errors import StoreUnavailable
from trigger_celery.ports import Store
from trigger_celery.testing import FaultStore, ManualClock, SimulatedCrash
from trigger_celery.testing.faults import Plan
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import Nudge, Run

TICK = timedelta(seconds=20)
PATIENCE = 200


class Inbox(NullDispatcher):
    """Keeps nudges until a worker comes for them; all of them are lost with a crash."""

    def __init__(self) -> None:
        self.nudges: list[Nudge] = []

    def nudge(self, nudges: Sequence[Nudge]) -> None:
        """Keep them."""
        self.nudges.extend(nudges)


class QuietKeeper(LeaseKeeper):
    """Renews nothing: the clock of a test only moves between segments."""

    def _ensure_thread(self, held: object) -> None:
        return


@dataclass
class World:
    """One run of ``body`` on a store that may fail.

    ``effects`` counts what step bodies did to the outside. ``event`` is sent, under one
    id, as soon as the run waits; ``advance`` lets the database's time pass; ``watch`` is
    called once before the next thing is done. ``others`` are the bodies of the tasks that
    the run starts.
    """

    inner: Store
    advance: Callable[[timedelta], object]
    body: Callable[..., Any]
    plan: Plan = field(default_factory=dict)
    event: str = ""
    effects: Counter[str] = field(default_factory=Counter)
    watch: Callable[[], None] | None = None
    others: tuple[Callable[..., Any], ...] = ()
    publications: int = 0
    crashes: int = 0

    def __post_init__(self) -> None:
        self.run_id = new_id()
        self.event_id = str(new_id())
        self.definition = define(self.body, name=f"flow-{self.body.__name__}")
        family = (self.definition, *(define(body, name=body.__name__) for body in self.others))
        self.tasks = {task.name: task for task in family}
        self.store = FaultStore(self.inner, self.plan)
        self.boot()

    def boot(self, worker: str = "w1") -> None:
        """Start a worker: nothing of an earlier one's memory is left."""
        self.store.restart()
        self.worker = worker
        self.inbox = Inbox()
        clock = ManualClock()
        self.engine = Engine(
            store=self.store,
            dispatcher=self.inbox,
            clock=clock,
            worker=lambda: worker,
            tasks=TaskRegistry(),
        )
        self.engine.__dict__["leases"] = QuietKeeper(self.store, clock)

    @property
    def run(self) -> Run | None:
        """The run as it is stored."""
        return self.inner.runs.get(self.run_id)

    def finish(self) -> Run:
        """Work until the run has ended and is published, through every fault."""
        for _ in range(PATIENCE):
            run = self.run
            if run is not None and run.published_at is not None:
                return run
            with self.faults():
                self.act(run)
        raise AssertionError(f"the run did not end: {self.run}, {self.store.calls}")

    @contextmanager
    def faults(self) -> Iterator[None]:
        """A crash starts another worker; a client whose call failed calls again."""
        try:
            yield
        except SimulatedCrash:
            self.crashes += 1
            self.boot(f"w{self.crashes + 1}")
        except StoreUnavailable:
            pass

    def act(self, run: Run | None) -> None:
        """Do what is to be done next."""
        if self.watch is not None:
            self.watch()
            self.watch = None
        if run is None:
            trigger(self.engine, self.definition, (str(self.run_id),), id=self.run_id)
        elif self.inbox.nudges:
            self.work(self.inbox.nudges.pop(0).run_id)
        elif self.event and self.inner.waits.open(self.run_id):
            payload = {"run": str(self.run_id)}
            send_event(self.engine, self.event, payload, id=self.event_id)
            self.wait_a_while()
        else:
            self.wait_a_while()

    def work(self, run_id: UUID) -> None:
        """Execute one segment and publish its end, as a worker does."""
        run = self.inner.runs.get(run_id)
        task = self.definition if run is None else self.tasks[run.task]
        # No callback asks for the ends of children: the engine itself has to.
        executed = execute(self.engine, run_id, task, publish=lambda run: not run.spec.parent_key)
        if getattr(executed, "owed", False):
            self.publications += run_id == self.run_id
            published(self.engine, executed)

    def wait_a_while(self) -> None:
        """Let time pass and sweep."""
        self.advance(TICK)
        sweep(self.engine)
