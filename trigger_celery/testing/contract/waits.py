"""The contract of a store: suspending runs, and the events that wake them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from trigger_celery.errors import LeaseLost
from trigger_celery.ports import Store
from trigger_celery.testing.contract.records import (
    LOOK_WITHIN,
    NUDGE_INTERVAL,
    event_wait,
    sleeping,
    suspension,
)
from trigger_celery.testing.contract.tools import (
    Advance,
    checkpoint,
    claim,
    emitted,
    failed_attempt,
    got,
    outcomes,
    raises,
    ran,
    started,
    suspend,
    suspended,
    swept,
    wait_ids,
)
from trigger_celery.vocabulary.records import Due, Lease, NewWait
from trigger_celery.vocabulary.states import RunState, WaitState


class SuspendContract:
    """A suspended run holds nothing and keeps its deadlines."""

    def test_a_suspended_run_has_its_waits_and_its_next_attempt(self, store: Store) -> None:
        lease = started(store)
        what = replace(
            suspension(event_wait("yes"), sleeping("no", position=2), next_attempt=2),
            failed=failed_attempt(store, "pay"),
        )
        assert suspend(store, lease, what) is RunState.SUSPENDED
        run = got(store, lease.run_id)
        assert (run.state, run.attempt, run.fence) == ("suspended", 2, lease.fence)
        recorded = outcomes(store, lease.run_id)
        assert recorded.failures == {"pay": 1}
        assert {(key, item.kind, item.position) for key, item in recorded.recorded.items()} == {
            ("yes", "wait_for_event", 1),
            ("no", "sleep", 2),
        }
        assert {item.wait for item in recorded.recorded.values()} == {WaitState.WAITING}
        assert {item.event for item in recorded.recorded.values()} == {None}

    def test_progress_forgives_crashes(self, store: Store) -> None:
        lease = started(store)
        store.runs.recover(lease.run_id, "w1")
        again = claim(store, lease.run_id).lease
        assert got(store, lease.run_id).crashes == 1
        suspend(store, again, suspension(sleeping()))
        assert got(store, lease.run_id).crashes == 0

    def test_a_run_without_deadlines_is_never_due(self, store: Store, advance: Advance) -> None:
        run_id = suspended(store, event_wait())
        assert got(store, run_id).due_at is None
        advance(timedelta(days=365))
        assert swept(store) == []

    def test_a_recorded_wait_keeps_its_deadline(self, store: Store, advance: Advance) -> None:
        lease = started(store)
        nap = sleeping("nap", timedelta(minutes=10))
        suspend(store, lease, suspension(nap, sleeping("blink", timedelta(minutes=1))))
        advance(timedelta(minutes=2))
        assert swept(store) == [lease.run_id]
        again = claim(store, lease.run_id).lease
        assert suspend(store, again, suspension(nap)) is RunState.SUSPENDED
        advance(timedelta(minutes=7))
        assert swept(store) == []
        advance(timedelta(minutes=1, seconds=1))
        assert swept(store) == [lease.run_id]
        assert outcomes(store, lease.run_id).recorded["nap"].wait is WaitState.TIMEOUT

    def test_a_run_is_queued_if_a_wait_it_suspends_on_has_ended(self, store: Store) -> None:
        lease = started(store)
        suspend(store, lease, suspension(event_wait("first"), event_wait("second")))
        first, second = wait_ids(store)
        store.waits.resolve(emitted(store).sequence, [first])
        again = claim(store, lease.run_id).lease
        store.waits.resolve(emitted(store).sequence, [second])
        assert got(store, lease.run_id).state is RunState.EXECUTING
        assert suspend(store, again, suspension(event_wait("second"))) is RunState.QUEUED
        assert got(store, lease.run_id).state is RunState.QUEUED
        assert claim(store, lease.run_id).replayed

    def test_an_ended_wait_that_is_not_among_the_keys_wakes_nobody(self, store: Store) -> None:
        run_id = suspended(store, event_wait("first"))
        store.waits.resolve(emitted(store).sequence, wait_ids(store))
        again = claim(store, run_id).lease
        assert suspend(store, again, suspension(event_wait("second"))) is RunState.SUSPENDED

    def test_a_wait_until_a_time_is_due_then(self, store: Store, advance: Advance) -> None:
        at = store.now() + timedelta(minutes=5)
        run_id = suspended(store, replace(sleeping(), delay=None, until=at))
        advance(timedelta(minutes=4))
        assert swept(store) == []
        advance(timedelta(minutes=1, seconds=1))
        assert swept(store) == [run_id]

    def test_a_wait_that_is_due_at_once_is_ended_by_the_sweep(self, store: Store) -> None:
        run_id = suspended(store, sleeping("blink", timedelta(0)))
        assert swept(store) == [run_id]
        assert outcomes(store, run_id).recorded["blink"].wait is WaitState.TIMEOUT

    def test_keys_differ_by_case_and_by_trailing_spaces(self, store: Store) -> None:
        keys = ("pay", "Pay", "pay ", " pay", "p\u00e4y", "pa\u0308y", "pay\U0001f600")
        lease = started(store)
        for position, key in enumerate(keys):
            store.checkpoints.record(lease, checkpoint(store, key, f'"{key}"', position=position))
        waits = [sleeping(f"wait for {key}", position=10) for key in keys]
        suspend(store, lease, suspension(*waits))
        recorded = outcomes(store, lease.run_id).recorded
        assert set(recorded) == {*keys, *(wait.key for wait in waits)}
        assert [recorded[key].value for key in keys] == [f'"{key}"' for key in keys]


class LookContract:
    """A worker that dies before it looked for stored events is made up for."""

    def test_a_run_that_nobody_looked_events_up_for_is_found(
        self, store: Store, advance: Advance
    ) -> None:
        lease = started(store)
        suspend(store, lease, suspension(event_wait()))
        assert store.sweeps.due(limit=9, nudge_interval=NUDGE_INTERVAL).unlooked == ()
        advance(LOOK_WITHIN + timedelta(seconds=1))
        due = store.sweeps.due(limit=9, nudge_interval=NUDGE_INTERVAL)
        assert ran(due.nudges) == []
        assert _fences(due) == [(lease.run_id, lease.fence)]
        assert len(store.sweeps.due(limit=9, nudge_interval=NUDGE_INTERVAL)) == 0
        advance(NUDGE_INTERVAL + timedelta(seconds=1))
        due = store.sweeps.due(limit=9, nudge_interval=NUDGE_INTERVAL)
        assert _fences(due) == [(lease.run_id, lease.fence)]
        assert got(store, lease.run_id).state is RunState.SUSPENDED

    def test_a_wait_is_not_timed_out_before_somebody_looked(
        self, store: Store, advance: Advance
    ) -> None:
        lease = started(store)
        suspend(store, lease, suspension(event_wait(delay=timedelta(seconds=1))))
        advance(LOOK_WITHIN + timedelta(seconds=1))
        assert swept(store) == []
        assert outcomes(store, lease.run_id).recorded["approval"].wait is WaitState.WAITING
        store.waits.looked(lease.run_id, fence=lease.fence)
        assert swept(store) == [lease.run_id]
        assert outcomes(store, lease.run_id).recorded["approval"].wait is WaitState.TIMEOUT

    def test_a_run_that_was_looked_for_is_due_with_its_first_wait(
        self, store: Store, advance: Advance
    ) -> None:
        run_id = suspended(store, event_wait(delay=timedelta(minutes=9)), sleeping())
        advance(timedelta(minutes=8))
        assert len(store.sweeps.due(limit=9, nudge_interval=NUDGE_INTERVAL)) == 0
        advance(timedelta(minutes=1, seconds=1))
        assert swept(store) == [run_id]

    def test_having_looked_under_an_old_fence_means_nothing(
        self, store: Store, advance: Advance
    ) -> None:
        lease = started(store)
        suspend(store, lease, suspension(event_wait("first")))
        store.waits.resolve(emitted(store).sequence, wait_ids(store))
        store.waits.looked(lease.run_id, fence=lease.fence)
        again = claim(store, lease.run_id).lease
        suspend(store, again, suspension(event_wait("second")))
        store.waits.looked(lease.run_id, fence=lease.fence)
        advance(LOOK_WITHIN + timedelta(seconds=1))
        due = store.sweeps.due(limit=9, nudge_interval=NUDGE_INTERVAL)
        assert _fences(due) == [(again.run_id, again.fence)]


class GiveUpContract:
    """An executing run may let go of what it waited for."""

    def test_given_up_waits_are_canceled_and_the_run_goes_on(self, store: Store) -> None:
        other = suspended(store, event_wait("given up"))
        lease = _resumed(store, event_wait("given up"), sleeping("kept", position=2))
        store.waits.cancel(lease, ["given up", "unknown"])
        store.waits.cancel(lease, ["given up"])
        assert _states(store, lease.run_id) == {
            "given up": WaitState.CANCELED,
            "kept": WaitState.WAITING,
            "over": WaitState.TIMEOUT,
        }
        assert _states(store, other) == {"given up": WaitState.WAITING}
        assert got(store, lease.run_id).state is RunState.EXECUTING

    def test_a_wait_that_is_over_stays_as_it_ended(self, store: Store) -> None:
        lease = _resumed(store)
        store.waits.cancel(lease, ["over"])
        assert _states(store, lease.run_id) == {"over": WaitState.TIMEOUT}

    def test_a_canceled_wait_takes_no_event_and_wakes_nobody(self, store: Store) -> None:
        lease = _resumed(store, event_wait("given up"))
        ids = wait_ids(store)
        store.waits.cancel(lease, ["given up"])
        assert wait_ids(store) == []
        assert list(store.waits.resolve(emitted(store).sequence, ids)) == []
        again = suspension(sleeping("next", position=3))
        assert suspend(store, lease, again) is RunState.SUSPENDED

    def test_only_who_has_the_lease_gives_up_waits(self, store: Store) -> None:
        lease = _resumed(store, event_wait("given up"))
        store.runs.recover(lease.run_id, "w1")
        with raises(LeaseLost):
            store.waits.cancel(lease, ["given up"])
        assert _states(store, lease.run_id)["given up"] is WaitState.WAITING


def _resumed(store: Store, *waits: NewWait) -> Lease:
    """Return the lease of a run that went on from a wait called ``over``, and has these too."""
    run_id = suspended(store, sleeping("over"), *waits)
    [over] = [w.id for w in store.open_waits.find(run_id=run_id, limit=9) if w.key == "over"]
    assert ran(store.waits.conclude([over], WaitState.TIMEOUT)) == [run_id]
    return claim(store, run_id).lease


def _states(store: Store, run_id: UUID) -> dict[str, WaitState | None]:
    return {key: item.wait for key, item in outcomes(store, run_id).recorded.items()}


def _fences(due: Due) -> list[tuple[UUID, int]]:
    return [(each.run_id, each.fence) for each in due.unlooked]
