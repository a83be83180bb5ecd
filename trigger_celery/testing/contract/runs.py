"""The contract of a store: creating runs, owning them, and writing under a lease."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier
from typing import Any
from uuid import UUID

from trigger_celery.client.runs import stored_fields
from trigger_celery.errors import LeaseLost
from trigger_celery.ports import Store
from trigger_celery.testing.contract.tools import (
    AWKWARD,
    LEASE,
    TASK,
    Advance,
    Begin,
    asked,
    checkpoint,
    claim,
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
)
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import Claimed, Lease, ListedRun, ListPosition, RunFilter
from trigger_celery.vocabulary.states import RunState


class CreateContract:
    """Runs appear once, in their caller's transaction, as they were written."""

    def test_a_created_run_is_queued_as_it_was_written(self, store: Store) -> None:
        new = new_run(input=AWKWARD, canvas=AWKWARD, max_crashes=5)
        assert set(store.runs.create([new])) == {new.id}
        run = got(store, new.id)
        assert (run.id, run.task, run.spec.input, run.spec.canvas) == (
            new.id,
            new.task,
            AWKWARD,
            AWKWARD,
        )
        assert (run.state, run.attempt, run.crashes, run.spec.max_crashes) == ("queued", 1, 0, 5)
        assert (run.fence, run.output, run.error) == (0, None, None)
        assert (run.started_at, run.finished_at, run.published_at) == (None, None, None)
        assert run.created_at <= run.available_at <= store.now()
        assert run.due_at is not None
        assert run.due_at >= run.available_at

    def test_an_id_is_created_once(self, store: Store) -> None:
        first, second = new_run(input="1"), new_run()
        assert set(store.runs.create([first])) == {first.id}
        again = replace(first, input="2")
        assert set(store.runs.create([again, second])) == {second.id}
        assert set(store.runs.create([again])) == set()
        assert got(store, first.id).spec.input == "1"
        assert len(store.runs.history(first.id)) == 1

    def test_no_runs_can_be_created(self, store: Store) -> None:
        assert set(store.runs.create([])) == set()

    def test_a_run_of_a_rolled_back_transaction_never_existed(
        self, store: Store, begin: Begin
    ) -> None:
        new = new_run()
        with raises(ZeroDivisionError), begin():
            store.runs.create([new])
            assert got(store, new.id).id == new.id
            raise ZeroDivisionError
        assert store.runs.get(new.id) is None
        assert not store.runs.history(new.id)
        assert set(store.runs.create([new])) == {new.id}

    def test_a_run_of_a_committed_transaction_can_be_claimed(
        self, store: Store, begin: Begin
    ) -> None:
        new = new_run()
        with begin():
            assert set(store.runs.create([new])) == {new.id}
            assert set(store.runs.create([new])) == set()
        assert claim(store, new.id).run.spec.input == new.input

    def test_an_unknown_run_has_no_row_and_no_history(self, store: Store) -> None:
        assert store.runs.get(new_id()) is None
        assert not store.runs.history(new_id())


