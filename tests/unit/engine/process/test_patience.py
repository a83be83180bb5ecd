"""The database goes away and comes back: what is repeated, for how long, and what is dropped."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import trigger_celery
from trigger_celery.body.steps import step
from trigger_celery.body.waits import sleep
from trigger_celery.config import Config
from trigger_celery.declare.options import TriggerOptions
from trigger_celery.engine.execution.runner import execute
from trigger_celery.engine.process.patience import NOUNS, persist
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.engine.segment.outcome import Left
from trigger_celery.errors import PayloadTooLarge, StoreUnavailable
from trigger_celery.ports import Store
from trigger_celery.testing import Fault, FaultStore, Harness, ManualClock
from trigger_celery.values import JsonCodec
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import DeadLetterFilter
from trigger_celery.vocabulary.states import RunState

PATIENCE = timedelta(seconds=10)
LOG: list[str] = []


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    LOG.clear()


class Away:
    """A verb that fails so many times."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.times:
            raise StoreUnavailable("away")
        return "answer"


def _persisted(verb: Callable[[], Any], clock: ManualClock, patience: timedelta = PATIENCE) -> Any:
    return persist(lambda again: verb(), clock=clock, patience=lambda: patience)


def test_a_verb_is_repeated_with_growing_pauses() -> None:
    clock, verb = ManualClock(), Away(4)
    assert _persisted(verb, clock) == "answer"
    assert clock.monotonic() == pytest.approx(0.05 + 0.1 + 0.2 + 0.4)


def test_pauses_do_not_grow_for_ever() -> None:
    clock, verb = ManualClock(), Away(20)
    _persisted(verb, clock, timedelta(minutes=5))
    assert clock.monotonic() == pytest.approx(0.05 * (2**7 - 1) + 13 * 5)


def test_patience_ends() -> None:
    clock, verb = ManualClock(), Away(99)
    with pytest.raises(StoreUnavailable, match="away"):
        _persisted(verb, clock)
    assert 5 < clock.monotonic() <= 10


def test_other_errors_are_not_repeated() -> None:
    calls: list[int] = []

    def verb() -> None:
        calls.append(1)
        raise LookupError

    with pytest.raises(LookupError):
        _persisted(verb, ManualClock())
    assert calls == [1]


@pytest.mark.parametrize(
    ("verb", "call"),
    [
        ("runs.cancel", trigger_celery.cancel_run),
        ("runs.retry", trigger_celery.retry_run),
        ("managing.pause", trigger_celery.pause_run),
        ("managing.resume", trigger_celery.resume_run),
        ("managing.reschedule", partial(trigger_celery.reschedule_run, delay=9)),
    ],
)
def test_what_a_person_asks_of_a_run_survives_a_hiccup_of_the_database(
    verb: str, call: Callable[[UUID], object]
) -> None:
    with Harness() as harness:
        if verb == "runs.retry":
            run_id = harness.trigger(harness.task(_fails))
            harness.run_until_idle()
        else:
            later = TriggerOptions(delay=timedelta(minutes=1))
            run_id = trigger(harness.engine, harness.task(task), options=later)
        if verb == "managing.resume":
            trigger_celery.pause_run(run_id)
        store = FaultStore(harness.memory, {0: Fault.REFUSED, 1: Fault.REFUSED})
        harness.engine.store = store
        call(run_id)
        looks = ["runs.history", "runs.history"]
        assert [name for _, name in store.calls[:4]] == [verb, *looks, verb]


@pytest.mark.parametrize(
    "call",
    [
        trigger_celery.cancel_run,
        trigger_celery.pause_run,
        partial(trigger_celery.reschedule_run, delay=9),
    ],
)
def test_what_a_person_asks_of_a_run_is_done_once_though_its_answer_is_lost(
    call: Callable[[UUID], object],
) -> None:
    with Harness() as harness:
        later = TriggerOptions(delay=timedelta(minutes=1))
        run_id = trigger(harness.engine, harness.task(task), options=later)
        harness.engine.store = FaultStore(harness.memory, {0: Fault.LOST_ACK})
        assert call(run_id) in (True, None)
        assert len(harness.memory.runs.history(run_id)) == 2


