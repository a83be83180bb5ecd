"""The contract of a store: what events start, and how long they are kept."""

from __future__ import annotations

from datetime import timedelta

from trigger_celery.ports import Store
from trigger_celery.testing.contract.records import AWKWARD, event_wait
from trigger_celery.testing.contract.tools import Advance, emitted, outcomes, suspended, wait_ids
from trigger_celery.vocabulary.records import Event, NewEvent, Subscription

DAY = timedelta(days=1)


def _subscription(task: str, name: str = "paid", filter: str = "{}") -> Subscription:
    return Subscription(task=task, name=name, filter=filter)


def _of(store: Store, name: str = "paid") -> list[Subscription]:
    return list(store.subscriptions.of(name, after="", limit=99))


class SubscriptionContract:
    """A task has one subscription, and keeps it until somebody who knows it says otherwise."""

    def test_subscriptions_are_found_by_the_name_of_their_event(self, store: Store) -> None:
        wanted = [_subscription("b", filter=AWKWARD), _subscription("a"), _subscription("c")]
        others = [_subscription("d", "Paid"), _subscription("e", "paid ")]
        assert store.subscriptions.sync([*wanted, *others], []) == 5
        assert _of(store) == sorted(wanted, key=lambda each: each.task)
        assert _of(store, "Paid") == [others[0]]
        assert _of(store, "unpaid") == []

    def test_subscriptions_are_read_in_pieces(self, store: Store) -> None:
        wanted = [_subscription(task) for task in "abc"]
        store.subscriptions.sync(wanted, [])
        assert list(store.subscriptions.of("paid", after="", limit=2)) == wanted[:2]
        assert list(store.subscriptions.of("paid", after="b", limit=2)) == wanted[2:]

    def test_only_differences_are_written(self, store: Store) -> None:
        wanted = [_subscription(task) for task in "ab"]
        assert store.subscriptions.sync(wanted, ["c"]) == 2
        assert store.subscriptions.sync(wanted, ["c"]) == 0
        assert store.subscriptions.sync([_subscription("a", filter="[]")], []) == 1
        assert store.subscriptions.sync([_subscription("b", "shipped")], []) == 1
        assert _of(store) == [_subscription("a", filter="[]")]
        assert _of(store, "shipped") == [_subscription("b", "shipped")]

    def test_a_subscription_goes_when_its_task_is_retired_and_not_before(
        self, store: Store
    ) -> None:
        store.subscriptions.sync([_subscription(task) for task in "abc"], [])
        assert store.subscriptions.sync([], ["b", "z"]) == 1
        assert [each.task for each in _of(store)] == ["a", "c"]


class RetentionContract:
    """Old events go, but for those that somebody needs."""

    def _purge(self, store: Store, *, after: int = 0, limit: int = 99) -> int:
        return store.events.purge(older_than=DAY, after=after, limit=limit)

    def _stored(self, store: Store, event: Event) -> bool:
        again = NewEvent(id=event.id, name="again", payload="1", source=event.source)
        return store.events.add(again) is None

    def test_an_event_that_was_matched_long_ago_is_deleted(
        self, store: Store, advance: Advance
    ) -> None:
        old = emitted(store)
        store.events.matched(old.sequence)
        advance(DAY + timedelta(seconds=1))
        young = emitted(store)
        store.events.matched(young.sequence)
        assert self._purge(store) == 0
        assert not self._stored(store, old)
        assert self._stored(store, young)

    def test_an_event_that_is_not_matched_stays(self, store: Store, advance: Advance) -> None:
        left_over = emitted(store)
        advance(DAY + timedelta(seconds=1))
        self._purge(store)
        assert self._stored(store, left_over)
        store.events.matched(left_over.sequence)
        self._purge(store)
        assert self._stored(store, left_over)

    def test_an_event_that_ended_a_wait_stays(self, store: Store, advance: Advance) -> None:
        run_id = suspended(store, event_wait())
        taken = emitted(store)
        store.waits.resolve(taken.sequence, wait_ids(store))
        store.events.matched(taken.sequence)
        advance(DAY * 400)
        assert self._purge(store) == 0
        assert outcomes(store, run_id).recorded["approval"].event is not None
        assert self._stored(store, taken)

    def test_so_many_events_are_looked_at_and_the_rest_in_another_call(
        self, store: Store, advance: Advance
    ) -> None:
        old = [emitted(store) for _ in range(5)]
        for event in old:
            store.events.matched(event.sequence)
        advance(DAY + timedelta(seconds=1))
        after = self._purge(store, limit=2)
        assert after == old[1].sequence
        assert [self._stored(store, event) for event in old] == [False, False, True, True, True]
        assert self._purge(store, after=old[3].sequence, limit=2) == 0
        assert self._stored(store, old[3])
        assert not self._stored(store, old[4])

    def test_one_id_may_come_from_several_sources(self, store: Store) -> None:
        def add(source: str) -> Event | None:
            new = NewEvent(id="e-1", name="approved", payload="1", source=source)
            return store.events.add(new)

        first, second = add("stripe"), add("github")
        assert (first and first.source, second and second.source) == ("stripe", "github")
        assert add("") is not None
        assert add("stripe") is None