class ListContract:
    """Runs are found by what they have in common, the newest first, in pages that stay."""

    def test_runs_are_found_by_what_they_have_in_common(
        self, store: Store, advance: Advance
    ) -> None:
        plain = new_run()
        queued_one = replace(new_run(), queue="mail", tags=("vip", "eu"))
        other = replace(new_run(), task="other-task", tags=("vip",), parent_id=plain.id)
        runs = (plain, queued_one, other)
        store.runs.create(runs)
        store.runs.cancel(plain.id, AWKWARD)

        def found(**wanted: Any) -> set[UUID]:
            return {run.id for run in store.runs.find(RunFilter(**wanted), limit=9)}

        assert found() == {run.id for run in runs}
        assert found(tasks=(TASK,)) == {plain.id, queued_one.id}
        assert found(tasks=(TASK, "other-task"), states=(RunState.CANCELED,)) == {plain.id}
        assert found(states=(RunState.QUEUED,)) == {queued_one.id, other.id}
        assert found(queue="mail") == {queued_one.id}
        assert found(tags=("vip",)) == {queued_one.id, other.id}
        assert found(tags=("vip", "eu")) == {queued_one.id}
        assert found(parent_id=plain.id) == {other.id}
        assert found(dead_letters=True) == set()
        now = store.now()
        assert found(until=now + LEASE, since=now - LEASE) == {run.id for run in runs}
        assert found(since=now + LEASE) == found(until=now - LEASE) == set()

    def test_runs_are_found_by_the_digits_that_their_ids_begin_with(self, store: Store) -> None:
        names = (
            "0abc1111-0000-7000-8000-00000000000a",
            "0abc2222-0000-4000-8000-000000000001",
            "f0f0f0f0-0000-4000-bfff-ffffffffffff",
        )
        first, second, last = ids = [UUID(name) for name in names]
        store.runs.create([replace(new_run(), id=each) for each in ids])
        found = store.runs.beginning_with
        assert list(found("0abc", limit=9)) == [first, second]
        assert list(found("0abc", limit=1)) == [first]
        assert list(found("0abc2222000", limit=9)) == [second]
        assert list(found("f0f0", limit=9)) == [last]
        assert list(found("f0f1", limit=9)) == []

    def test_a_listed_run_says_what_is_stored_of_it(self, store: Store) -> None:
        new = replace(new_run(), tags=("a", "b"), priority=3, concurrency_key="k")
        store.runs.create([new])
        [listed] = store.runs.find(RunFilter(), limit=1)
        run = got(store, new.id)
        assert listed == ListedRun(**stored_fields(run), error=run.error)

    def test_a_dead_letter_is_found_until_a_person_has_dealt_with_it(self, store: Store) -> None:
        lease = started(store)
        store.runs.end(lease, ending(RunState.FAILED, error="{}"))
        [listed] = store.runs.find(RunFilter(dead_letters=True), limit=9)
        assert (listed.id, listed.error) == (lease.run_id, "{}")
        store.runs.retry(lease.run_id)
        assert store.runs.find(RunFilter(dead_letters=True), limit=9) == []

    def test_a_run_is_found_by_how_it_ended_and_by_the_tree_it_belongs_to(
        self, store: Store
    ) -> None:
        top, below = started(store), new_run()
        child = replace(new_run(), parent_id=top.run_id, root_id=top.run_id, schedule="nightly")
        store.runs.create([child, replace(below, parent_id=child.id, root_id=top.run_id)])
        store.runs.end(top, ending(RunState.FAILED, error="{}"))

        def found(**wanted: Any) -> set[UUID]:
            return {run.id for run in store.runs.find(RunFilter(**wanted), limit=9)}

        assert found(root_id=top.run_id) == {top.run_id, child.id, below.id}
        assert found(root_id=child.id) == {child.id}
        assert found(schedule="nightly") == {child.id}
        assert found(error="f1") == found(error="f1", dead_letters=True) == {top.run_id}
        assert found(error="another") == found(schedule="another") == set()
        store.runs.retry(top.run_id)
        assert found(error="f1") == set()

    def test_pages_are_ordered_by_time_and_stay_while_runs_are_created(
        self, store: Store, advance: Advance
    ) -> None:
        old = [replace(new_run(), id=UUID(int=_GREATEST - number)) for number in (2, 4, 3)]
        store.runs.create(old)
        advance(timedelta(seconds=1))
        young = [got(store, queued(store)) for _ in range(3)]
        young.sort(key=lambda run: (run.created_at, run.id), reverse=True)
        page, found = store.runs.find(RunFilter(), limit=2), []
        store.runs.create([replace(new_run(), id=UUID(int=_GREATEST))])
        while page:
            found += [run.id.int for run in page]
            after = ListPosition(page[-1].created_at, page[-1].id)
            page = store.runs.find(RunFilter(), after=after, limit=2)
        assert found == [run.id.int for run in young] + [_GREATEST - n for n in (2, 3, 4)]
        assert store.runs.find(RunFilter(), limit=1)[0].id.int == _GREATEST


_GREATEST = 2**128 - 1


