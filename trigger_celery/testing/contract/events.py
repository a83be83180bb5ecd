"""The contract of a store: events, the waits that they end and the tasks that they start."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from trigger_celery.ports import Store
from trigger_celery.testing.contract.tools import (
    AWKWARD,
    Advance,
    Begin,
    claim,
    emitted,
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
from trigger_celery.vocabulary.records import EventFilter, NewEvent, StoredEvent, Subscription
from trigger_celery.vocabulary.states import RunState, WaitState

DAY = timedelta(days=1)


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

    def test_the_event_of_an_id_is_found_in_the_transaction_that_stored_it_and_after(
        self, store: Store, begin: Begin
    ) -> None:
        ours = NewEvent(id="e-1", name="approved", payload=AWKWARD)
        with begin():
            store.events.add(ours)
            store.events.add(replace(ours, source="bank", payload="2"))
            inside = [store.events.get("e-1", source=source) for source in ("", "bank", "Bank")]
        after = [store.events.get("e-1", source=source) for source in ("", "bank", "Bank")]
        assert after == inside
        assert [each and (each.source, each.payload) for each in after] == [
            ("", AWKWARD),
            ("bank", "2"),
            None,
        ]
        assert store.events.get("e-1 ", source="") is None

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
        assert not store.events.unmatched(older_than=age, after=0, limit=9)
        advance(timedelta(minutes=1, seconds=1))
        found = store.events.unmatched(older_than=age, after=0, limit=9)
        assert [event.id for event in found] == [first.id, second.id]
        assert len(store.events.unmatched(older_than=age, after=0, limit=1)) == 1
        behind = store.events.unmatched(older_than=age, after=first.sequence, limit=9)
        assert [event.id for event in behind] == [second.id]
        store.events.matched(first.sequence)
        store.events.matched(first.sequence)
        found = store.events.unmatched(older_than=age, after=0, limit=9)
        assert [event.id for event in found] == [second.id]


class EventListContract:
    """Events are listed by what they have in common, the latest first."""

    def test_events_are_found_by_name_source_and_whether_they_are_matched(
        self, store: Store
    ) -> None:
        first, second = emitted(store), emitted(store)
        other = store.events.add(NewEvent(id="o-1", name="other", payload="{}", source="bank"))
        assert other is not None
        store.events.matched(first.sequence)

        def found(before: int | None = None, **wanted: Any) -> list[int]:
            listed = store.events.find(EventFilter(**wanted), before=before, limit=9)
            return [each.event.sequence for each in listed]

        assert found() == [other.sequence, second.sequence, first.sequence]
        assert found(name=first.name) == found(source="") == [second.sequence, first.sequence]
        assert found(source="bank") == found(name="other") == [other.sequence]
        assert found(unmatched=True) == [other.sequence, second.sequence]
        assert found(before=second.sequence) == [first.sequence]
        [listed] = store.events.find(EventFilter(), before=second.sequence, limit=9)
        assert listed.event == first
        assert listed.matched_at is not None
        [latest] = store.events.find(EventFilter(), limit=1)
        assert (latest.event, latest.matched_at) == (other, None)


class LookBackContract:
    """A run may take the events above its cut, whenever they were committed."""

    def test_a_run_sees_the_events_of_a_name_by_sequence(self, store: Store) -> None:
        run_id = queued(store)
        events = [emitted(store) for _ in range(3)]
        emitted(store, name="Approved")
        emitted(store, name="approved ")
        see = store.waits.unseen_events
        assert list(see(run_id, "approved", after=0, limit=9)) == events
        assert list(see(run_id, "approved", after=0, limit=2)) == events[:2]
        assert list(see(run_id, "approved", after=events[0].sequence, limit=9)) == events[1:]

    def test_an_event_counts_if_its_sequence_is_above_the_runs_cut(self, store: Store) -> None:
        early = emitted(store)  # not matched: its sender may have died
        run_id = suspended(store, event_wait())
        assert got(store, run_id).event_cut == early.sequence
        late = emitted(store)
        assert list(store.waits.unseen_events(run_id, "approved", after=0, limit=9)) == [late]
        assert list(store.waits.resolve(early.sequence, wait_ids(store))) == []
        assert outcomes(store, run_id).recorded["approval"].wait is WaitState.WAITING
        assert ran(store.waits.resolve(late.sequence, wait_ids(store))) == [run_id]

    def test_of_one_transaction_what_is_sent_after_the_trigger_counts(
        self, store: Store, begin: Begin
    ) -> None:
        with begin():
            emitted(store)
            with begin():
                emitted(store)
                run_id = queued(store)
                late = emitted(store)
        assert list(store.waits.unseen_events(run_id, "approved", after=0, limit=9)) == [late]

    def test_an_event_that_was_rolled_back_is_no_cut(self, store: Store, begin: Begin) -> None:
        first = emitted(store)
        with raises(ZeroDivisionError), begin():
            emitted(store)
            raise ZeroDivisionError
        assert got(store, queued(store)).event_cut == first.sequence

    def test_the_cut_of_a_run_may_be_given(self, store: Store) -> None:
        first, second = emitted(store), emitted(store)
        new = replace(new_run(), event_cut=first.sequence)
        store.runs.create([new, other := new_run()])
        assert got(store, new.id).event_cut == first.sequence
        assert got(store, other.id).event_cut == second.sequence
        assert list(store.waits.unseen_events(new.id, "approved", after=0, limit=9)) == [second]

    def test_no_clock_says_whether_an_event_counts(self, store: Store, advance: Advance) -> None:
        past = emitted(store)
        run_id = queued(store)
        store.events.matched(past.sequence)
        advance(timedelta(seconds=1))
        event = emitted(store)
        advance(timedelta(seconds=1))
        store.events.matched(event.sequence)
        [found] = store.waits.unseen_events(run_id, "approved", after=0, limit=9)
        assert found.id == event.id

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

    def test_of_many_hashes_those_are_known_that_open_waits_have(self, store: Store) -> None:
        low, high = -(2**63), 2**63 - 1
        runs = {value: suspended(store, event_wait(match_hash=value)) for value in (low, 0, high)}
        suspended(store, event_wait(name="other", match_hash=5))
        many = [high, *range(-500, 500), low]
        assert list(store.waits.awaited("approved", many)) == [high, 0, low]
        assert list(store.waits.awaited("approved", [])) == []
        store.runs.cancel(runs[0], "")
        assert list(store.waits.awaited("approved", many)) == [high, low]

    def test_the_audience_of_an_event_is_all_that_it_may_start_or_wake(self, store: Store) -> None:
        empty = store.events.audience("approved", [], before=9, limit=9)
        assert [list(empty.shapes), list(empty.subscriptions), list(empty.candidates)] == [[]] * 3
        for number in (3, 1, 2):
            suspended(store, event_wait(match_hash=number, paths=f'["p{number}"]'))
        suspended(store, event_wait(name="other", paths='["x"]'))
        wanted = [Subscription(task=task, name="approved", filter=AWKWARD) for task in "ab"]
        store.subscriptions.sync([*wanted, Subscription(task="c", name="other", filter="{}")], [])
        found = store.events.audience("approved", [1, 3, 3, 7], before=9, limit=9)
        assert sorted(found.shapes) == ['["p1"]', '["p2"]', '["p3"]']
        assert list(found.subscriptions) == wanted
        find = store.waits.candidates
        assert list(found.candidates) == list(find("approved", [1, 3], after=0, limit=9))
        assert len(found.candidates) == 2
        first = store.events.audience("approved", [1, 3], before=9, limit=1)
        assert list(first.candidates) == list(found.candidates)[:1]
        assert list(first.subscriptions) == wanted[:1]
        assert sorted(first.shapes) == sorted(found.shapes)

    def test_a_crowd_is_the_earlier_events_of_the_name_that_are_to_be_matched(
        self, store: Store
    ) -> None:
        suspended(store, event_wait())
        first, other, second = emitted(store), emitted(store, "other"), emitted(store)
        third = emitted(store)
        ahead, audience = store.events.ahead, store.events.audience
        last = third.sequence
        assert list(ahead("approved", before=last, after=0, limit=9)) == [first, second]
        assert list(ahead("approved", before=last, after=0, limit=1)) == [first]
        assert list(ahead("approved", before=last, after=first.sequence, limit=9)) == [second]
        assert audience("approved", [7], before=last, limit=9).crowded
        for event in (first, second):
            store.events.matched(event.sequence)
        assert list(ahead("approved", before=last, after=0, limit=9)) == []
        assert list(ahead("other", before=last, after=0, limit=9)) == [other]

    def test_a_candidate_says_whether_its_run_has_looked(self, store: Store) -> None:
        lease = started(store)
        suspend(store, lease, suspension(event_wait()))
        find = store.waits.candidates
        assert [each.looked for each in find("approved", [7], after=0, limit=9)] == [False]
        [found] = store.events.audience("approved", [7], before=1, limit=9).candidates
        assert not found.looked
        assert not any(each.looked for each in store.waits.open(lease.run_id))
        store.waits.looked(lease.run_id, fence=lease.fence)
        [found] = store.events.audience("approved", [7], before=1, limit=9).candidates
        assert found.looked

    def test_an_event_is_noted_as_matched_with_the_last_waits_that_it_ends(
        self, store: Store
    ) -> None:
        suspended(store, event_wait())
        event = emitted(store)
        store.waits.resolve(event.sequence, [])
        assert list(store.events.unmatched(older_than=timedelta(0), after=0, limit=9)) == [event]
        assert len(store.waits.resolve(event.sequence, wait_ids(store), matched=True)) == 1
        assert list(store.events.unmatched(older_than=timedelta(0), after=0, limit=9)) == []
        late = emitted(store)
        assert list(store.waits.resolve(late.sequence, [], matched=True)) == []
        assert list(store.events.unmatched(older_than=timedelta(0), after=0, limit=9)) == []

    def test_the_open_event_waits_of_a_run_are_found_by_its_id(self, store: Store) -> None:
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


def _subscription(task: str, name: str = "paid", filter: str = "{}") -> Subscription:
    return Subscription(task=task, name=name, filter=filter)


def _of(store: Store, name: str = "paid") -> list[Subscription]:
    return list(store.subscriptions.of(name, after="", limit=99))


class SubscriptionContract:
    """A task has one subscription, and keeps it until a process that declares it says otherwise."""

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
    """Old events go, but for those that are still needed."""

    def _purge(self, store: Store, *, after: int = 0, limit: int = 99) -> int:
        return store.events.purge(older_than=DAY, after=after, limit=limit)

    def _stored(self, store: Store, event: StoredEvent) -> bool:
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
        def add(source: str) -> StoredEvent | None:
            new = NewEvent(id="e-1", name="approved", payload="1", source=source)
            return store.events.add(new)

        first, second = add("stripe"), add("github")
        assert (first and first.source, second and second.source) == ("stripe", "github")
        assert add("") is not None
        assert add("stripe") is None
