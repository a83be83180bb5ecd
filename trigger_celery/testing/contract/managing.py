"""The contract of a store: pausing, rescheduling and copying runs."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from trigger_celery.errors import IllegalTransition, RunNotFound
from trigger_celery.ports import Store
from trigger_celery.testing.contract.tools import (
    AWKWARD,
    LEASE,
    Advance,
    Begin,
    asked,
    checkpoint,
    claim,
    emitted,
    ending,
    event_wait,
    failed_attempt,
    got,
    new_run,
    outcomes,
    queued,
    raises,
    sleeping,
    started,
    suspend,
    suspended,
    suspension,
    swept,
    wait_ids,
)
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import Holds, Lease, StepKind
from trigger_celery.vocabulary.states import RunState, WaitState

HOUR = timedelta(hours=1)
RECORD = {"by": "ann", "reason": AWKWARD}


def last_entry(store: Store, run_id: UUID) -> tuple[str, object]:
    """Return verb and data of the newest entry of a run's history."""
    entry = list(store.runs.history(run_id))[-1]
    return entry.verb, json.loads(entry.data)


class PauseContract:
    """A paused run stays where it is until it is resumed."""

    def test_a_paused_queued_run_is_neither_claimed_nor_swept(
        self, store: Store, advance: Advance
    ) -> None:
        run_id = queued(store)
        assert store.managing.pause(run_id, RECORD)
        assert got(store, run_id).paused_at is not None
        assert last_entry(store, run_id) == ("pause", RECORD)
        assert store.runs.claim(asked(run_id)) is None
        advance(HOUR)
        assert swept(store) == []

    def test_a_resumed_run_is_nudged_and_claimed(self, store: Store, advance: Advance) -> None:
        run_id = queued(store)
        store.managing.pause(run_id, RECORD)
        nudge = store.managing.resume(run_id, RECORD)
        assert nudge is not None
        assert nudge.run_id == run_id
        assert got(store, run_id).paused_at is None
        assert last_entry(store, run_id) == ("resume", RECORD)
        advance(HOUR)
        assert swept(store) == [run_id]
        assert claim(store, run_id).lease.fence == 1

    def test_pausing_and_resuming_twice_changes_nothing(self, store: Store) -> None:
        run_id = queued(store)
        assert store.managing.resume(run_id, {}) is None
        assert store.managing.pause(run_id, {})
        before = got(store, run_id)
        assert not store.managing.pause(run_id, {})
        assert got(store, run_id) == before
        assert store.managing.resume(run_id, {}) is not None
        assert store.managing.resume(run_id, {}) is None
        assert [entry.verb for entry in store.runs.history(run_id)][1:] == ["pause", "resume"]

    def test_the_wait_of_a_paused_run_times_out_and_it_goes_on_when_it_is_resumed(
        self, store: Store, advance: Advance
    ) -> None:
        run_id = suspended(store, sleeping(delay=timedelta(minutes=1)))
        store.managing.pause(run_id, {})
        advance(HOUR)
        swept(store)
        assert got(store, run_id).state is RunState.QUEUED
        assert outcomes(store, run_id).recorded["sleep"].wait is WaitState.TIMEOUT
        assert store.runs.claim(asked(run_id)) is None
        advance(HOUR)
        assert swept(store) == []
        assert got(store, run_id).due_at is None
        assert store.managing.resume(run_id, {}) is not None
        assert claim(store, run_id).replayed

    def test_a_suspended_run_that_was_paused_and_resumed_waits_on(
        self, store: Store, advance: Advance
    ) -> None:
        run_id = suspended(store, sleeping(delay=HOUR))
        before = got(store, run_id)
        store.managing.pause(run_id, {})
        assert store.managing.resume(run_id, {}) is not None
        assert got(store, run_id) == before
        advance(HOUR * 2)
        assert swept(store) == [run_id]

    def test_a_renewal_returns_which_of_the_runs_are_paused(self, store: Store) -> None:
        paused, other, lost = started(store), started(store), started(store)
        store.managing.pause(paused.run_id, {})
        store.managing.pause(lost.run_id, {})
        store.runs.cancel(lost.run_id, "")
        before = got(store, paused.run_id)
        assert store.runs.renew([paused, other, lost]) == {paused: True, other: False}
        assert store.runs.renew([other]) == {other: False}
        assert got(store, paused.run_id).paused_at == before.paused_at

    def test_a_lease_of_a_paused_run_is_extended_all_the_same(
        self, store: Store, advance: Advance
    ) -> None:
        lease = started(store)
        store.managing.pause(lease.run_id, {})
        advance(LEASE * 0.9)
        assert store.runs.renew([lease]) == {lease: True}
        advance(LEASE * 0.9)
        assert swept(store) == []
        assert got(store, lease.run_id).state is RunState.EXECUTING

    def test_a_paused_run_that_is_handed_back_waits_to_be_resumed(
        self, store: Store, advance: Advance
    ) -> None:
        lease = started(store)
        store.managing.pause(lease.run_id, {})
        store.runs.hand_back(lease, "t")
        assert store.runs.claim(asked(lease.run_id)) is None
        advance(HOUR)
        assert swept(store) == []
        store.managing.resume(lease.run_id, {})
        assert claim(store, lease.run_id).lease.fence == 2

    def test_a_run_that_has_ended_is_not_paused(self, store: Store) -> None:
        lease = started(store)
        store.runs.end(lease, ending())
        before = got(store, lease.run_id)
        with raises(IllegalTransition):
            store.managing.pause(lease.run_id, {})
        assert store.managing.resume(lease.run_id, {}) is None
        assert got(store, lease.run_id) == before

    def test_a_paused_run_is_canceled_and_its_end_is_published(self, store: Store) -> None:
        run_id = queued(store)
        store.managing.pause(run_id, {})
        assert store.runs.cancel(run_id, "{}", RECORD) is not None
        assert last_entry(store, run_id) == ("cancel", RECORD)
        assert claim(store, run_id).publishing

    def test_a_retry_takes_back_the_pause(self, store: Store) -> None:
        lease = started(store)
        store.managing.pause(lease.run_id, {})
        store.runs.end(lease, ending(RunState.FAILED))
        store.runs.retry(lease.run_id, RECORD)
        assert last_entry(store, lease.run_id) == ("retry", RECORD)
        assert claim(store, lease.run_id).replayed

    def test_no_unknown_run_is_managed(self, store: Store) -> None:
        for verb in (store.managing.pause, store.managing.resume, store.managing.reschedule):
            with raises(RunNotFound):
                verb(new_id(), {})
        assert list(store.managing.recorded_calls(new_id())) == []