class ClaimContract:
    """One owner at a time."""

    def test_a_claim_executes_the_run_under_the_next_fence(self, store: Store) -> None:
        run_id = queued(store)
        claimed = claim(store, run_id)
        assert claimed.lease == Lease(run_id, 1, claimed.lease.token)
        assert (claimed.publishing, claimed.replayed) == (False, False)
        assert claimed.run == got(store, run_id)
        run = claimed.run
        assert (run.state, run.fence, run.worker, run.version) == ("executing", 1, "w1", "v1")
        assert run.started_at is not None
        assert run.due_at is not None
        assert abs(run.due_at - claimed.now - LEASE) < timedelta(seconds=1)

    def test_an_executing_run_cannot_be_claimed(self, store: Store) -> None:
        lease = started(store)
        assert store.runs.claim(asked(lease.run_id)) is None
        assert got(store, lease.run_id).fence == lease.fence

    def test_another_task_does_not_claim_the_run(self, store: Store) -> None:
        run_id = queued(store)
        assert store.runs.claim(asked(run_id, task="another")) is None
        assert got(store, run_id).state is RunState.QUEUED

    def test_an_unknown_run_cannot_be_claimed(self, store: Store) -> None:
        assert store.runs.claim(asked(new_id())) is None

    def test_a_suspended_run_cannot_be_claimed(self, store: Store) -> None:
        assert store.runs.claim(asked(suspended(store, sleeping()))) is None

    def test_a_delayed_run_is_claimed_when_its_time_has_come(
        self, store: Store, advance: Advance
    ) -> None:
        new = new_run(delay=timedelta(minutes=5))
        store.runs.create([new])
        assert store.runs.claim(asked(new.id)) is None
        advance(timedelta(minutes=4))
        assert store.runs.claim(asked(new.id)) is None
        advance(timedelta(minutes=1, seconds=1))
        assert claim(store, new.id).lease.fence == 1

    def test_a_run_is_not_claimed_before_the_time_it_is_available_at(
        self, store: Store, advance: Advance
    ) -> None:
        new = replace(new_run(), available_at=store.now() + timedelta(minutes=5))
        store.runs.create([new])
        assert store.runs.claim(asked(new.id)) is None
        advance(timedelta(minutes=5, seconds=1))
        assert claim(store, new.id).lease.fence == 1

    def test_of_many_claims_at_once_exactly_one_is_granted(self, store: Store) -> None:
        run_id, workers = queued(store), 4
        together = Barrier(workers)

        def compete(number: int) -> Claimed | None:
            together.wait(timeout=30)
            try:
                return store.runs.claim(asked(run_id, worker=f"w{number}"))
            finally:
                store.release()

        with ThreadPoolExecutor(workers) as pool:
            granted = [claimed for claimed in pool.map(compete, range(workers)) if claimed]
        assert len(granted) == 1
        assert got(store, run_id).worker == granted[0].run.worker
        assert got(store, run_id).fence == 1

    def test_a_repeated_claim_gets_the_same_answer(self, store: Store) -> None:
        question = asked(queued(store))
        first, again = store.runs.claim(question), store.runs.claim(question)
        assert first is not None
        assert again is not None
        assert (again.run, again.lease) == (first.run, first.lease)
        assert (again.publishing, again.replayed) == (False, False)
        assert len(store.runs.history(question.run_id)) == 2

    def test_a_claim_repeated_after_the_run_went_on_takes_no_old_fence(self, store: Store) -> None:
        question = asked(queued(store))
        assert store.runs.claim(question)
        assert store.runs.recover(question.run_id, "w1")
        again = store.runs.claim(question)
        assert again is not None
        assert again.lease.fence == 2

    def test_a_later_segment_has_the_next_fence_and_is_replayed(
        self, store: Store, advance: Advance
    ) -> None:
        lease = started(store)
        before = got(store, lease.run_id).started_at
        store.runs.hand_back(lease, "t")
        claimed = claim(store, lease.run_id, worker="w2")
        assert claimed.lease == Lease(lease.run_id, 2, claimed.lease.token)
        assert claimed.lease.token != lease.token
        assert (claimed.replayed, claimed.publishing) == (True, False)
        assert (claimed.run.worker, claimed.run.started_at) == ("w2", before)


