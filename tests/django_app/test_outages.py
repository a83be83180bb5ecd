"""The database goes away at each moment of a body and of a call: nothing is lost or doubled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError, connections, transaction

from support.databases import alias_of
from support.outages import Moment, OutageClock, Proxy
from testproject.shop.models import Effect
from trigger_celery import (
    cancel_run,
    cancel_token,
    complete_token,
    create_schedule,
    create_token,
    delete_schedule,
    extend_wait,
    fork_run,
    get_queue,
    get_run,
    limit_queue,
    list_queues,
    list_runs,
    list_schedules,
    open_waits,
    pause_queue,
    pause_run,
    pause_schedule,
    rerun,
    reschedule_run,
    reset_idempotency_key,
    reset_queue,
    resume_queue,
    resume_run,
    resume_schedule,
    retry_run,
    run_schedule,
    send_event,
    skip_wait,
    sleep,
    step,
    wait_for_token,
)
from trigger_celery.client.access import using_engine
from trigger_celery.client.events import preview_event
from trigger_celery.client.starting import ConfiguredTask
from trigger_celery.client.tokens import get_token
from trigger_celery.config import Config
from trigger_celery.declare.definition import TaskRegistry, define
from trigger_celery.declare.options import NO_OPTIONS
from trigger_celery.engine.core import Engine
from trigger_celery.engine.execution.runner import execute
from trigger_celery.errors import StoreUnavailable
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django import models
from trigger_celery_django.store import DjangoStore

SERVERS = [
    pytest.param(
        name,
        marks=[
            pytest.mark.django_db(databases=[alias_of(name)], transaction=True),
            pytest.mark.requires(name),
        ],
    )
    for name in ("postgres", "mariadb")
]
STRIDES = {alias_of("postgres"): 1, alias_of("mariadb"): 4}
"""Of so many moments one is tried."""
LOG: list[str] = []


@dataclass
class World:
    """An engine whose database is behind a proxy."""

    alias: str
    proxy: Proxy
    clock: OutageClock
    engine: Engine

    def task(self, body: Callable[..., object]) -> ConfiguredTask[..., Any]:
        """Declare a task of this world alone."""
        definition = define(body, name=body.__name__)
        self.engine.tasks.add(definition)
        return ConfiguredTask(definition, NO_OPTIONS)

    def work(self, run_id: UUID) -> None:
        """Execute a run until it has ended: what woke it was not left to a sweep."""
        for _ in range(3):
            task = self.engine.tasks.get(get_run(run_id).task)
            assert task is not None
            execute(self.engine, run_id, task)
            if get_run(run_id).state.terminal:
                return

    def settle(self) -> None:
        """Let the database be there from now on."""
        self.proxy.plan()
        self.proxy.come_back()
        connections[self.alias].close()

    def rows(self, model: Any, **conditions: Any) -> Any:
        return model.objects.using(self.alias).filter(**conditions)


@pytest.fixture
def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    alias = alias_of(request.param)
    settings: dict[str, Any] = connections.settings[alias]
    proxy = Proxy(settings["HOST"], int(settings["PORT"]))
    connections[alias].close()
    with monkeypatch.context() as patch:
        patch.setitem(settings, "HOST", "127.0.0.1")
        patch.setitem(settings, "PORT", str(proxy.port))
        clock = OutageClock(proxy)
        engine = Engine(store=DjangoStore(alias), clock=clock, tasks=TaskRegistry())
        with using_engine(engine):
            yield World(alias, proxy, clock, engine)
        proxy.come_back()
        connections[alias].close()
    proxy.close()
    LOG.clear()


def child(number: int = 0) -> int:
    return number


def everything(world: World) -> ConfiguredTask[..., Any]:
    """Return a task whose body makes each durable call there is, in its body and in steps."""
    started = world.task(child)
    create_schedule("child", key="nightly", every=timedelta(days=1))

    @step(atomic=True)
    def write() -> str:
        Effect.objects.using(world.alias).create(run="r", step="write")
        send_event("written", {"n": 1})
        started.trigger(5)
        Effect.objects.using(world.alias).create(run="r", step="write again")
        return "written"

    @step
    def within() -> str:
        LOG.append("within")
        token = create_token(tags=["within"])
        complete_token(token, "done")
        send_event("within", {"n": 1})
        started.batch_trigger([(3,), (4,)])
        run_schedule("nightly")
        return str(started.options(idempotency_key="once").trigger(6).id)

    @step
    def plain() -> int:
        LOG.append("plain")
        return 1

    def body() -> object:
        plain()
        write()
        within()
        token = create_token(tags=["body"])
        complete_token(token, {"paid": True})
        send_event("sent", {"n": 1})
        started.trigger(0)
        started.batch_trigger([(1,), (2,)])
        run_schedule("nightly")
        return wait_for_token(token)

    return world.task(body)


def check_everything(world: World, run_id: UUID) -> None:
    """Everything happened once, and the outage cost nothing."""
    run = get_run(run_id)
    assert (run.state, run.error, run.output) == (RunState.COMPLETED, None, {"paid": True})
    assert (run.attempt, run.crashes) == (1, 0)
    assert world.rows(models.FailedAttempt).count() == 0
    assert sorted(LOG) == ["plain", "within"]
    assert sorted(world.rows(Effect).values_list("step", flat=True)) == ["write", "write again"]
    names = sorted(world.rows(models.Event).values_list("name", flat=True))
    assert names == ["sent", "within", "written"]
    assert world.rows(models.Token, state="completed").count() == 2
    inputs = sorted(world.rows(models.Run, task="child").values_list("input", flat=True))
    assert inputs == [f"[[{number}],{{}}]" for number in range(7)] + ["[[],{}]"] * 2


def empty(world: World) -> None:
    """Let the next flow find nothing of the last one."""
    LOG.clear()
    kept = (models.Wait, models.Checkpoint, models.FailedAttempt, models.History, models.RunKey)
    whole = (models.Event, models.Token, models.Run, models.Schedule, models.DurableQueue)
    for model in (Effect, *kept, *whole):
        world.rows(model).delete()


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("world", SERVERS, indirect=True)
def test_an_outage_at_any_durable_call_costs_no_attempt_and_doubles_nothing(
    world: World, moment: Moment
) -> None:
    task = everything(world)
    run_id = task.trigger().id
    world.proxy.plan()
    world.work(run_id)
    requests = world.proxy.count()
    check_everything(world, run_id)
    for at in range(0, requests, STRIDES[world.alias]):
        empty(world)
        create_schedule("child", key="nightly", every=timedelta(days=1))
        run_id = task.trigger().id
        world.proxy.plan(at, moment)
        world.work(run_id)
        world.settle()
        check_everything(world, run_id)
    assert requests > 50


@dataclass
class Things:
    """What calls of web code are about."""

    world: World
    task: ConfiguredTask[..., Any]
    delayed: UUID
    paused: UUID
    failed: UUID
    napping: UUID
    token: UUID
    wait: int


def things(world: World) -> Things:
    """Make one of each."""

    def naps() -> None:
        sleep(timedelta(hours=1))

    def fails() -> None:
        raise LookupError

    task = world.task(child)
    create_schedule("child", key="nightly", every=timedelta(days=1))
    napping, failed = world.task(naps).trigger().id, world.task(fails).trigger().id
    paused = task.trigger().id
    pause_run(paused)
    execute(world.engine, napping, world.engine.tasks.get("naps"))  # type: ignore[arg-type]
    execute(world.engine, failed, world.engine.tasks.get("fails"))  # type: ignore[arg-type]
    [wait] = open_waits(run_id=napping)
    return Things(
        world=world,
        task=task,
        delayed=task.options(delay=timedelta(hours=1)).trigger(1).id,
        paused=paused,
        failed=failed,
        napping=napping,
        token=create_token().id,
        wait=wait.id,
    )


CALLS: dict[str, Callable[[Things], object]] = {
    "trigger": lambda it: it.task.trigger(2),
    "trigger with tags": lambda it: it.task.options(tags=["a"]).trigger(2),
    "trigger with a key": lambda it: it.task.options(idempotency_key="k").trigger(2),
    "batch_trigger": lambda it: it.task.batch_trigger([(2,), (3,)]),
    "reset_idempotency_key": lambda it: reset_idempotency_key("child", "k"),
    "send_event": lambda it: send_event("sent"),
    "preview_event": lambda it: preview_event("sent"),
    "create_token": lambda it: create_token(),
    "get_token": lambda it: get_token(it.token),
    "complete_token": lambda it: complete_token(it.token, 1),
    "cancel_token": lambda it: cancel_token(it.token),
    "get_run": lambda it: get_run(it.delayed),
    "list_runs": lambda it: list_runs(),
    "cancel_run": lambda it: cancel_run(it.delayed),
    "pause_run": lambda it: pause_run(it.delayed),
    "resume_run": lambda it: resume_run(it.paused),
    "retry_run": lambda it: retry_run(it.failed),
    "reschedule_run": lambda it: reschedule_run(it.delayed, delay=timedelta(minutes=1)),
    "rerun": lambda it: rerun(it.failed),
    "fork_run": lambda it: fork_run(it.napping, step="sleep"),
    "open_waits": lambda it: open_waits(),
    "skip_wait": lambda it: skip_wait(it.wait),
    "extend_wait": lambda it: extend_wait(it.wait, timedelta(hours=1)),
    "list_schedules": lambda it: list_schedules(),
    "create_schedule": lambda it: create_schedule("child", key="new", every=timedelta(days=1)),
    "pause_schedule": lambda it: pause_schedule("nightly"),
    "resume_schedule": lambda it: resume_schedule("nightly"),
    "run_schedule": lambda it: run_schedule("nightly"),
    "delete_schedule": lambda it: delete_schedule("nightly"),
    "list_queues": lambda it: list_queues(),
    "get_queue": lambda it: get_queue("task/child"),
    "pause_queue": lambda it: pause_queue("task/child"),
    "resume_queue": lambda it: resume_queue("task/child"),
    "limit_queue": lambda it: limit_queue("task/child", concurrency_limit=2),
    "reset_queue": lambda it: reset_queue("task/child"),
}
COUNTED = (models.Run, models.Event, models.Token, models.Schedule, models.History, models.Wait)


def state_of(world: World) -> list[object]:
    """Return how many rows there are, and what the verbs of runs noted."""
    notes = sorted(world.rows(models.History).values_list("verb", flat=True))
    due = sorted(world.rows(models.Wait).values_list("state", "due_at"), key=str)
    hours = [None if at is None else round(at.timestamp() / 3600) for _, at in due]
    return [*(world.rows(model).count() for model in COUNTED), notes, hours]


def shape_of(answer: object) -> object:
    """Return what two calls with the same outcome have in common."""
    return answer if isinstance(answer, bool) else type(answer)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("world", SERVERS[:1], indirect=True)
def test_a_short_outage_is_not_seen_by_code_outside_of_runs(world: World, name: str) -> None:
    call = CALLS[name]
    it = things(world)
    world.proxy.plan()
    expected = shape_of(call(it))
    requests, state = world.proxy.count(), state_of(world)
    for moment in (Moment.BEFORE, Moment.LOST_ACK):
        for at in range(requests):
            empty(world)
            it = things(world)
            world.proxy.plan(at, moment)
            answer = call(it)
            world.settle()
            # Of what says whether it changed something a repeat cannot know: it says yes.
            assert shape_of(answer) in (expected, True), f"request {at}, {moment}"
            assert state_of(world) == state, f"request {at}, {moment}"


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("world", SERVERS[:1], indirect=True)
def test_a_long_outage_is_one_error_and_keeps_no_caller(world: World, name: str) -> None:
    call = CALLS[name]
    it = things(world)
    world.clock.ends_outages = False
    world.proxy.go_away()
    before = world.clock.slept
    with pytest.raises(StoreUnavailable):
        call(it)
    assert world.clock.slept - before <= Config().call_patience.total_seconds()


@pytest.mark.parametrize("name", ["send_event", "complete_token", "pause_run", "cancel_run"])
@pytest.mark.parametrize("world", SERVERS[:1], indirect=True)
def test_an_outage_right_after_a_commit_keeps_no_caller(world: World, name: str) -> None:
    call = CALLS[name]
    it = things(world)
    world.proxy.plan()
    call(it)
    requests, done = world.proxy.count(), False
    for at in reversed(range(requests)):
        empty(world)
        it = things(world)
        world.clock.ends_outages = False
        world.proxy.plan(at)
        before = world.clock.slept
        try:
            call(it)
            done = True
        except StoreUnavailable:
            pass
        assert world.clock.slept - before <= Config().call_patience.total_seconds()
        world.settle()
    assert done or name == "pause_run"  # nothing follows its commit


@pytest.mark.parametrize("name", ["trigger", "trigger with tags", "send_event", "create_token"])
@pytest.mark.parametrize("world", SERVERS[:1], indirect=True)
def test_in_a_transaction_of_the_caller_the_error_comes_at_once(world: World, name: str) -> None:
    it = things(world)
    before, caught = world.clock.slept, []

    def caller() -> None:
        with transaction.atomic(using=world.alias):
            Effect.objects.using(world.alias).create(run="r", step="s")
            world.clock.ends_outages = False
            world.proxy.go_away()
            try:
                CALLS[name](it)
            except Exception as error:
                caught.append(type(error))
                raise

    with pytest.raises((StoreUnavailable, OperationalError)):  # leaving atomic() is Django's
        caller()
    assert caught == [StoreUnavailable]
    assert world.clock.slept == before