class RescheduleContract:
    """A delayed run may get another start until it starts."""

    def test_a_delayed_run_starts_at_its_new_time(self, store: Store, advance: Advance) -> None:
        new = replace(new_run(delay=HOUR * 5), ttl=HOUR)
        store.runs.create([new])
        before = got(store, new.id)
        store.managing.reschedule(new.id, RECORD, delay=HOUR * 2)
        run = got(store, new.id)
        assert before.deadline_at is not None
        assert run.deadline_at is not None
        assert run.deadline_at - run.available_at == before.deadline_at - before.available_at
        verb, data = last_entry(store, new.id)
        assert (verb, data) == ("reschedule", {"start": run.available_at.isoformat(), **RECORD})
        advance(HOUR)
        assert swept(store) == []
        assert store.runs.claim(asked(new.id)) is None
        advance(HOUR + timedelta(seconds=1))
        assert swept(store) == [new.id]

    def test_a_delayed_run_may_start_at_a_given_time_or_at_once(self, store: Store) -> None:
        first, second = new_run(delay=HOUR), new_run(delay=HOUR)
        store.runs.create([first, second])
        start = store.now() + HOUR * 3
        store.managing.reschedule(first.id, {}, available_at=start)
        assert got(store, first.id).available_at == start
        assert store.managing.reschedule(second.id, {}).run_id == second.id
        assert claim(store, second.id).lease.fence == 1

    def test_only_a_run_whose_time_has_not_come_is_rescheduled(self, store: Store) -> None:
        handed = started(store)
        store.runs.hand_back(handed, "t")
        canceled = new_run(delay=HOUR)
        store.runs.create([canceled])
        store.runs.cancel(canceled.id, "")
        waiting = suspended(store, sleeping())
        for run_id in (queued(store), handed.run_id, started(store).run_id, waiting, canceled.id):
            before = got(store, run_id)
            with raises(IllegalTransition):
                store.managing.reschedule(run_id, {}, delay=HOUR)
            assert got(store, run_id) == before


