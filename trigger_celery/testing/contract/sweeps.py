"""The contract of a store: what time alone moves, deadlines included."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from trigger_celery.errors import LeaseLost
from trigger_celery.ports import Store
from trigger_celery.testing.contract.tools import (
    LEASE,
    NUDGE_INTERVAL,
    TASK,
    Advance,
    asked,
    checkpoint,
    claim,
    dead_letters,
    ending,
    event_wait,
    got,
    new_run,
    outcomes,
    queued,
    raises,
    ran,
    sleeping,
    started,
    suspend,
    suspended,
    suspension,
    swept,
    wait_ids,
)
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import AHEAD, Elected, NewRun
from trigger_celery.vocabulary.states import RunState, WaitState

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


class SweepContract:
    """One pass moves what is due, each thing once."""

    def test_nothing_is_due_in_an_empty_store(self, store: Store) -> None:
        assert len(store.sweeps.due(limit=9, nudge_interval=NUDGE_INTERVAL)) == 0

    def test_a_queued_run_is_nudged_again_when_no_worker_claimed_it(
        self, store: Store, advance: Advance
    ) -> None:
        run_id = queued(store, canvas="links")
        assert swept(store) == []
        advance(NUDGE_INTERVAL + SECOND)
        assert len(store.sweeps.due(limit=9, nudge_interval=NUDGE_INTERVAL)) == 0
        (waiting,) = store.sweeps.unclaimed(after="", limit=9)
        assert waiting.due_at == got(store, run_id).due_at
        nudges = store.sweeps.nudge_again([run_id, new_id()], nudge_interval=NUDGE_INTERVAL)
        assert list(nudges) == [waiting.nudge]
        assert [(nudge.run_id, nudge.task, nudge.canvas) for nudge in nudges] == [
            (run_id, TASK, "links")
        ]
        assert store.sweeps.nudge_again([run_id], nudge_interval=NUDGE_INTERVAL) == []
        assert got(store, run_id).state is RunState.QUEUED
        assert len(store.runs.history(run_id)) == 1
        assert claim(store, run_id).lease.fence == 1

    def test_nudges_of_a_queued_run_become_rarer_but_never_end(
        self, store: Store, advance: Advance
    ) -> None:
        run_id = queued(store)
        advance(NUDGE_INTERVAL + SECOND)
        assert swept(store) == [run_id]
        assert swept(store) == []
        advance(NUDGE_INTERVAL - SECOND)
        assert swept(store) == []
        advance(timedelta(days=30))
        assert swept(store) == [run_id]
        advance(timedelta(seconds=110))
        assert swept(store) == []
        advance(timedelta(seconds=10) + SECOND)
        assert swept(store) == [run_id]

    def test_a_delayed_run_is_nudged_when_its_time_has_come(
        self, store: Store, advance: Advance
    ) -> None:
        new = new_run(delay=timedelta(minutes=5))
        store.runs.create([new])
        advance(timedelta(minutes=4))
        assert swept(store) == []
        advance(timedelta(minutes=1) + SECOND)
        assert swept(store) == [new.id]

    def test_only_waits_that_are_due_time_out_and_their_run_is_queued(
        self, store: Store, advance: Advance
    ) -> None:
        run_id = suspended(store, sleeping("short", timedelta(minutes=1)), sleeping("long"))
        advance(timedelta(seconds=59))
        assert swept(store) == []
        advance(timedelta(seconds=2))
        assert swept(store) == [run_id]
        assert swept(store) == []
        assert got(store, run_id).state is RunState.QUEUED
        recorded = outcomes(store, run_id).recorded
        assert recorded["short"].wait is WaitState.TIMEOUT
        assert recorded["long"].wait is WaitState.WAITING
        assert claim(store, run_id).replayed

    def test_a_pass_moves_no_more_than_its_limit_and_the_rest_later(
        self, store: Store, advance: Advance
    ) -> None:
        run_ids = {queued(store) for _ in range(3)}
        run_ids |= {suspended(store, sleeping(delay=SECOND)) for _ in range(3)}
        advance(timedelta(minutes=1))
        first, second, third = (swept(store, limit=4) for _ in range(3))
        assert (len(first), len(second), len(third)) == (4, 2, 0)
        assert {*first, *second} == run_ids

    def test_an_ended_and_published_run_is_never_due(self, store: Store, advance: Advance) -> None:
        lease = started(store)
        store.runs.end(lease, ending())
        store.runs.published(lease)
        advance(timedelta(days=365))
        assert swept(store) == []


class CrashContract:
    """Workers that die cost a run a crash each, and a run has only so many."""

    def test_a_run_whose_lease_ran_out_is_queued_with_a_crash(
        self, store: Store, advance: Advance
    ) -> None:
        lease = started(store)
        store.checkpoints.record(lease, checkpoint(store, "pay", "42"))
        advance(LEASE - SECOND)
        assert swept(store) == []
        advance(2 * SECOND)
        assert swept(store) == [lease.run_id]
        run = got(store, lease.run_id)
        assert (run.state, run.crashes, run.attempt) == ("queued", 1, 1)
        claimed = claim(store, lease.run_id, worker="w2")
        assert (claimed.lease.fence, claimed.replayed) == (2, True)
        assert outcomes(store, lease.run_id).recorded["pay"].value == "42"

    def test_later_crashes_are_followed_by_a_pause(self, store: Store, advance: Advance) -> None:
        lease = started(store)
        advance(LEASE + SECOND)
        assert swept(store) == [lease.run_id]
        claim(store, lease.run_id)
        advance(LEASE + SECOND)
        store.sweeps.due(limit=9, nudge_interval=NUDGE_INTERVAL)
        assert got(store, lease.run_id).crashes == 2
        assert store.runs.claim(asked(lease.run_id)) is None
        advance(timedelta(seconds=5))
        assert claim(store, lease.run_id).lease.fence == 3

    def test_the_last_crash_fails_the_run_with_a_dead_letter(
        self, store: Store, advance: Advance
    ) -> None:
        lease = started(store, max_crashes=1)
        suspend(store, lease, suspension(event_wait(), sleeping(delay=SECOND)))
        store.waits.looked(lease.run_id, fence=lease.fence)
        advance(2 * SECOND)
        swept(store)
        claim(store, lease.run_id)
        advance(LEASE + SECOND)
        assert swept(store) == [lease.run_id]
        run = got(store, lease.run_id)
        assert (run.state, run.crashes, run.published_at) == ("failed", 1, None)
        assert run.error is not None
        assert "RunCrashed" in run.error
        assert dead_letters(store, lease.run_id) == ["open"]
        assert wait_ids(store) == []
        assert claim(store, lease.run_id).publishing

    def test_a_pass_returns_which_runs_it_failed(self, store: Store, advance: Advance) -> None:
        lease = started(store, max_crashes=1)
        started(store, max_crashes=2)
        advance(LEASE + SECOND)
        due = store.sweeps.due(limit=9, nudge_interval=NUDGE_INTERVAL)
        assert len(due.nudges) == 2
        assert [nudge.run_id for nudge in due.failed] == [lease.run_id]
        advance(2 * NUDGE_INTERVAL)
        again = store.sweeps.due(limit=9, nudge_interval=NUDGE_INTERVAL)
        assert [nudge.run_id for nudge in again.nudges] == [lease.run_id]
        assert again.failed == ()

    def test_a_recovered_run_fails_at_the_same_count(self, store: Store) -> None:
        lease = started(store, max_crashes=1)
        nudge = store.runs.recover(lease.run_id, "w1")
        assert nudge is not None
        assert nudge.run_id == lease.run_id
        run = got(store, lease.run_id)
        assert (run.state, run.crashes) == ("failed", 1)
        assert dead_letters(store, lease.run_id) == ["open"]
        assert claim(store, lease.run_id).publishing

    def test_a_worker_that_dies_is_noticed_once(self, store: Store, advance: Advance) -> None:
        lease = started(store)
        advance(LEASE + SECOND)
        assert swept(store) == [lease.run_id]
        assert swept(store) == []
        assert store.runs.recover(lease.run_id, "w1") is None
        assert got(store, lease.run_id).crashes == 1


def created(store: Store, run: NewRun) -> NewRun:
    """Store a run."""
    store.runs.create([run])
    return run


class DeadlineContract:
    """A deadline ends a run wherever it is, without any worker."""

    def test_nothing_expires_in_an_empty_store(self, store: Store) -> None:
        assert list(store.sweeps.expire(limit=9)) == []

    def test_a_run_that_no_worker_started_within_its_ttl_expires(
        self, store: Store, advance: Advance
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
        assert dead_letters(store, new.id) == []
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
        self, store: Store, advance: Advance
    ) -> None:
        new = created(store, replace(new_run(), max_duration=MINUTE))
        lease = claim(store, new.id, length=2 * LEASE).lease
        advance(MINUTE + SECOND)
        assert ran(store.sweeps.expire(limit=9)) == [new.id]
        run = got(store, new.id)
        assert (run.state, run.worker, run.published_at) == (RunState.TIMED_OUT, "", None)
        assert run.error is not None
        assert "RunTimedOut" in run.error
        assert dead_letters(store, new.id) == ["open"]
        with raises(LeaseLost):
            store.checkpoints.record(lease, checkpoint(store, "late"))
        with raises(LeaseLost):
            store.runs.end(lease, ending(output='"late"'))
        assert not store.runs.renew([lease])
        assert got(store, new.id).output is None
        assert claim(store, new.id).publishing

    def test_a_suspended_run_times_out_and_its_waits_are_canceled(
        self, store: Store, advance: Advance
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
        assert dead_letters(store, new.id) == ["open"]

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


class RepairContract:
    """What a sweep asks about nudges that may be lost, and what it moves first."""

    def test_each_kind_that_is_due_has_a_limit_of_its_own(
        self, store: Store, advance: Advance
    ) -> None:
        delayed = [new_run(delay=SECOND) for _ in range(3)]
        store.runs.create(delayed)
        asleep = [suspended(store, sleeping(delay=SECOND)) for _ in range(3)]
        crashed = [started(store).run_id for _ in range(3)]
        for _ in range(3):
            queued(store)
        advance(LEASE + SECOND)
        found = ran(store.sweeps.due(limit=2, nudge_interval=NUDGE_INTERVAL).nudges)
        kinds = [
            [run_id in kind for kind in (asleep, [n.id for n in delayed], crashed)]
            for run_id in found
        ]
        assert [kind.index(True) for kind in kinds] == [0, 0, 1, 1, 2, 2]

    def test_queued_runs_are_listed_by_task_the_longest_overdue_first(
        self, store: Store, advance: Advance
    ) -> None:
        early, other = new_run(), replace(new_run(), task="a-task")
        store.runs.create([early])
        advance(SECOND)
        late = queued(store)
        store.runs.create([other])
        advance(NUDGE_INTERVAL + SECOND)
        first = store.sweeps.unclaimed(after="", limit=9)
        assert [each.nudge.run_id for each in first] == [other.id]
        then = store.sweeps.unclaimed(after="a-task", limit=9)
        assert [each.nudge.run_id for each in then] == [early.id, late]
        assert len(store.sweeps.unclaimed(after="a-task", limit=1)) == 1
        assert len(store.sweeps.unclaimed(after=TASK, limit=9)) == 0

    def test_recent_claims_say_how_far_the_workers_have_got(
        self, store: Store, advance: Advance
    ) -> None:
        assert len(store.sweeps.recent_claims(within=MINUTE, limit=9)) == 0
        lease = started(store)
        (found,) = store.sweeps.recent_claims(within=MINUTE, limit=9)
        assert found.nudge.run_id == lease.run_id
        assert found.available_at == got(store, lease.run_id).available_at
        advance(SECOND)
        store.runs.hand_back(lease, "token")
        assert len(store.sweeps.recent_claims(within=MINUTE, limit=9)) == 0
        claim(store, lease.run_id)
        assert len(store.sweeps.recent_claims(within=MINUTE, limit=9)) == 1
        assert len(store.sweeps.recent_claims(within=0 * MINUTE, limit=9)) == 0


class ElectionContract:
    """Of all that may sweep, one does at a time, by the store's clock."""

    def test_the_first_that_asks_sweeps_and_others_learn_for_how_long(
        self, store: Store, advance: Advance
    ) -> None:
        assert store.sweeps.elect("a", length=MINUTE) == Elected(sweeper="a", lasts=MINUTE)
        other = store.sweeps.elect("b", length=HOUR)
        assert other.sweeper == "a"
        assert MINUTE - SECOND < other.lasts <= MINUTE
        advance(MINUTE - SECOND)
        assert store.sweeps.elect("b", length=HOUR).sweeper == "a"

    def test_a_turn_that_is_over_is_free_and_one_that_was_prolonged_is_not(
        self, store: Store, advance: Advance
    ) -> None:
        store.sweeps.elect("a", length=MINUTE)
        advance(MINUTE - SECOND)
        assert store.sweeps.elect("a", length=MINUTE).sweeper == "a"
        advance(2 * SECOND)
        assert store.sweeps.elect("b", length=MINUTE).sweeper == "a"
        advance(MINUTE)
        assert store.sweeps.elect("b", length=MINUTE).sweeper == "b"
        assert store.sweeps.elect("a", length=MINUTE).sweeper == "b"

    def test_a_turn_from_before_the_clock_was_set_back_is_free(self, store: Store) -> None:
        store.sweeps.elect("a", length=HOUR)
        assert store.sweeps.elect("b", length=HOUR / AHEAD).sweeper == "a"
        turn = store.sweeps.elect("b", length=MINUTE)  # of such a turn no more than ten are left
        assert turn == Elected(sweeper="b", lasts=MINUTE)

    def test_a_sweeper_that_leaves_is_followed_at_once(self, store: Store) -> None:
        store.sweeps.elect("a", length=HOUR)
        store.sweeps.resign("b")
        assert store.sweeps.elect("b", length=HOUR).sweeper == "a"
        store.sweeps.resign("a")
        assert store.sweeps.elect("b", length=HOUR) == Elected(sweeper="b", lasts=HOUR)
