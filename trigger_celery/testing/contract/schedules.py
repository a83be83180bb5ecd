"""The contract of a store: schedules."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from trigger_celery.ports import Store
from trigger_celery.testing.contract.records import AWKWARD, ending, new_run
from trigger_celery.testing.contract.tools import Advance, Begin, claim, got, raises
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import Overlap, Schedule, ScheduleChange
from trigger_celery.vocabulary.states import RunState

NOMINAL = datetime(2026, 3, 29, 1, 0, tzinfo=UTC)


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
        told: list[RunState | None] = []
        store.schedules.change("nightly", lambda known, last, now: told.append(last))
        assert told == [RunState.COMPLETED]

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
