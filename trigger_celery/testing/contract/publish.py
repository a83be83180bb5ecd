"""The contract of a store: who publishes the end of a run."""

from __future__ import annotations

from datetime import timedelta

from trigger_celery.ports import Store
from trigger_celery.testing.contract.records import LEASE, asked, ending
from trigger_celery.testing.contract.tools import Advance, claim, got, started, swept
from trigger_celery.vocabulary.states import RunState


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

    def test_whom_the_sweep_nudges_for_publishing_can_be_claimed(
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
