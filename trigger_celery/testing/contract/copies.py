"""The contract of a store: copying what one run recorded to another."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from trigger_celery.ports import Store
from trigger_celery.testing.contract.records import (
    AWKWARD,
    event_wait,
    new_run,
    sleeping,
    suspension,
)
from trigger_celery.testing.contract.tools import (
    Begin,
    checkpoint,
    claim,
    emitted,
    failed_attempt,
    outcomes,
    raises,
    started,
    suspend,
    wait_ids,
)
from trigger_celery.vocabulary.records import Lease, StepKind
from trigger_celery.vocabulary.states import RunState

HOUR = timedelta(hours=1)


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

    def test_places_are_what_a_run_recorded_waits_for_and_failed_at(self, store: Store) -> None:
        places = {
            place.key: (place.kind, place.position, place.is_over)
            for place in store.managing.places(self._source(store).run_id)
        }
        assert places == {
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
        (place,) = store.managing.places(lease.run_id)
        assert (place.began_at, place.ended_at) == (earlier, done.span.ended_at)

    def test_a_copy_replays_the_outcomes_and_nothing_else(self, store: Store) -> None:
        source, new = self._source(store).run_id, new_run()
        with store.joined():
            store.runs.create([replace(new, copied_from_id=source)])
            store.managing.copy(source, new.id, ["pay", "approval"])
        recorded = dict(outcomes(store, source).recorded)
        claimed = claim(store, new.id)
        assert claimed.replayed
        assert claimed.run.copied_from_id == source
        copied = outcomes(store, new.id)
        assert copied.recorded == {key: recorded[key] for key in ("pay", "approval")}
        assert copied.failures == {}
        assert copied.recorded["pay"].value == AWKWARD
        assert outcomes(store, source).recorded == recorded
        store.checkpoints.record(claimed.lease, checkpoint(store, "mail"))

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
