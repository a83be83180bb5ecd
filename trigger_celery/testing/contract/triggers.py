"""The contract of a store: runs that other runs and schedules start."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from trigger_celery.errors import LeaseLost
from trigger_celery.ports import Store
from trigger_celery.testing.contract.tools import (
    AWKWARD,
    NUDGE_INTERVAL,
    TASK,
    Advance,
    Begin,
    asked,
    claim,
    ending,
    got,
    new_run,
    queued,
    raises,
    ran,
    sleeping,
    started,
    suspend,
    suspension,
    swept,
)
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import Lease, NewRun, Overlap, Schedule, ScheduleChange
from trigger_celery.vocabulary.states import RunState

KEY = "fan"
NOMINAL = datetime(2026, 3, 29, 1, 0, tzinfo=UTC)


def child(parent_id: UUID, *, key: str = KEY, closes: bool = True) -> NewRun:
    """Return a run to be created as a child."""
    return NewRun(
        id=new_id(),
        task=TASK,
        input="[[],{}]",
        parent_id=parent_id,
        parent_key=key,
        closes_with_parent=closes,
    )


def born(store: Store, lease: Lease, *, key: str = KEY, closes: bool = True) -> UUID:
    """Create one child of a leased run and return its id."""
    new = child(lease.run_id, key=key, closes=closes)
    assert set(store.children.create(lease, [new])) == {new.id}
    return new.id


def finish(store: Store, run_id: UUID) -> None:
    """Let a queued run complete."""
    store.runs.end(claim(store, run_id).lease, ending())


class ChildContract:
    """A run starts its children once, and only while it is executing."""

    def test_children_are_created_once(self, store: Store) -> None:
        lease = started(store)
        new = [child(lease.run_id) for _ in range(3)]
        assert set(store.children.create(lease, new[:2])) == {run.id for run in new[:2]}
        assert set(store.children.create(lease, new)) == {new[2].id}
        assert set(store.children.create(lease, new)) == set()
        run = got(store, new[0].id)
        assert (run.state, run.spec.parent_id, run.spec.parent_key) == ("queued", lease.run_id, KEY)
        assert run.spec.closes_with_parent is True
        entries = [e for e in store.runs.history(lease.run_id) if e.verb == "start children"]
        assert len(entries) == 2
        assert str(new[2].id) in entries[1].data
        assert got(store, lease.run_id).fence == lease.fence

    def test_a_run_that_is_not_executing_any_more_starts_nothing(self, store: Store) -> None:
        lease = started(store)
        store.runs.cancel(lease.run_id, AWKWARD)
        new = child(lease.run_id)
        with raises(LeaseLost):
            store.children.create(lease, [new])
        assert store.runs.get(new.id) is None

    def test_an_older_lease_starts_nothing(self, store: Store) -> None:
        old = started(store)
        store.runs.recover(old.run_id, "w1")
        claim(store, old.run_id, worker="w2")
        new = child(old.run_id)
        with raises(LeaseLost):
            store.children.create(old, [new])
        assert store.runs.get(new.id) is None

    def test_children_live_until_the_last_has_ended(self, store: Store) -> None:
        lease = started(store)
        assert store.children.live(lease.run_id, KEY) is False
        first, second = born(store, lease), born(store, lease)
        other = born(store, lease, key="other")
        assert store.children.live(lease.run_id, KEY) is True
        finish(store, first)
        assert store.children.live(lease.run_id, KEY) is True
        store.runs.cancel(second, AWKWARD)
        assert store.children.live(lease.run_id, KEY) is False
        assert store.children.live(lease.run_id, "other") is True
        assert store.children.live(first, KEY) is False
        finish(store, other)
        assert store.children.live(lease.run_id, "other") is False

    def test_a_suspended_child_lives(self, store: Store) -> None:
        lease = started(store)
        run_id = born(store, lease)
        held = claim(store, run_id).lease
        assert store.children.live(lease.run_id, KEY) is True
        suspend(store, held, suspension(sleeping()))
        assert store.children.live(lease.run_id, KEY) is True

    def test_the_ends_of_runs_are_read_by_their_ids(self, store: Store) -> None:
        lease = started(store)
        done, canceled, waiting = (born(store, lease) for _ in range(3))
        store.runs.end(claim(store, done).lease, ending(output="[1]"))
        store.runs.cancel(canceled, AWKWARD)
        ends = store.children.ends([done, canceled, waiting, new_id()])
        assert set(ends) == {done, canceled, waiting}
        assert (ends[done].run_id, ends[done].state, ends[done].output) == (
            done,
            RunState.COMPLETED,
            "[1]",
        )
        assert (ends[canceled].state, ends[canceled].error) == (RunState.CANCELED, AWKWARD)
        assert (ends[waiting].state, ends[waiting].output) == (RunState.QUEUED, None)


class CloseContract:
    """Children close with their parent."""

    def test_live_children_that_close_with_their_parent_are_canceled(self, store: Store) -> None:
        lease = started(store)
        waiting, executing, done = (born(store, lease) for _ in range(3))
        free = born(store, lease, closes=False)
        stranger = queued(store)
        held = claim(store, executing).lease
        finish(store, done)
        nudges = store.children.close(lease.run_id, AWKWARD, limit=10)
        assert set(ran(nudges)) == {waiting, executing}
        assert store.children.close(lease.run_id, AWKWARD, limit=10) in ([], ())
        for run_id in (waiting, executing):
            run = got(store, run_id)
            assert (run.state, run.error, run.worker) == (RunState.CANCELED, AWKWARD, "")
            assert run.finished_at is not None
            assert store.runs.history(run_id)[-1].verb == "cancel"
        assert got(store, done).state is RunState.COMPLETED
        assert got(store, free).state is RunState.QUEUED
        assert got(store, stranger).state is RunState.QUEUED
        with raises(LeaseLost):
            store.runs.end(held, ending())

    def test_a_suspended_child_is_canceled_with_its_waits(self, store: Store) -> None:
        lease = started(store)
        run_id = born(store, lease)
        suspend(store, claim(store, run_id).lease, suspension(sleeping()))
        store.children.close(lease.run_id, AWKWARD, limit=10)
        assert got(store, run_id).state is RunState.CANCELED
        waits = store.checkpoints.load(run_id, run_attempt=1).recorded.values()
        assert [outcome.wait for outcome in waits] == ["canceled"]

    def test_no_more_are_closed_at_once_than_asked_for(self, store: Store) -> None:
        lease = started(store)
        children = {born(store, lease) for _ in range(5)}
        batches = [store.children.close(lease.run_id, AWKWARD, limit=2) for _ in range(4)]
        assert [len(batch) for batch in batches] == [2, 2, 1, 0]
        assert {run_id for batch in batches for run_id in ran(batch)} == children

    def test_one_fan_out_may_be_closed_alone(self, store: Store) -> None:
        lease = started(store)
        mine, other = born(store, lease), born(store, lease, key="other")
        assert ran(store.children.close(lease.run_id, AWKWARD, limit=10, key=KEY)) == [mine]
        assert got(store, other).state is RunState.QUEUED

    def test_a_closed_child_owes_publishing(self, store: Store, advance: Advance) -> None:
        lease = started(store)
        first, second = born(store, lease), born(store, lease)
        store.children.close(lease.run_id, AWKWARD, limit=10)
        claimed = store.runs.claim(asked(first))
        assert claimed is not None
        assert claimed.publishing
        store.runs.published(claimed.lease)
        advance(NUDGE_INTERVAL + timedelta(seconds=1))
        assert second in swept(store)


def schedule(key: str, *, due_at: datetime | None = None) -> Schedule:
    """Return a schedule in which no field has its default."""
    return Schedule(
        id=new_id(),
        task="report",
        key=key,
        declared=True,
        cron="0 9 * * MON-FRI",
        every=None,
        timezone="Europe/Paris",
        input=AWKWARD,
        overlap=Overlap.BUFFER,
        catch_up=timedelta(hours=3, microseconds=1),
        next_at=NOMINAL,
        last_at=NOMINAL - timedelta(days=1),
        last_run_id=new_id(),
        buffered_at=NOMINAL - timedelta(hours=1),
        paused_at=NOMINAL + timedelta(hours=1),
        due_at=due_at,
    )


class ScheduleContract:
    """A schedule and the runs that it starts change together, once."""

    def test_a_schedule_is_kept_as_it_was_given(self, store: Store) -> None:
        given = schedule("nightly")
        assert store.schedules.add(given) is True
        assert store.schedules.get("nightly") == given
        assert store.schedules.get("Nightly") is None
        every = replace(schedule("often"), cron="", every=timedelta(seconds=90), declared=False)
        store.schedules.add(every)
        assert list(store.schedules.all()) == [given, every]

    def test_a_key_is_taken_once(self, store: Store) -> None:
        first = schedule("nightly")
        store.schedules.add(first)
        assert store.schedules.add(schedule("nightly")) is False
        assert store.schedules.get("nightly") == first

    def test_only_what_is_due_is_found_first_what_is_due_longest(
        self, store: Store, advance: Advance
    ) -> None:
        now = store.now()
        for key, minutes in (("later", 30), ("second", 2), ("first", 1)):
            store.schedules.add(schedule(key, due_at=now + timedelta(minutes=minutes)))
        store.schedules.add(schedule("never"))
        assert store.schedules.due(limit=9) == []
        advance(timedelta(minutes=10))
        assert [each.key for each in store.schedules.due(limit=9)] == ["first", "second"]
        assert [each.key for each in store.schedules.due(limit=1)] == ["first"]

    def test_a_change_is_decided_on_what_is_stored_and_creates_its_runs(self, store: Store) -> None:
        before = schedule("nightly")
        store.schedules.add(before)
        run = new_run()
        seen: list[tuple[Schedule, RunState | None]] = []

        def decide(known: Schedule, last: RunState | None, now: datetime) -> ScheduleChange:
            seen.append((known, last))
            assert abs(now - store.now()) < timedelta(minutes=1)
            changed = replace(
                known, last_at=NOMINAL, last_run_id=run.id, paused_at=None, due_at=now
            )
            return ScheduleChange(schedule=changed, runs=(run,))

        change = store.schedules.change("nightly", decide)
        assert change is not None
        assert change.runs == (run,)
        assert store.schedules.get("nightly") == change.schedule
        assert got(store, run.id).state is RunState.QUEUED
        assert [entry.verb for entry in store.runs.history(run.id)] == ["trigger"]
        again = store.schedules.change("nightly", decide)
        assert again is not None
        assert again.runs == ()
        assert [known.last_at for known, _ in seen] == [before.last_at, NOMINAL]
        assert [last for _, last in seen] == [None, RunState.QUEUED]

    def test_a_change_knows_how_the_last_run_ended(self, store: Store) -> None:
        run = new_run()
        store.runs.create([run])
        store.schedules.add(replace(schedule("nightly"), last_run_id=run.id))
        store.runs.end(claim(store, run.id).lease, ending())
        states: list[RunState | None] = []
        store.schedules.change("nightly", lambda known, last, now: states.append(last))
        assert states == [RunState.COMPLETED]

    def test_nothing_is_written_where_nothing_is_decided(self, store: Store) -> None:
        before = schedule("nightly")
        store.schedules.add(before)
        assert store.schedules.change("nightly", lambda known, last, now: None) is None
        assert store.schedules.change("daily", self._fail) is None
        assert store.schedules.get("nightly") == before

    @staticmethod
    def _fail(known: Schedule, last: RunState | None, now: datetime) -> ScheduleChange:
        raise AssertionError("there is nothing to decide")

    def test_a_decision_that_raises_writes_nothing(self, store: Store) -> None:
        before = schedule("nightly")
        store.schedules.add(before)

        def decide(known: Schedule, last: RunState | None, now: datetime) -> ScheduleChange:
            raise LookupError("no")

        with raises(LookupError):
            store.schedules.change("nightly", decide)
        assert store.schedules.get("nightly") == before

    def test_a_removed_schedule_is_gone_and_its_key_is_free(self, store: Store) -> None:
        store.schedules.add(schedule("nightly", due_at=store.now()))
        assert store.schedules.remove("nightly") is True
        assert store.schedules.remove("nightly") is False
        assert list(store.schedules.all()) == []
        assert store.schedules.due(limit=9) == []
        assert store.schedules.add(schedule("nightly")) is True

    def test_schedules_appear_or_vanish_with_the_callers_transaction(
        self, store: Store, begin: Begin
    ) -> None:
        kept, runs = schedule("kept"), (new_run(), new_run())
        store.schedules.add(kept)

        def change(key: str, run_id: UUID) -> None:
            run = next(run for run in runs if run.id == run_id)
            store.schedules.change(
                key,
                lambda known, last, now: ScheduleChange(
                    schedule=replace(known, task="other"), runs=(run,)
                ),
            )

        with raises(LookupError), begin():
            assert store.schedules.add(schedule("new")) is True
            change("kept", runs[0].id)
            change("new", runs[1].id)
            found = store.schedules.get("new")
            assert found is not None
            assert found.task == "other"
            assert store.schedules.remove("kept") is True
            assert store.schedules.get("kept") is None
            raise LookupError
        assert list(store.schedules.all()) == [kept]
        assert [store.runs.get(run.id) for run in runs] == [None, None]
        with begin():
            change("kept", runs[0].id)
        assert got(store, runs[0].id).state is RunState.QUEUED