def test_a_retry_whose_answer_is_lost_is_no_second_one_after_the_run_failed_again() -> None:
    with Harness() as harness:
        run_id = harness.trigger(harness.task(_fails))
        harness.run_until_idle()

        def fail_again() -> None:
            harness.engine.store = harness.memory
            harness.run_until_idle()
            harness.engine.store = store

        store = FaultStore(harness.memory, {0: Fault.LOST_ACK, 1: fail_again})
        harness.engine.store = store
        trigger_celery.retry_run(run_id)
        verbs = [entry.verb for entry in harness.memory.runs.history(run_id)]
        assert verbs.count("retry") == 1
        assert harness.run(run_id).state is RunState.FAILED


def _fails() -> None:
    raise LookupError


def test_nothing_is_repeated_in_an_open_transaction() -> None:
    with Harness() as harness:
        memory, engine = harness.memory, harness.engine
        engine.store = FaultStore(memory, {0: Fault.REFUSED, 1: Fault.REFUSED})
        before = harness.clock.monotonic()
        with pytest.raises(StoreUnavailable), memory.transaction():
            engine.patient.runs.get(new_id())
        assert harness.clock.monotonic() == before
        assert engine.patient.runs.get(new_id()) is None
        assert harness.clock.monotonic() - before == pytest.approx(0.05)


def test_patience_knows_all_nouns_of_a_store() -> None:
    nouns = {name for name, each in vars(Store).items() if isinstance(each, property)}
    assert nouns == NOUNS


AT_ONCE = {
    # in the caller's transaction, which only the caller can do again
    "runs.create",
    "managing.copy",
    "events.add",
    "events.get",
    "dead_letters.hand_on",
    "bulk_operations.create",
    "tokens.create",
    "tokens.close",
    "keys.hold",
    "keys.take",
    "keys.drop",
    "keys.reset",
    "keys.push_back",
    "schedules.add",
    "schedules.change",
    "schedules.remove",
    # within work that is repeated as a whole, which then looks what was done
    "runs.cancel",
    "runs.retry",
    "runs.history",
    "dead_letters.discard",
    "bulk_operations.turn",
    "managing.pause",
    "managing.resume",
    "managing.reschedule",
    "open_waits.get",
    "open_waits.extend",
    "open_waits.end",
    "queues.get",
    "queues.pause",
    "queues.resume",
    "queues.override",
    "queues.reset",
    # in the transaction of an atomic step, which is repeated with its body
    "checkpoints.record",
    # come again by themselves, with the next sweep or heartbeat
    "runs.renew",
    "sweeps.due",
    "sweeps.elect",
    "sweeps.resign",
    "sweeps.expire",
    "events.unmatched",
    "dead_letters.tally",
    "events.purge",
    "tokens.unsettled",
    "schedules.all",
    "schedules.due",
    "subscriptions.sync",
    "queues.admit",
    "queues.declare",
    "queues.lines",
    "queues.clean_up",
    "queues.all",
    # for signals, and for what a worker shows of a run: nothing hangs on them
    "runs.get",
}
"""Verbs that the engine calls without patience, and why."""


def test_the_engine_is_impatient_only_where_it_says_so() -> None:
    verb = re.compile(r"\bstore\.((?:" + "|".join(NOUNS) + r")\.\w+)")
    folder = Path(trigger_celery.__file__).parent
    offenders = [
        f"{path.relative_to(folder)}: {found}"
        for part in ("engine", "celery", "client")
        for path in (folder / part).rglob("*.py")
        for found in verb.findall(path.read_text())
        if found not in AT_ONCE
    ]
    assert offenders == []


@step
def charge() -> str:
    LOG.append("charge")
    return "receipt"


@step(atomic=True)
def write() -> str:
    LOG.append("write")
    return "receipt"


def task() -> str:
    return charge()


