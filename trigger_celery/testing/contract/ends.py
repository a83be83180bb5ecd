"""The contract of a store: how runs end, which worker publishes it, and what history says."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from uuid import UUID, uuid4

from trigger_celery.errors import IllegalTransition, RunNotFound
from trigger_celery.ports import Store
from trigger_celery.testing.contract.tools import (
    AWKWARD,
    LEASE,
    Advance,
    asked,
    checkpoint,
    claim,
    dead_letters,
    emitted,
    ending,
    event_wait,
    failed_attempt,
    got,
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
from trigger_celery.vocabulary.states import TRANSITIONS, RunState, WaitState


class EndContract:
    """A run ends once."""

    def test_a_completed_run_keeps_its_output_as_written(self, store: Store) -> None:
        lease = started(store)
        store.runs.end(lease, ending(output=AWKWARD))
        run = got(store, lease.run_id)
        assert (run.state, run.output, run.error) == ("completed", AWKWARD, None)
        assert run.finished_at is not None
        assert run.published_at is None
        assert store.runs.claim(asked(lease.run_id)) is None

    def test_a_failed_run_keeps_its_error_as_written(self, store: Store) -> None:
        lease = started(store)
        store.runs.end(lease, ending(RunState.FAILED, error=AWKWARD))
        run = got(store, lease.run_id)
        assert (run.state, run.output, run.error) == ("failed", None, AWKWARD)

    def test_an_end_without_callbacks_owes_no_publishing(
        self, store: Store, advance: Advance
    ) -> None:
        lease = started(store)
        store.runs.end(lease, ending(publish=False))
        run = got(store, lease.run_id)
        assert run.published_at is not None
        assert run.due_at is None
        advance(timedelta(days=365))
        assert swept(store) == []
        assert store.runs.claim(asked(lease.run_id)) is None

    def test_open_waits_are_canceled_with_the_end_and_ended_ones_stay(
        self, store: Store, advance: Advance
    ) -> None:
        short, long = sleeping("short", timedelta(seconds=1)), event_wait("long")
        run_id = suspended(store, short, long)
        advance(timedelta(seconds=2))
        assert swept(store) == [run_id]
        store.runs.end(claim(store, run_id).lease, ending())
        recorded = outcomes(store, run_id).recorded
        assert recorded["short"].wait is WaitState.TIMEOUT
        assert recorded["long"].wait is WaitState.CANCELED
        assert wait_ids(store) == []

    def test_only_unsuccessful_ends_leave_an_open_dead_letter(self, store: Store) -> None:
        for state, left in (
            (RunState.COMPLETED, []),
            (RunState.FAILED, ["open"]),
            (RunState.TIMED_OUT, ["open"]),
        ):
            lease = started(store)
            store.runs.end(lease, ending(state))
            assert (state, dead_letters(store, lease.run_id)) == (state, left)

    def test_the_failed_attempt_of_an_end_is_stored_with_it(self, store: Store) -> None:
        lease = started(store)
        failed = replace(ending(RunState.FAILED), failed=failed_attempt(store, "pay"))
        store.runs.end(lease, failed)
        assert outcomes(store, lease.run_id).failures == {"pay": 1}


class CancelContract:
    """Anything that has not ended can be canceled, and the end is published."""

    def test_every_run_that_has_not_ended_is_canceled_at_once(self, store: Store) -> None:
        executing = started(store)
        for run_id in (queued(store), executing.run_id, suspended(store, event_wait())):
            nudge = store.runs.cancel(run_id, AWKWARD)
            assert nudge is not None
            assert nudge.run_id == run_id
            run = got(store, run_id)
            assert (run.state, run.published_at) == ("canceled", None)
            assert run.error == AWKWARD
            assert run.finished_at is not None
            claimed = claim(store, run_id)
            assert (claimed.publishing, claimed.run.state) == (True, "canceled")
            assert dead_letters(store, run_id) == []
        assert wait_ids(store) == []

    def test_an_ended_run_is_not_canceled(self, store: Store) -> None:
        for state in (RunState.COMPLETED, RunState.FAILED, RunState.TIMED_OUT):
            lease = started(store)
            store.runs.end(lease, ending(state))
            assert store.runs.cancel(lease.run_id, "") is None
            assert got(store, lease.run_id).state is state
        run_id = queued(store)
        assert store.runs.cancel(run_id, "") is not None
        assert store.runs.cancel(run_id, "") is None
        assert store.runs.cancel(new_id(), "") is None


class RetryContract:
    """A person may try a failed run again; what it recorded stays."""

    def test_a_retried_run_starts_over_with_its_checkpoints(self, store: Store) -> None:
        for state in (RunState.FAILED, RunState.TIMED_OUT):
            run_id = self._failed_after_an_event(store, state)
            nudge = store.runs.retry(run_id)
            assert nudge.run_id == run_id
            run = got(store, run_id)
            assert (run.state, run.attempt, run.crashes) == ("queued", 1, 0)
            assert (run.error, run.finished_at, run.published_at) == (None, None, None)
            recorded = outcomes(store, run_id).recorded
            assert {key: item.value or item.wait for key, item in recorded.items()} == {
                "pay": "42",
                "approval": WaitState.EVENT,
            }
            assert dead_letters(store, run_id) == ["retried"]
            claimed = claim(store, run_id)
            assert (claimed.publishing, claimed.replayed) == (False, True)

    def _failed_after_an_event(self, store: Store, state: RunState) -> UUID:
        lease = started(store)
        run_id = lease.run_id
        store.checkpoints.record(lease, checkpoint(store, "pay", "42"))
        waits = suspension(sleeping("asleep"), event_wait(), next_attempt=2)
        assert suspend(store, lease, waits) is RunState.SUSPENDED
        store.waits.looked(run_id, fence=lease.fence)
        store.waits.resolve(emitted(store).sequence, wait_ids(store))
        store.runs.end(claim(store, run_id).lease, ending(state, error="{}"))
        return run_id

    def test_failed_attempts_before_a_retry_do_not_count_after_it(self, store: Store) -> None:
        lease = started(store)
        store.checkpoints.record_failure(lease, failed_attempt(store, "pay"))
        store.runs.end(lease, ending(RunState.FAILED))
        store.runs.retry(lease.run_id)
        assert outcomes(store, lease.run_id).failures == {}
        again = claim(store, lease.run_id).lease
        store.checkpoints.record_failure(again, failed_attempt(store, "pay"))
        assert outcomes(store, lease.run_id).failures == {"pay": 1}

    def test_a_run_that_fails_again_has_an_open_dead_letter_again(self, store: Store) -> None:
        lease = started(store)
        store.runs.end(lease, ending(RunState.FAILED))
        store.runs.retry(lease.run_id)
        store.runs.end(claim(store, lease.run_id).lease, ending(RunState.FAILED))
        assert dead_letters(store, lease.run_id).count("open") == 1

    def test_the_publisher_of_an_end_that_was_retried_changes_nothing(self, store: Store) -> None:
        lease = started(store)
        store.runs.end(lease, ending(RunState.FAILED))
        store.runs.retry(lease.run_id)
        store.runs.published(lease)
        assert got(store, lease.run_id).published_at is None
        assert not claim(store, lease.run_id).publishing

    def test_only_unsuccessful_runs_are_retried(self, store: Store) -> None:
        completed, canceled = started(store), queued(store)
        store.runs.end(completed, ending())
        store.runs.cancel(canceled, "")
        waiting = suspended(store, sleeping())
        for run_id in (completed.run_id, canceled, waiting, queued(store), started(store).run_id):
            before = got(store, run_id)
            with raises(IllegalTransition):
                store.runs.retry(run_id)
            assert got(store, run_id) == before
        with raises(RunNotFound):
            store.runs.retry(new_id())


class PublishContract:
    """The end of a run is published at least once."""

    def test_a_published_run_owes_nothing_any_more(self, store: Store, advance: Advance) -> None:
        lease = started(store)
        store.runs.end(lease, ending())
        store.runs.published(lease)
        store.runs.published(lease)
        run = got(store, lease.run_id)
        assert run.published_at is not None
        assert run.due_at is None
        advance(timedelta(days=365))
        assert swept(store) == []
        assert store.runs.claim(asked(lease.run_id)) is None

    def test_an_end_that_its_worker_did_not_publish_is_claimed_by_another(
        self, store: Store, advance: Advance
    ) -> None:
        lease = started(store)
        store.runs.end(lease, ending(output="3", publish_within=LEASE))
        assert swept(store) == []
        advance(LEASE + timedelta(seconds=1))
        claimed = claim(store, lease.run_id, worker="w2")
        assert (claimed.publishing, claimed.lease.fence) == (True, lease.fence + 1)
        assert (claimed.run.state, claimed.run.output) == ("completed", "3")
        assert store.runs.claim(asked(lease.run_id)) is None
        store.runs.published(claimed.lease)
        assert got(store, lease.run_id).published_at is not None

    def test_a_run_that_the_sweep_nudges_for_publishing_can_be_claimed(
        self, store: Store, advance: Advance
    ) -> None:
        lease = started(store)
        store.runs.end(lease, ending())
        advance(LEASE + timedelta(seconds=1))
        assert swept(store) == [lease.run_id]
        assert swept(store) == []
        assert claim(store, lease.run_id, worker="w2").publishing

    def test_a_publisher_that_dies_is_followed_by_another(
        self, store: Store, advance: Advance
    ) -> None:
        lease = started(store)
        store.runs.end(lease, ending(publish_within=timedelta(0)))
        first = claim(store, lease.run_id, worker="w2")
        assert store.runs.claim(asked(lease.run_id)) is None
        assert swept(store) == []
        advance(LEASE + timedelta(seconds=1))
        assert swept(store) == [lease.run_id]
        second = claim(store, lease.run_id, worker="w3")
        assert second.lease.fence == first.lease.fence + 1

    def test_a_publisher_that_is_known_to_have_died_is_followed_by_another_at_once(
        self, store: Store
    ) -> None:
        lease = started(store, worker="w1")
        store.runs.end(lease, ending())
        assert store.runs.recover(lease.run_id, "w2") is None
        assert store.runs.claim(asked(lease.run_id)) is None
        nudge = store.runs.recover(lease.run_id, "w1")
        assert nudge is not None
        assert nudge.run_id == lease.run_id
        assert got(store, lease.run_id).state is RunState.COMPLETED
        assert swept(store) == []
        later = claim(store, lease.run_id, worker="w2")
        assert later.publishing
        store.runs.published(later.lease)
        assert store.runs.recover(lease.run_id, "w2") is None

    def test_an_old_fence_publishes_nothing(self, store: Store) -> None:
        lease = started(store)
        store.runs.end(lease, ending(publish_within=timedelta(0)))
        later = claim(store, lease.run_id).lease
        store.runs.published(lease)
        assert got(store, lease.run_id).published_at is None
        store.runs.published(later)
        assert got(store, lease.run_id).published_at is not None

    def test_a_run_that_has_not_ended_cannot_be_published(self, store: Store) -> None:
        lease = started(store)
        store.runs.published(lease)
        assert got(store, lease.run_id).published_at is None

    def test_a_repeated_claim_for_publishing_gets_the_same_answer(self, store: Store) -> None:
        lease = started(store)
        store.runs.end(lease, ending(publish_within=timedelta(0)))
        question = asked(lease.run_id)
        first, again = store.runs.claim(question), store.runs.claim(question)
        assert first is not None
        assert again is not None
        assert (again.lease, again.publishing) == (first.lease, True)


class HistoryContract:
    """Every move is in the history, in order, and every move is allowed."""

    def test_the_history_has_every_transition_of_a_long_run(
        self, store: Store, advance: Advance
    ) -> None:
        run_id = self._long_life(store, advance)
        history = store.runs.history(run_id)
        assert [(entry.verb, entry.state) for entry in history] == [
            ("trigger", "queued"),
            ("claim", "executing"),
            ("hand back", "queued"),
            ("claim", "executing"),
            ("recover", "queued"),
            ("claim", "executing"),
            ("suspend", "suspended"),
            ("wake", "queued"),
            ("claim", "executing"),
            ("suspend", "suspended"),
            ("wake", "queued"),
            ("claim", "executing"),
            ("fail", "failed"),
            ("retry", "queued"),
            ("claim", "executing"),
            ("complete", "completed"),
            ("publish", "completed"),
        ]
        for before, after in pairwise(history):
            assert before.sequence < after.sequence
            assert before.at <= after.at
            assert before.fence <= after.fence
            assert before.state is after.state or after.state in TRANSITIONS[before.state]
        assert {entry.run_id for entry in history} == {run_id}
        assert all(isinstance(json.loads(entry.data), dict) for entry in history)
        assert [entry.worker for entry in history if entry.verb == "claim"] == ["w1"] * 6

    def _long_life(self, store: Store, advance: Advance) -> UUID:
        run_id = queued(store)
        store.runs.hand_back(claim(store, run_id).lease, "t")
        claim(store, run_id)
        store.runs.recover(run_id, "w1")
        lease = claim(store, run_id).lease
        suspend(store, lease, suspension(event_wait(), sleeping()))
        store.waits.looked(run_id, fence=lease.fence)
        store.waits.resolve(emitted(store).sequence, wait_ids(store))
        suspend(store, claim(store, run_id).lease, suspension(sleeping("nap", timedelta(0))))
        assert swept(store) == [run_id]
        store.runs.end(claim(store, run_id).lease, ending(RunState.FAILED))
        store.runs.retry(run_id)
        store.runs.end(claim(store, run_id).lease, ending(publish_within=timedelta(0)))
        store.runs.published(claim(store, run_id).lease)
        return run_id

    def test_a_note_is_in_the_history_and_changes_nothing(self, store: Store) -> None:
        lease = started(store)
        before = got(store, lease.run_id)
        store.runs.note(lease.run_id, "hook", {"hook": "on_start", "error": "\N{SNOWMAN} 'x'"})
        assert got(store, lease.run_id) == before
        last = store.runs.history(lease.run_id)[-1]
        assert (last.verb, last.state, last.fence, last.worker) == ("hook", "executing", 1, "w1")
        assert json.loads(last.data) == {"hook": "on_start", "error": "\N{SNOWMAN} 'x'"}
        store.runs.end(lease, ending())
        store.runs.note(lease.run_id, "hook", {})
        assert store.runs.history(lease.run_id)[-1].state is RunState.COMPLETED
        store.runs.note(uuid4(), "hook", {})

    def test_notes_since_the_end_leave_out_those_before_a_retry(self, store: Store) -> None:
        def called() -> list[str]:
            found = store.runs.notes_since_end(run_id, "hook")
            assert [entry.sequence for entry in found] == sorted(e.sequence for e in found)
            return [json.loads(entry.data)["hook"] for entry in found]

        run_id = queued(store)
        assert called() == []
        lease = claim(store, run_id).lease
        store.runs.note(run_id, "hook", {"hook": "on_start"})
        assert called() == []
        store.runs.end(lease, ending(RunState.FAILED))
        assert called() == []
        for name in ("on_failure", "on_complete"):
            store.runs.note(run_id, "hook", {"hook": name})
            store.runs.note(run_id, "other", {"hook": "no"})
        assert called() == ["on_failure", "on_complete"]
        store.runs.note(queued(store), "hook", {"hook": "of another run"})
        store.runs.retry(run_id)
        assert called() == []
        lease = claim(store, run_id).lease
        store.runs.end(lease, ending(publish_within=timedelta(0)))
        store.runs.note(run_id, "hook", {"hook": "on_success"})
        claim(store, run_id)
        store.runs.note(run_id, "hook", {"hook": "on_complete"})
        assert called() == ["on_success", "on_complete"]
        assert store.runs.notes_since_end(uuid4(), "hook") in ([], ())

    def test_the_history_has_cancellations_and_timeouts(self, store: Store) -> None:
        lease, run_id = started(store), queued(store)
        store.runs.end(lease, ending(RunState.TIMED_OUT))
        store.runs.cancel(run_id, "no longer needed")
        last = store.runs.history(lease.run_id)[-1]
        assert (last.verb, last.state) == ("time out", "timed_out")
        last = store.runs.history(run_id)[-1]
        assert (last.verb, last.state) == ("cancel", "canceled")
        assert got(store, run_id).error == "no longer needed"
