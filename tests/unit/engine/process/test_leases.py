"""Leases: renewed while a segment runs, and trusted no longer than they hold."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from typing import Any, cast
from uuid import uuid4

import pytest

from trigger_celery.body.context import heartbeat
from trigger_celery.body.steps import step
from trigger_celery.engine.process.leases import Holding, LeaseKeeper
from trigger_celery.engine.segment.outcome import Left
from trigger_celery.errors import LeaseLost, StoreUnavailable
from trigger_celery.ports import Store
from trigger_celery.testing import Harness, ManualClock
from trigger_celery.vocabulary.clock import SystemClock
from trigger_celery.vocabulary.records import Claim, Lease
from trigger_celery.vocabulary.states import RunState

SHORT = timedelta(seconds=0.03)
LONG = timedelta(seconds=60)


class Renewals:
    """Stands in for a store: counts renewals and gives the answers that a test sets."""

    def __init__(self) -> None:
        self.beats = 0
        self.released = 0
        self.third = threading.Event()
        self.lost: set[Lease] = set()
        self.paused: set[Lease] = set()
        self.errors: Iterator[Exception | None] = iter(())

    @property
    def runs(self) -> Renewals:
        return self

    def renew(self, leases: Collection[Lease]) -> Mapping[Lease, bool]:
        self.beats += 1
        error = next(self.errors, None)
        if error is not None:
            raise error
        if self.beats >= 3:
            self.third.set()
        return {lease: lease in self.paused for lease in set(leases) - self.lost}

    def release(self) -> None:
        self.released += 1

    def leave_pool(self) -> None:
        """Do nothing: there is no pool."""


def keeper(store: Renewals, clock: Any = None) -> LeaseKeeper:
    return LeaseKeeper(cast(Store, store), clock or SystemClock())


def a_lease() -> Lease:
    return Lease(uuid4(), 1, "t")


def test_a_thread_renews_what_is_held() -> None:
    store = Renewals()
    leases = keeper(store)
    with leases.holding(a_lease(), SHORT, sent_at=SystemClock().monotonic()) as held:
        first = held.deadline
        assert store.third.wait(10)
        assert held.deadline > first
        assert not held.lost
    assert store.released >= 2


@pytest.mark.parametrize("error", [StoreUnavailable("away"), RuntimeError("bug")])
def test_the_thread_goes_on_after_a_failure(error: Exception) -> None:
    store = Renewals()
    store.errors = iter([error])
    clock = ManualClock()
    leases = keeper(store, SystemClock())
    leases._clock = _Hurried(clock)  # pauses after failures are not waited for
    with leases.holding(a_lease(), SHORT, sent_at=SystemClock().monotonic()) as held:
        assert store.third.wait(10)
        assert not held.lost


def test_the_thread_goes_on_when_its_connection_cannot_be_closed() -> None:
    store = Renewals()

    def release() -> None:
        raise RuntimeError("a bad driver")

    store.release = release  # type: ignore[method-assign]
    with keeper(store).holding(a_lease(), SHORT, sent_at=SystemClock().monotonic()) as held:
        assert store.third.wait(10)
        assert not held.lost


class _Hurried(SystemClock):
    def __init__(self, clock: ManualClock) -> None:
        self._pauses = clock

    def sleep(self, seconds: float) -> None:
        self._pauses.sleep(seconds)


def test_a_lease_that_is_gone_is_marked_and_not_asked_for_again() -> None:
    store, lease = Renewals(), a_lease()
    store.lost = {lease}
    leases = keeper(store)
    held = Holding(lease, 60, 0, SystemClock())
    leases.renew([held])
    assert held.lost
    with pytest.raises(LeaseLost, match=str(lease.run_id)):
        held.check()


def test_a_lease_counts_from_before_its_claim_was_sent() -> None:
    clock = ManualClock()
    leases = keeper(Renewals(), clock)
    sent_at = clock.monotonic()
    clock.sleep(59)  # the answer took that long
    with leases.holding(a_lease(), LONG, sent_at=sent_at) as held:
        held.check()
        clock.sleep(1)
        with pytest.raises(LeaseLost):
            held.check()


def test_a_renewal_counts_from_before_it_was_sent() -> None:
    clock, store = ManualClock(), Renewals()

    class Slow(Renewals):
        def renew(self, leases: Collection[Lease]) -> Mapping[Lease, bool]:
            clock.sleep(30)
            return super().renew(leases)

    store = Slow()
    leases = keeper(store, clock)
    held = Holding(a_lease(), 60, 0, clock)
    leases.renew([held])
    assert held.deadline == 60
    leases.renew([held])
    assert held.deadline == 90


def test_a_lease_is_renewed_after_a_third_of_its_length() -> None:
    held = Holding(a_lease(), 60, 100, SystemClock())
    assert held.renew_at == 120
    held.extend(130)
    assert held.renew_at == 150
    held.extend(110)  # an earlier one whose answer came later
    assert held.deadline == 190


def test_a_dead_thread_is_started_again() -> None:
    store = Renewals()
    leases = keeper(store)
    leases._thread = threading.Thread(target=bool)
    leases._thread.start()
    leases._thread.join()
    with leases.holding(a_lease(), SHORT, sent_at=SystemClock().monotonic()):
        assert store.third.wait(10)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_starts_over() -> None:
    store = Renewals()
    leases = keeper(store)
    sent_at = SystemClock().monotonic()
    with leases.holding(a_lease(), LONG, sent_at=sent_at):
        pid = os.fork()
        if pid == 0:  # pragma: no cover  # the child's answer is its exit code
            _exit_with(leases, store)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _exit_with(leases: LeaseKeeper, store: Renewals) -> None:  # pragma: no cover
    code = 1
    try:
        sent_at = SystemClock().monotonic()
        with leases.holding(a_lease(), SHORT, sent_at=sent_at):
            code = 0 if store.third.wait(10) and len(leases._held) == 1 else 2
    finally:
        os._exit(code)


def rival(harness: Harness, run_id: Any) -> None:
    """Let another worker take the run over, outside of any transaction of this thread."""
    thread = threading.Thread(target=_take_over, args=(harness, run_id))
    thread.start()
    thread.join()


def _take_over(harness: Harness, run_id: Any) -> None:
    run = harness.run(run_id)
    harness.memory.runs.recover(run_id, run.worker)
    claim = Claim(run_id=run_id, task=run.task, worker="rival", version="", length=LONG, token="t")
    assert harness.memory.runs.claim(claim) is not None


def test_a_worker_that_lost_its_lease_writes_nothing(harness: Harness) -> None:
    log: list[str] = []

    @step
    def first() -> None:
        log.append("first")
        rival(harness, run_id)

    @step
    def second() -> None:
        log.append("second")

    def body() -> None:
        try:
            first()
        finally:
            second()

    run_id = harness.trigger(harness.task(body))
    left = harness.execute(run_id)
    assert isinstance(left, Left)
    assert left.reason == "lease lost"
    assert log == ["first"]
    assert harness.steps(run_id) == {}
    assert harness.run(run_id).worker == "rival"


@pytest.mark.parametrize("atomic", [False, True])
def test_a_lost_lease_cannot_be_swallowed(harness: Harness, atomic: bool) -> None:
    log: list[str] = []

    @step(atomic=atomic)
    def first() -> None:
        rival(harness, run_id)

    @step
    def second() -> None:
        log.append("second")

    def body() -> None:
        for call in (first, second):
            try:
                call()
            except BaseException as error:
                log.append(type(error).__name__)

    run_id = harness.trigger(harness.task(body))
    left = harness.execute(run_id)
    assert isinstance(left, Left)
    assert left.reason == "lease lost"
    assert log == ["LeaseLost", "LeaseLost"]
    assert harness.run(run_id).state is RunState.EXECUTING
    assert harness.run(run_id).worker == "rival"


def test_a_step_is_not_started_when_the_lease_ran_out(harness: Harness) -> None:
    log: list[str] = []

    @step
    def slow() -> None:
        harness.advance(LONG)

    @step
    def second() -> None:
        log.append("second")

    def body() -> None:
        slow()
        second()

    run_id = harness.trigger(harness.task(body))
    left = harness.execute(run_id)
    assert isinstance(left, Left)
    assert left.reason == "lease lost"
    assert log == []


def test_a_heartbeat_keeps_the_lease_of_a_slow_step(harness: Harness) -> None:
    @step
    def slow() -> str:
        for _ in range(5):
            harness.advance(LONG / 2)
            heartbeat()
        return "done"

    run_id = harness.trigger(harness.task(lambda: [slow(), slow()], name="task"))
    harness.execute(run_id)
    assert harness.result(run_id) == ["done", "done"]


def test_a_heartbeat_without_a_database_does_not_disturb_the_step(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(leases: object) -> Any:
        raise StoreUnavailable("away")

    @step
    def slow() -> str:
        monkeypatch.setattr(harness.memory.runs, "renew", away)
        heartbeat()
        return "done"

    run_id = harness.trigger(harness.task(lambda: slow(), name="task"))
    harness.execute(run_id)
    assert harness.result(run_id) == "done"
    assert "heartbeat of run" in caplog.text


def test_a_task_may_have_a_lease_of_its_own(harness: Harness) -> None:
    @step
    def slow() -> None:
        harness.advance(LONG * 2)

    def body() -> None:
        slow()
        slow()

    run_id = harness.trigger(harness.task(body, heartbeat_timeout=timedelta(minutes=10)))
    harness.execute(run_id)
    assert harness.run(run_id).state is RunState.COMPLETED