def atomic_task() -> str:
    return write()


def flow() -> str:
    charge()
    sleep(5)
    return charge()


def calls_of(body: Callable[[], object]) -> list[tuple[int, str]]:
    stores: list[FaultStore] = []

    def wrap(store: Any) -> FaultStore:
        stores.append(FaultStore(store))
        return stores[0]

    with Harness(wrap=wrap) as harness:
        _execute(harness, harness.trigger(harness.task(body)))
    LOG.clear()
    return stores[0].calls


@pytest.mark.parametrize(
    ("body", "verb"),
    [
        (task, "checkpoints.record"),
        (atomic_task, "commit"),
        (flow, "waits.suspend"),
        (task, "runs.end"),
    ],
)
def test_a_database_that_stays_away_leaves_the_run_to_its_lease(
    body: Callable[[], object], verb: str
) -> None:
    first = next(number for number, name in calls_of(body) if name == verb)
    plan = dict.fromkeys(range(first, 500), Fault.REFUSED)
    config = Config(database_patience=PATIENCE)
    with Harness(config=config, wrap=lambda store: FaultStore(store, plan)) as harness:
        run_id = harness.trigger(harness.task(body))
        left = _execute(harness, run_id)
        assert isinstance(left, Left)
        assert left.reason == "lease lost"
        assert harness.memory.runs.get(run_id).state is RunState.EXECUTING  # type: ignore[union-attr]
        assert harness.memory.dead_letters.find(DeadLetterFilter(), limit=9) == []


def _execute(harness: Harness, run_id: Any) -> Any:
    [definition] = harness.engine.tasks
    return execute(harness.engine, run_id, definition)


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.LOST_ACK])
def test_a_checkpoint_is_repeated_until_it_is_stored_once(fault: Fault) -> None:
    first = next(n for n, name in calls_of(task) if name == "checkpoints.record")
    plan = dict.fromkeys(range(first, first + 3), fault)
    with Harness(wrap=lambda store: FaultStore(store, plan)) as harness:
        run_id = harness.trigger(harness.task(task))
        _execute(harness, run_id)
        assert harness.result(run_id) == "receipt"
    assert LOG == ["charge"]


def test_arguments_that_do_not_fit_store_nothing(harness: Harness) -> None:
    def body(order: str, *, shop: str = "s") -> None: ...

    definition = harness.task(body)
    for args, kwargs in (((), {}), (("o", 1), {}), (("o",), {"shpo": 1})):
        with pytest.raises(TypeError, match="task 'body': "):
            harness.trigger(definition, *args, **kwargs)
    with pytest.raises(ValueError, match=r"\$\[0\]\[0\]"):
        harness.trigger(definition, object())
    assert harness.memory.open_runs() == []
    assert harness.dispatcher.nudges == []


def test_arguments_keep_their_types(harness: Harness) -> None:
    def body(*args: object, **kwargs: object) -> list[object]:
        return [args, kwargs]

    run_id = harness.trigger(harness.task(body), (1, 2), name={3}, _=b"x")
    harness.run_until_idle()
    assert harness.result(run_id) == [((1, 2),), {"name": {3}, "_": b"x"}]


def test_a_value_over_the_limit_fails_the_step_once(harness: Harness) -> None:
    @step
    def big() -> str:
        LOG.append("big")
        return "x" * 200

    harness.engine.codec = JsonCodec(limit=100)
    definition = harness.task(lambda *args: big(), name="task")
    run_id = harness.trigger(definition)
    harness.run_until_idle()
    assert "PayloadTooLarge" in (harness.stored(run_id).error or "")
    assert "the result of step 'big' is 202 bytes" in (harness.stored(run_id).error or "")
    assert LOG == ["big"]
    with pytest.raises(PayloadTooLarge, match="the arguments of task 'task'"):
        harness.trigger(definition, "x" * 100)
    with pytest.raises(PayloadTooLarge, match="the payload of event 'e'"):
        harness.send_event("e", "x" * 100)