class CopyContract:
    """What one run recorded becomes another run's past."""

    def _source(self, store: Store) -> Lease:
        lease = started(store)
        store.checkpoints.record(lease, checkpoint(store, "pay", AWKWARD, position=1))
        store.checkpoints.record_failure(lease, failed_attempt(store, "mail"))
        waits = suspension(event_wait("approval", position=2), sleeping("late", position=3))
        assert suspend(store, lease, waits) is RunState.SUSPENDED
        store.waits.looked(lease.run_id, fence=lease.fence)
        store.waits.resolve(emitted(store, payload="7").sequence, wait_ids(store))
        return claim(store, lease.run_id).lease

    def test_recorded_calls_are_what_a_run_recorded_waits_for_and_failed_at(
        self, store: Store
    ) -> None:
        calls = {
            call.key: (call.kind, call.position, call.is_over)
            for call in store.managing.recorded_calls(self._source(store).run_id)
        }
        assert calls == {
            "pay": (StepKind.STEP, 1, True),
            "mail": (StepKind.STEP, None, False),
            "approval": (StepKind.EVENT, 2, True),
            "late": (StepKind.SLEEP, 3, False),
        }

    def test_a_step_begins_with_its_first_attempt(self, store: Store) -> None:
        lease = started(store)
        failed, done = failed_attempt(store, "pay"), checkpoint(store, "pay")
        earlier = failed.span.started_at - HOUR
        store.checkpoints.record_failure(
            lease, replace(failed, span=replace(failed.span, started_at=earlier))
        )
        store.checkpoints.record(lease, done)
        (call,) = store.managing.recorded_calls(lease.run_id)
        assert (call.began_at, call.ended_at) == (earlier, done.span.ended_at)

    def test_a_copy_replays_the_outcomes_and_nothing_else(self, store: Store) -> None:
        source, new = self._source(store).run_id, new_run()
        with store.joined():
            store.runs.create([replace(new, copied_from_id=source)])
            store.managing.copy(source, new.id, ["pay", "approval"])
        recorded = dict(outcomes(store, source).recorded)
        claimed = claim(store, new.id)
        assert claimed.replayed
        assert claimed.run.spec.copied_from_id == source
        copied = outcomes(store, new.id)
        assert copied.recorded == {key: recorded[key] for key in ("pay", "approval")}
        assert copied.failures == {}
        assert copied.recorded["pay"].value == AWKWARD
        assert outcomes(store, source).recorded == recorded
        store.checkpoints.record(claimed.lease, checkpoint(store, "mail"))

    def test_a_failure_that_holds_always_is_a_recorded_call_that_is_over_and_copied(
        self, store: Store
    ) -> None:
        lease, new = started(store), new_run()
        for key in ("mail", "pay"):
            failed = replace(failed_attempt(store, key), position=5, holds=Holds.ATTEMPT)
            store.checkpoints.record_failure(lease, failed)
        store.checkpoints.keep_failures(lease, {"mail": 1})
        calls = {call.key: call for call in store.managing.recorded_calls(lease.run_id)}
        assert (calls["mail"].position, calls["mail"].is_over) == (5, True)
        assert (calls["pay"].position, calls["pay"].is_over) == (None, False)
        assert calls["mail"].ended_at is not None
        with store.joined():
            store.runs.create([replace(new, copied_from_id=lease.run_id)])
            store.managing.copy(lease.run_id, new.id, ["mail", "pay"])
        copied = outcomes(store, new.id)
        assert copied.recorded == {"mail": outcomes(store, lease.run_id).recorded["mail"]}
        assert copied.failures == {}

    def test_a_copy_of_nothing_and_of_very_much(self, store: Store) -> None:
        lease, none, much = started(store), new_run(), new_run()
        keys = [f"step-{number}" for number in range(501)]
        for position, key in enumerate(keys):
            store.checkpoints.record(lease, checkpoint(store, key, position=position))
        with store.joined():
            store.runs.create([none, much])
            store.managing.copy(lease.run_id, none.id, [])
            store.managing.copy(lease.run_id, much.id, keys)
        assert outcomes(store, none.id).recorded == {}
        assert set(outcomes(store, much.id).recorded) == set(keys)

    def test_a_copy_vanishes_with_its_callers_transaction(self, store: Store, begin: Begin) -> None:
        source, new = self._source(store).run_id, new_run()
        with raises(ZeroDivisionError), begin():
            store.runs.create([new])
            store.managing.copy(source, new.id, ["pay"])
            raise ZeroDivisionError
        assert store.runs.get(new.id) is None
        assert outcomes(store, new.id).recorded == {}
