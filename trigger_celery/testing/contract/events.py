"""The contract of a store: events, and which waits they end."""

from __future__ import annotations

from datetime import timedelta

from trigger_celery.ports import Store
from trigger_celery.testing.contract.records import AWKWARD, event_wait, sleeping
from trigger_celery.testing.contract.tools import (
    Advance,
    Begin,
    claim,
    emitted,
    got,
    outcomes,
    queued,
    raises,
    ran,
    suspended,
    swept,
    wait_ids,
)
from trigger_celery.vocabulary.records import NewEvent, Subscription
from trigger_celery.vocabulary.states import RunState, WaitState


class EventContract:
    """Events are stored once, in their caller's transaction."""

    def test_an_event_is_stored_as_it_was_written(self, store: Store) -> None:
        run_id = queued(store)
        new = NewEvent(id="e-1", name="approved", payload=AWKWARD)
        event = store.events.add(new)
        assert event is not None
        assert (event.id, event.name, event.payload) == ("e-1", "approved", AWKWARD)
        assert event.received_at <= store.now()
        assert list(store.waits.unseen_events(run_id, "approved", after=0, limit=9)) == [event]

    def test_an_event_id_is_stored_once(self, store: Store) -> None:
        assert store.events.add(NewEvent(id="e-1", name="approved", payload="1")) is not None
        assert store.events.add(NewEvent(id="e-1", name="approved", payload="2")) is None
        assert store.events.add(NewEvent(id="E-1", name="approved", payload="3")) is not None
        assert store.events.add(NewEvent(id="e-1 ", name="approved", payload="4")) is not None

    def test_an_event_of_a_rolled_back_transaction_was_never_received(
        self, store: Store, begin: Begin
    ) -> None:
        run_id, new = queued(store), NewEvent(id="e-1", name="approved", payload="1")
        with raises(ZeroDivisionError), begin():
            assert store.events.add(new) is not None
            assert store.events.add(new) is None
            raise ZeroDivisionError
        assert not store.waits.unseen_events(run_id, "approved", after=0, limit=9)
        with begin():
            assert store.events.add(new) is not None
        assert len(store.waits.unseen_events(run_id, "approved", after=0, limit=9)) == 1

    def test_events_are_ordered_by_sequence(self, store: Store) -> None:
        sequences = [emitted(store).sequence for _ in range(5)]
        assert sequences == sorted(set(sequences))

    def test_an_event_is_unmatched_until_it_is_noted(self, store: Store, advance: Advance) -> None:
        first, second = emitted(store), emitted(store)
        age = timedelta(minutes=1)
        assert not store.events.unmatched(older_than=age, limit=9)
        advance(timedelta(minutes=1, seconds=1))
        found = store.events.unmatched(older_than=age, limit=9)
        assert [event.id for event in found] == [first.id, second.id]
        assert len(store.events.unmatched(older_than=age, limit=1)) == 1
        store.events.matched(first.sequence)
        store.events.matched(first.sequence)
        found = store.events.unmatched(older_than=age, limit=9)
        assert [event.id for event in found] == [second.id]


class LookBackContract:
    """A run may take events from its creation on, whenever they were committed."""

    def test_a_run_sees_the_events_of_a_name_by_sequence(self, store: Store) -> None:
        run_id = queued(store)
        events = [emitted(store) for _ in range(3)]
        emitted(store, name="Approved")
        emitted(store, name="approved ")
        see = store.waits.unseen_events
        assert list(see(run_id, "approved", after=0, limit=9)) == events
        assert list(see(run_id, "approved", after=0, limit=2)) == events[:2]
        assert list(see(run_id, "approved", after=events[0].sequence, limit=9)) == events[1:]

    def test_an_event_that_was_matched_before_the_run_began_is_past(
        self, store: Store, advance: Advance
    ) -> None:
        store.events.matched(emitted(store).sequence)
        advance(timedelta(seconds=1))
        run_id = queued(store)
        assert not store.waits.unseen_events(run_id, "approved", after=0, limit=9)

    def test_an_event_of_a_transaction_that_committed_after_the_run_began_is_seen(
        self, store: Store, advance: Advance
    ) -> None:
        early = emitted(store)
        advance(timedelta(seconds=1))
        run_id = queued(store)
        assert [e.id for e in store.waits.unseen_events(run_id, "approved", after=0, limit=9)] == [
            early.id
        ]
        advance(timedelta(seconds=1))
        store.events.matched(early.sequence)
        assert [e.id for e in store.waits.unseen_events(run_id, "approved", after=0, limit=9)] == [
            early.id
        ]

    def test_an_event_that_ended_a_wait_of_the_run_is_not_seen_again(self, store: Store) -> None:
        run_id = suspended(store, event_wait())
        taken, free = emitted(store), emitted(store)
        store.waits.resolve(taken.sequence, wait_ids(store))
        assert list(store.waits.unseen_events(run_id, "approved", after=0, limit=9)) == [free]


