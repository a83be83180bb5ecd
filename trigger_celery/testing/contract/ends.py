"""The contract of a store: how runs end, and what comes after."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from trigger_celery.errors import IllegalTransition, RunNotFound
from trigger_celery.ports import Store
from trigger_celery.testing.contract.records import (
    AWKWARD,
    asked,
    ending,
    event_wait,
    sleeping,
    suspension,
)
from trigger_celery.testing.contract.tools import (
    Advance,
    Letters,
    checkpoint,
    claim,
    emitted,
    failed_attempt,
    got,
    outcomes,
    queued,
    raises,
    started,
    suspend,
    suspended,
    swept,
    wait_ids,
)
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.states import RunState, WaitState


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

    def test_an_end_that_nobody_waits_for_owes_nothing(
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

    def test_only_unsuccessful_ends_leave_an_open_dead_letter(
        self, store: Store, letters: Letters
    ) -> None:
        for state, left in (
            (RunState.COMPLETED, []),
            (RunState.FAILED, ["open"]),
            (RunState.TIMED_OUT, ["open"]),
        ):
            lease = started(store)
            store.runs.end(lease, ending(state))
            assert (state, list(letters(lease.run_id))) == (state, left)

    def test_the_failed_attempt_of_an_end_is_stored_with_it(self, store: Store) -> None:
        lease = started(store)
        failed = replace(ending(RunState.FAILED), failed=failed_attempt(store, "pay"))
        store.runs.end(lease, failed)
        assert outcomes(store, lease.run_id).failures == {"pay": 1}


class CancelContract:
    """Anything that has not ended can be canceled, and the end is published."""

    def test_every_run_that_has_not_ended_is_canceled_at_once(
        self, store: Store, letters: Letters
    ) -> None:
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
            assert list(letters(run_id)) == []
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

    def test_a_retried_run_starts_over_with_its_checkpoints(
        self, store: Store, letters: Letters
    ) -> None:
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
            assert list(letters(run_id)) == ["retried"]
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

    def test_a_run_that_fails_again_has_an_open_dead_letter_again(
        self, store: Store, letters: Letters
    ) -> None:
        lease = started(store)
        store.runs.end(lease, ending(RunState.FAILED))
        store.runs.retry(lease.run_id)
        store.runs.end(claim(store, lease.run_id).lease, ending(RunState.FAILED))
        assert list(letters(lease.run_id)).count("open") == 1

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