class LeaseContract:
    """Keeping a run, and giving it back."""

    def test_renewing_extends_each_lease_by_its_own_length(
        self, store: Store, advance: Advance
    ) -> None:
        run_ids = [queued(store), queued(store)]
        lengths = [timedelta(seconds=60), timedelta(seconds=600)]
        leases = [
            claim(store, run_id, length=length).lease
            for run_id, length in zip(run_ids, lengths, strict=True)
        ]
        advance(timedelta(seconds=50))
        assert set(store.runs.renew(leases)) == set(leases)
        advance(timedelta(seconds=50))
        assert swept(store) == []
        advance(timedelta(seconds=50))
        assert swept(store) == [run_ids[0]]

    def test_only_leases_that_still_hold_are_renewed(self, store: Store) -> None:
        kept, taken, canceled = started(store), started(store), started(store)
        unknown = Lease(new_id(), 1, "t")
        lost_by_a_crash = replace(kept, token="t")
        store.runs.recover(taken.run_id, "w1")
        store.runs.cancel(canceled.run_id, "")
        claim(store, taken.run_id)
        assert set(store.runs.renew([kept, taken, canceled, unknown, lost_by_a_crash])) == {kept}
        assert set(store.runs.renew([])) == set()

    def test_a_lease_that_ran_out_but_was_not_taken_still_holds(
        self, store: Store, advance: Advance
    ) -> None:
        lease = started(store)
        advance(LEASE * 2)
        assert set(store.runs.renew([lease])) == {lease}
        assert swept(store) == []

    def test_a_run_that_is_handed_back_is_queued_without_a_crash(self, store: Store) -> None:
        run_id = queued(store, canvas="links")
        nudge = store.runs.hand_back(claim(store, run_id).lease, "t")
        assert (nudge.run_id, nudge.canvas) == (run_id, "links")
        run = got(store, run_id)
        assert (run.state, run.crashes, run.attempt) == ("queued", 0, 1)
        assert claim(store, run_id).lease.fence == 2

    def test_a_run_is_recovered_from_the_worker_that_executes_it_only(self, store: Store) -> None:
        lease = started(store, worker="w1")
        assert store.runs.recover(lease.run_id, "w2") is None
        assert got(store, lease.run_id).state is RunState.EXECUTING
        nudge = store.runs.recover(lease.run_id, "w1")
        assert nudge is not None
        assert nudge.run_id == lease.run_id
        run = got(store, lease.run_id)
        assert (run.state, run.crashes, run.attempt) == ("queued", 1, 1)
        assert claim(store, lease.run_id, worker="w2").lease.fence == 2

    def test_only_executing_runs_are_recovered(self, store: Store) -> None:
        waiting: list[UUID] = [queued(store), suspended(store, sleeping()), new_id()]
        assert [store.runs.recover(run_id, "w1") for run_id in waiting] == [None] * 3


FENCED: dict[str, Callable[[Store, Lease], object]] = {
    "record": lambda store, lease: store.checkpoints.record(lease, checkpoint(store, "late")),
    "record_failure": lambda store, lease: store.checkpoints.record_failure(
        lease, failed_attempt(store, "late")
    ),
    "keep_failures": lambda store, lease: store.checkpoints.keep_failures(lease, {"late": 1}),
    "suspend": lambda store, lease: suspend(store, lease, suspension(event_wait("late"))),
    "end": lambda store, lease: store.runs.end(lease, ending(RunState.FAILED, output="late")),
    "hand_back": lambda store, lease: store.runs.hand_back(lease, "late"),
}
"""Every verb that writes under a lease."""


def _fail_and_retry(store: Store, lease: Lease) -> None:
    store.runs.end(lease, ending(RunState.FAILED))
    store.runs.retry(lease.run_id)


LOST: dict[str, Callable[[Store, Lease], object]] = {
    "recovered": lambda store, lease: store.runs.recover(lease.run_id, "w1"),
    "taken over": lambda store, lease: (
        store.runs.recover(lease.run_id, "w1"),
        claim(store, lease.run_id, worker="w2"),
    ),
    "taken over by the same worker": lambda store, lease: (
        store.runs.hand_back(lease, "t"),
        claim(store, lease.run_id, worker="w1"),
    ),
    "suspended": lambda store, lease: suspend(store, lease, suspension(sleeping("before"))),
    "canceled": lambda store, lease: store.runs.cancel(lease.run_id, ""),
    "completed": lambda store, lease: store.runs.end(lease, ending()),
    "failed and retried": _fail_and_retry,
}
"""Every way to lose a lease."""