class MatchContract:
    """The index pre-selects; a wait has one outcome and a run takes an event once."""

    def test_candidates_are_open_waits_of_the_name_with_one_of_the_hashes(
        self, store: Store
    ) -> None:
        low, high = -(2**63), 2**63 - 1
        runs = {value: suspended(store, event_wait(match_hash=value)) for value in (low, 0, high)}
        suspended(store, event_wait(name="Approved", match_hash=low))
        suspended(store, sleeping())
        find = store.waits.candidates
        found = find("approved", [low, high], after=0, limit=9)
        assert [item.run_id for item in found] == [runs[low], runs[high]]
        assert {(item.key, item.name, item.filter) for item in found} == {
            ("approval", "approved", AWKWARD)
        }
        assert list(find("approved", [low, high], after=0, limit=1)) == list(found)[:1]
        assert list(find("approved", [low, high], after=found[0].wait_id, limit=9)) == [found[1]]
        assert list(find("approved", [], after=0, limit=9)) == []
        store.runs.cancel(runs[low], "")
        assert list(find("approved", [low, high], after=0, limit=9)) == [found[1]]

    def test_the_audience_of_an_event_is_all_that_it_may_start_or_wake(self, store: Store) -> None:
        empty = store.events.audience("approved", [], limit=9)
        assert [list(empty.shapes), list(empty.subscriptions), list(empty.candidates)] == [[]] * 3
        for number in (3, 1, 2):
            suspended(store, event_wait(match_hash=number, paths=f'["p{number}"]'))
        suspended(store, event_wait(name="other", paths='["x"]'))
        wanted = [Subscription(task=task, name="approved", filter=AWKWARD) for task in "ab"]
        store.subscriptions.sync([*wanted, Subscription(task="c", name="other", filter="{}")], [])
        found = store.events.audience("approved", [1, 3, 3, 7], limit=9)
        assert sorted(found.shapes) == ['["p1"]', '["p2"]', '["p3"]']
        assert list(found.subscriptions) == wanted
        find = store.waits.candidates
        assert list(found.candidates) == list(find("approved", [1, 3], after=0, limit=9))
        assert len(found.candidates) == 2
        first = store.events.audience("approved", [1, 3], limit=1)
        assert list(first.candidates) == list(found.candidates)[:1]
        assert list(first.subscriptions) == wanted[:1]
        assert sorted(first.shapes) == sorted(found.shapes)

    def test_an_event_is_noted_as_matched_with_the_last_waits_that_it_ends(
        self, store: Store
    ) -> None:
        suspended(store, event_wait())
        event = emitted(store)
        store.waits.resolve(event.sequence, [])
        assert list(store.events.unmatched(older_than=timedelta(0), limit=9)) == [event]
        assert len(store.waits.resolve(event.sequence, wait_ids(store), matched=True)) == 1
        assert list(store.events.unmatched(older_than=timedelta(0), limit=9)) == []
        late = emitted(store)
        assert list(store.waits.resolve(late.sequence, [], matched=True)) == []
        assert list(store.events.unmatched(older_than=timedelta(0), limit=9)) == []

    def test_the_open_event_waits_of_a_run_are_told_by_id(self, store: Store) -> None:
        run_id = suspended(store, event_wait("a"), sleeping(), event_wait("b", name="other"))
        suspended(store, event_wait("c"))
        found = store.waits.open(run_id)
        assert [(item.key, item.name) for item in found] == [("a", "approved"), ("b", "other")]
        store.waits.resolve(emitted(store).sequence, [found[0].wait_id])
        assert list(store.waits.open(run_id)) == [found[1]]
        assert list(store.waits.open(run_id, key="b")) == [found[1]]
        assert [list(store.waits.open(run_id, key=key)) for key in ("a", "sleep", "c")] == [[]] * 3

    def test_shapes_are_kept_of_all_waits_ever_made(self, store: Store) -> None:
        assert list(store.waits.shapes("approved")) == []
        run_id = suspended(store, event_wait("a", paths='["id"]'), event_wait("b", paths="[]"))
        suspended(store, event_wait(paths='["id"]'))
        suspended(store, event_wait(name="other", paths='["x"]'))
        assert sorted(store.waits.shapes("approved")) == ['["id"]', "[]"]
        store.runs.cancel(run_id, "")
        assert sorted(store.waits.shapes("approved")) == ['["id"]', "[]"]

    def test_an_event_ends_a_wait_and_queues_its_run(self, store: Store) -> None:
        run_id = suspended(store, event_wait())
        event = emitted(store, payload=AWKWARD)
        assert ran(store.waits.resolve(event.sequence, wait_ids(store))) == [run_id]
        assert got(store, run_id).state is RunState.QUEUED
        outcome = outcomes(store, run_id).recorded["approval"]
        assert (outcome.wait, outcome.event, outcome.value) == (WaitState.EVENT, event, None)
        assert wait_ids(store) == []
        assert claim(store, run_id).replayed

    def test_an_event_ends_waits_of_many_runs(self, store: Store) -> None:
        run_ids = [suspended(store, event_wait()) for _ in range(3)]
        sequence, waits = emitted(store).sequence, wait_ids(store)
        assert sorted(ran(store.waits.resolve(sequence, waits))) == sorted(run_ids)
        assert store.waits.resolve(sequence, waits) == ()
        assert store.waits.resolve(sequence, []) == ()

    def test_an_ended_wait_keeps_its_outcome(self, store: Store, advance: Advance) -> None:
        run_id = suspended(store, event_wait(delay=timedelta(seconds=1)))
        waits, first = wait_ids(store), emitted(store)
        store.waits.resolve(first.sequence, waits)
        assert list(store.waits.resolve(emitted(store).sequence, waits)) == []
        advance(timedelta(seconds=3))
        assert swept(store) == []
        kept = outcomes(store, run_id).recorded["approval"].event
        assert kept is not None
        assert kept.id == first.id

    def test_of_several_waits_of_a_run_the_first_by_id_gets_the_event(self, store: Store) -> None:
        run_id = suspended(store, event_wait("a"), event_wait("b"))
        first, second = wait_ids(store)
        sequence = emitted(store).sequence
        assert ran(store.waits.resolve(sequence, [second, first])) == [run_id]
        recorded = outcomes(store, run_id).recorded
        assert (recorded["a"].wait, recorded["b"].wait) == (WaitState.EVENT, WaitState.WAITING)
        assert list(store.waits.resolve(sequence, [second])) == []
        assert outcomes(store, run_id).recorded["b"].wait is WaitState.WAITING

    def test_a_run_that_is_not_suspended_takes_the_event_without_a_nudge(
        self, store: Store
    ) -> None:
        run_id = suspended(store, event_wait("a"), event_wait("b"), event_wait("c"))
        first, second, third = wait_ids(store)
        store.waits.resolve(emitted(store).sequence, [first])
        assert list(store.waits.resolve(emitted(store).sequence, [second])) == []
        claim(store, run_id)
        assert list(store.waits.resolve(emitted(store).sequence, [third])) == []
        assert got(store, run_id).state is RunState.EXECUTING
        ended = {item.wait for item in outcomes(store, run_id).recorded.values()}
        assert ended == {WaitState.EVENT}
