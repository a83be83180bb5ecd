"""The contract of a store: runs that are not started, or not over, in time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from trigger_celery.errors import LeaseLost
from trigger_celery.ports import Store
from trigger_celery.testing.contract.records import (
    LEASE,
    asked,
    ending,
    event_wait,
    new_run,
    suspension,
)
from trigger_celery.testing.contract.tools import (
    Advance,
    Letters,
    checkpoint,
    claim,
    got,
    outcomes,
    raises,
    ran,
    suspend,
    wait_ids,
)
from trigger_celery.vocabulary.records import NewRun
from trigger_celery.vocabulary.states import RunState, WaitState

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def created(store: Store, run: NewRun) -> NewRun:
    """Store a run."""
    store.runs.create([run])
    return run


class DeadlineContract:
    """A deadline ends a run wherever it is, without any worker."""

    def test_nothing_expires_in_an_empty_store(self, store: Store) -> None:
        assert list(store.sweeps.expire(limit=9)) == []

    def test_a_run_that_nobody_started_within_its_ttl_expires(
        self, store: Store, advance: Advance, letters: Letters
    ) -> None:
        new = created(store, replace(new_run(canvas="links"), ttl=MINUTE))
        advance(MINUTE - SECOND)
        assert list(store.sweeps.expire(limit=9)) == []
        advance(2 * SECOND)
        assert store.runs.claim(asked(new.id)) is None
        (nudge,) = store.sweeps.expire(limit=9)
        assert (nudge.run_id, nudge.canvas) == (new.id, "links")
        run = got(store, new.id)
        assert (run.state, run.deadline_at) == (RunState.EXPIRED, None)
        assert run.error is not None
        assert "RunExpired" in run.error
        assert [entry.verb for entry in store.runs.history(new.id)] == ["trigger", "expire"]
        assert list(letters(new.id)) == []
        assert claim(store, new.id).publishing
        assert list(store.sweeps.expire(limit=9)) == []

    def test_a_ttl_counts_from_the_time_at_which_the_run_may_start(
        self, store: Store, advance: Advance
    ) -> None:
        new = created(store, replace(new_run(delay=HOUR), ttl=MINUTE))
        advance(HOUR + SECOND)
        assert list(store.sweeps.expire(limit=9)) == []
        advance(MINUTE)
        assert ran(store.sweeps.expire(limit=9)) == [new.id]

    def test_a_ttl_means_nothing_once_the_run_was_started(
        self, store: Store, advance: Advance
    ) -> None:
        new = created(store, replace(new_run(), ttl=MINUTE))
        lease = claim(store, new.id).lease
        suspend(store, lease, suspension(event_wait()))
        advance(HOUR)
        assert list(store.sweeps.expire(limit=9)) == []

    def test_an_executing_run_times_out_and_its_worker_can_write_nothing_more(
        self, store: Store, advance: Advance, letters: Letters
    ) -> None:
        new = created(store, replace(new_run(), max_duration=MINUTE))
        lease = claim(store, new.id, length=2 * LEASE).lease
        advance(MINUTE + SECOND)
        assert ran(store.sweeps.expire(limit=9)) == [new.id]
        run = got(store, new.id)
        assert (run.state, run.worker, run.published_at) == (RunState.TIMED_OUT, "", None)
        assert run.error is not None
        assert "RunTimedOut" in run.error
        assert list(letters(new.id)) == ["open"]
        with raises(LeaseLost):
            store.checkpoints.record(lease, checkpoint(store, "late"))
        with raises(LeaseLost):
            store.runs.end(lease, ending(output='"late"'))
        assert not store.runs.renew([lease])
        assert got(store, new.id).output is None
        assert claim(store, new.id).publishing

    def test_a_suspended_run_times_out_and_its_waits_are_canceled(
        self, store: Store, advance: Advance, letters: Letters
    ) -> None:
        new = created(store, replace(new_run(), max_duration=HOUR))
        lease = claim(store, new.id).lease
        suspend(store, lease, suspension(event_wait()))
        store.waits.looked(new.id, fence=lease.fence)
        advance(HOUR + SECOND)
        assert ran(store.sweeps.expire(limit=9)) == [new.id]
        assert got(store, new.id).state is RunState.TIMED_OUT
        assert outcomes(store, new.id).recorded["approval"].wait is WaitState.CANCELED
        assert wait_ids(store) == []
        assert list(letters(new.id)) == ["open"]

    def test_a_run_that_was_started_and_is_queued_again_times_out(
        self, store: Store, advance: Advance
    ) -> None:
        new = created(store, replace(new_run(), max_duration=HOUR))
        store.runs.hand_back(claim(store, new.id).lease, "token")
        advance(HOUR + SECOND)
        assert store.runs.claim(asked(new.id)) is None
        assert ran(store.sweeps.expire(limit=9)) == [new.id]
        assert store.runs.history(new.id)[-1].verb == "time out"

    def test_a_timed_out_run_that_is_retried_has_its_whole_duration_again(
        self, store: Store, advance: Advance
    ) -> None:
        new = created(store, replace(new_run(), max_duration=HOUR))
        claim(store, new.id)
        advance(HOUR + SECOND)
        store.sweeps.expire(limit=9)
        store.runs.retry(new.id)
        assert list(store.sweeps.expire(limit=9)) == []
        claim(store, new.id)
        advance(HOUR - MINUTE)
        assert list(store.sweeps.expire(limit=9)) == []
        advance(2 * MINUTE)
        assert ran(store.sweeps.expire(limit=9)) == [new.id]

    def test_one_pass_ends_no_more_than_its_limit_the_longest_overdue_first(
        self, store: Store, advance: Advance
    ) -> None:
        late = created(store, replace(new_run(), ttl=2 * MINUTE))
        early = created(store, replace(new_run(), ttl=MINUTE))
        advance(HOUR)
        assert ran(store.sweeps.expire(limit=1)) == [early.id]
        assert ran(store.sweeps.expire(limit=1)) == [late.id]
