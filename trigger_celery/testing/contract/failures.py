"""The contract of failed attempts: which of them a replay raises again."""

from __future__ import annotations

from dataclasses import replace

from trigger_celery.ports import Store
from trigger_celery.testing.contract.tools import (
    AWKWARD,
    checkpoint,
    claim,
    ending,
    failed_attempt,
    outcomes,
    started,
)
from trigger_celery.vocabulary.records import Holds, Lease, Outcome, StepKind
from trigger_celery.vocabulary.states import RunState


class FailureContract:
    """A failure holds in its attempt of the run, in this life of it, or always."""

    def _holding(self, store: Store) -> Lease:
        """Return a run with a failure of each kind, in its second attempt."""
        lease = started(store)
        for position, holds in enumerate(Holds):
            failed = failed_attempt(store, holds.value)
            failed = replace(
                failed, holds=holds, kind=StepKind.SEND, position=position, raised=AWKWARD
            )
            store.checkpoints.record_failure(lease, failed)
        store.checkpoints.record(lease, checkpoint(store, "pay"))
        return lease

    def test_a_failure_holds_in_its_attempt_its_life_or_always(self, store: Store) -> None:
        lease = self._holding(store)

        def held(run_attempt: int) -> set[str]:
            recorded = store.checkpoints.load(lease.run_id, run_attempt=run_attempt).recorded
            return set(recorded) - {"pay"}

        assert (held(1), held(2)) == ({"attempt", "life", "always"}, {"life", "always"})
        store.runs.end(lease, ending(RunState.FAILED))
        store.runs.retry(lease.run_id)
        assert (held(1), held(2)) == ({"always"}, {"always"})

    def test_a_failure_that_holds_says_what_is_raised(self, store: Store) -> None:
        recorded = outcomes(store, self._holding(store).run_id).recorded
        assert recorded["life"] == Outcome(
            key="life",
            kind=StepKind.SEND,
            position=2,
            value=AWKWARD,
            error=AWKWARD,
            holds=Holds.LIFE,
        )
        assert (recorded["pay"].error, recorded["pay"].holds) == (None, Holds.NOT)

    def test_a_kept_failure_holds_always(self, store: Store) -> None:
        lease = self._holding(store)
        for _ in range(2):
            store.checkpoints.keep_failures(lease, {"attempt": 1, "life": 1, "not": 2})
        recorded = store.checkpoints.load(lease.run_id, run_attempt=2).recorded
        assert {key: each.holds for key, each in recorded.items() if key != "pay"} == {
            "attempt": Holds.ALWAYS,
            "life": Holds.ALWAYS,
            "always": Holds.ALWAYS,
        }

    def test_only_failures_of_this_life_are_kept(self, store: Store) -> None:
        lease = self._holding(store)
        store.runs.end(lease, ending(RunState.FAILED))
        store.runs.retry(lease.run_id)
        lease = claim(store, lease.run_id).lease
        store.checkpoints.keep_failures(lease, {"attempt": 1})
        assert "attempt" not in outcomes(store, lease.run_id).recorded

    def test_a_success_counts_beside_a_failure(self, store: Store) -> None:
        lease = self._holding(store)
        store.checkpoints.record(lease, checkpoint(store, "attempt", "5"))
        found = outcomes(store, lease.run_id).recorded["attempt"]
        assert (found.value, found.error) == ("5", None)