def everything(store: Store, run_id: UUID) -> tuple[object, ...]:
    """Return all that can be read of a run, to compare before and after."""
    recorded = outcomes(store, run_id)
    return (
        store.runs.get(run_id),
        list(store.runs.history(run_id)),
        dict(recorded.recorded),
        dict(recorded.failures),
        list(store.waits.open(run_id)),
    )


class FenceContract:
    """A worker that lost its lease writes nothing."""

    def test_no_verb_writes_once_the_lease_is_lost(self, store: Store) -> None:
        for way, lose in LOST.items():
            for name, write in FENCED.items():
                lease = started(store)
                lose(store, lease)
                before = everything(store, lease.run_id)
                try:
                    write(store, lease)
                except LeaseLost:
                    assert everything(store, lease.run_id) == before, (name, way)
                else:
                    raise AssertionError(f"{name} was accepted though the run was {way}")

    def test_no_verb_writes_under_a_fence_that_was_never_granted(self, store: Store) -> None:
        for write in FENCED.values():
            lease = started(store)
            before = everything(store, lease.run_id)
            for fence in (0, lease.fence + 1):
                with raises(LeaseLost):
                    write(store, replace(lease, fence=fence))
            assert everything(store, lease.run_id) == before

    def test_no_verb_writes_under_the_same_fence_of_another_claim(self, store: Store) -> None:
        """A database that crashed may have lost a claim, and have granted its fence again."""
        for write in FENCED.values():
            lease = started(store)
            before = everything(store, lease.run_id)
            with raises(LeaseLost):
                write(store, replace(lease, token="lost"))
            assert everything(store, lease.run_id) == before
            write(store, lease)

    def test_a_step_that_another_worker_recorded_is_never_overwritten(self, store: Store) -> None:
        lease = started(store)
        store.checkpoints.record(lease, checkpoint(store, "pay", "first", token="t1"))
        with raises(LeaseLost):
            store.checkpoints.record(lease, checkpoint(store, "pay", "second", token="t2"))
        assert outcomes(store, lease.run_id).recorded["pay"].value == "first"


class RepeatContract:
    """A write whose answer was lost may be repeated with its token."""

    def test_a_repeated_checkpoint_is_recorded_once(self, store: Store) -> None:
        lease = started(store)
        once = checkpoint(store, "pay", "first")
        store.checkpoints.record(lease, once)
        before = everything(store, lease.run_id)
        store.checkpoints.record(lease, once)
        assert everything(store, lease.run_id) == before

    def test_a_repeated_failed_attempt_counts_once(self, store: Store) -> None:
        lease = started(store)
        once = failed_attempt(store, "pay")
        store.checkpoints.record_failure(lease, once)
        store.checkpoints.record_failure(lease, once)
        assert outcomes(store, lease.run_id).failures == {"pay": 1}

    def test_a_repeated_suspension_suspends_once(self, store: Store) -> None:
        lease = started(store)
        once = suspension(sleeping(), event_wait())
        first = suspend(store, lease, once)
        before = everything(store, lease.run_id)
        assert suspend(store, lease, once) is first
        assert everything(store, lease.run_id) == before

    def test_a_repeated_end_ends_once(self, store: Store) -> None:
        for state in (RunState.COMPLETED, RunState.FAILED, RunState.TIMED_OUT):
            lease = started(store)
            once = ending(state, output="1")
            store.runs.end(lease, once)
            before = everything(store, lease.run_id)
            store.runs.end(lease, once)
            assert everything(store, lease.run_id) == before

    def test_an_end_under_another_token_is_no_repeat(self, store: Store) -> None:
        lease = started(store)
        store.runs.end(lease, ending())
        with raises(LeaseLost):
            store.runs.end(lease, ending())

    def test_a_repeated_hand_back_gives_the_same_nudge(self, store: Store) -> None:
        lease = started(store)
        first = store.runs.hand_back(lease, "t")
        before = everything(store, lease.run_id)
        assert store.runs.hand_back(lease, "t") == first
        assert everything(store, lease.run_id) == before
