"""Laws of bulk operations: each run once, as its own verb would move it, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from trigger_celery.ports import Store
from trigger_celery.testing.contract.tools import (
    AWKWARD,
    NUDGE_INTERVAL,
    QUEUE,
    TASK,
    Advance,
    checkpoint,
    claim,
    dead_letters,
    ending,
    event_wait,
    failed_attempt,
    got,
    limit,
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
from trigger_celery.vocabulary.bulk_changes import CHANGED, OWN
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import (
    BULK_STATES,
    BulkBatch,
    BulkKind,
    BulkOperation,
    BulkState,
    Holds,
    NewBulkOperation,
    NewRun,
    Run,
    RunFilter,
)
from trigger_celery.vocabulary.states import RunState

_TICK = timedelta(seconds=1)
_TIMES = tuple(field.name for field in fields(Run) if field.name.endswith("_at"))


def failed(store: Store, **fields: Any) -> UUID:
    """Create a run that has failed."""
    new = replace(new_run(), **fields)
    store.runs.create([new])
    lease = claim(store, new.id).lease
    store.checkpoints.record_failure(lease, failed_attempt(store, "pay"))
    store.runs.end(lease, ending(RunState.FAILED, error="{}"))
    return new.id


def begun(store: Store, kind: BulkKind = BulkKind.RETRY, **fields: Any) -> BulkOperation:
    """Create an operation on all runs to which it can be done, and return it."""
    wanted = fields.pop("wanted", RunFilter())
    wanted = replace(wanted, states=wanted.states or tuple(BULK_STATES[kind]))
    until = store.now()
    planned = sum(each.count for each in store.bulk_operations.plan(wanted, until=until))
    given = {"id": new_id(), "run_id": new_id(), "until": until, "planned": planned, **fields}
    store.bulk_operations.create(NewBulkOperation(kind=kind, wanted=wanted, **given))
    return stored(store, given["id"])


def stored(store: Store, operation_id: UUID) -> BulkOperation:
    """Return an operation that exists."""
    operation = store.bulk_operations.get(operation_id)
    assert operation is not None
    return operation


def batch(
    store: Store,
    operation: BulkOperation,
    *,
    limit: int = 100,
    copy: Callable[[Run], NewRun] = lambda run: replace(new_run(), copied_from_id=run.id),
) -> BulkBatch:
    """Carry out one batch of an operation that is running."""
    done = store.bulk_operations.carry_out(
        operation.id, operation.run_id, limit=limit, error=AWKWARD, copy=copy
    )
    assert done is not None
    return done


def comparable(store: Store, run_id: UUID) -> tuple[object, ...]:
    """Return all that another run has too to which the same was done, but for when."""
    run = got(store, run_id)
    times = {name: getattr(run, name) for name in _TIMES}
    blank: dict[str, Any] = dict.fromkeys(_TIMES, run.created_at.min)
    alike = replace(
        run,
        spec=replace(run.spec, id=UUID(int=0)),
        **blank,
    )
    history = [(each.verb, each.state, each.fence) for each in store.runs.history(run_id)]
    loaded = store.checkpoints.load(run_id, run_attempt=run.attempt)
    return alike, [name for name in _TIMES if times[name] is None], history, loaded


class BulkContract:
    """A bulk operation deals with each of its runs once, newest first, and with no other."""

    def test_an_operation_is_stored_as_it_was_asked_for(self, store: Store) -> None:
        wanted = RunFilter(
            ids=(new_id(),),
            tasks=("a", "b"),
            states=(RunState.FAILED,),
            queue="q",
            schedule="s",
            tags=("t",),
            parent_id=new_id(),
            root_id=new_id(),
            error="f1",
            since=store.now() - _TICK,
            until=store.now(),
            dead_letters=True,
        )
        given: dict[str, Any] = {"at_most": 7, "interval": _TICK / 20, "batch_size": 3}
        operation = begun(store, wanted=wanted, by="ann", reason="gateway back", **given)
        assert operation.wanted == wanted
        assert (operation.by, operation.reason) == ("ann", "gateway back")
        assert {name: getattr(operation, name) for name in given} == given
        assert (operation.state, operation.cursor, operation.seen) == ("running", None, 0)
        assert store.bulk_operations.get(new_id()) is None
        later = begun(store)
        newest = store.bulk_operations.newest
        assert list(newest(limit=9)) in ([later, operation], [operation, later])
        assert list(newest(states=[BulkState.PAUSED], limit=9)) == []

    def test_each_run_is_dealt_with_once_however_many_batches_it_takes(self, store: Store) -> None:
        ids = [failed(store) for _ in range(5)]
        operation = begun(store, batch_size=2)
        moved = []
        for expected in (2, 2, 1):
            done = batch(store, operation)
            assert done.moved == expected
            moved += ran(done.nudges)
        assert sorted(moved) == sorted(ids)
        after = stored(store, operation.id)
        assert (after.state, after.done, dict(after.skipped)) == ("completed", 5, {})
        assert after.ended_at is not None
        assert {got(store, run_id).state for run_id in ids} == {RunState.QUEUED}
        assert {tuple(dead_letters(store, run_id)) for run_id in ids} == {("retried",)}

    def test_an_operation_that_is_over_touches_nothing(self, store: Store) -> None:
        failed(store)
        operation = begun(store)
        batch(store, operation)
        late = failed(store)
        assert self._tried(store, operation, operation.run_id) is None
        assert got(store, late).state is RunState.FAILED

    def _tried(self, store: Store, operation: BulkOperation, run_id: UUID) -> BulkBatch | None:
        return store.bulk_operations.carry_out(
            operation.id, run_id, limit=9, error="", copy=lambda run: new_run()
        )

    def test_only_its_own_run_carries_out_an_operation_that_is_running(self, store: Store) -> None:
        failed(store)
        operation, turn = begun(store), store.bulk_operations.turn
        assert self._tried(store, operation, new_id()) is None
        running, paused = [BulkState.RUNNING], [BulkState.PAUSED]
        assert turn(operation.id, BulkState.PAUSED, among=running)
        assert not turn(operation.id, BulkState.PAUSED, among=running)
        assert self._tried(store, operation, operation.run_id) is None
        other = new_id()
        assert turn(operation.id, BulkState.RUNNING, among=paused, run_id=other)
        assert self._tried(store, operation, operation.run_id) is None
        done = self._tried(store, operation, other)
        assert done is not None
        assert done.moved == 1
        assert not turn(new_id(), BulkState.ABORTED, among=[*running, *paused])

    def test_runs_that_came_or_ended_after_the_start_are_left_alone(
        self, store: Store, advance: Advance
    ) -> None:
        early, running = failed(store), started(store)
        advance(_TICK)
        operation = begun(store)
        advance(_TICK)
        store.runs.end(running, ending(RunState.FAILED))
        late = failed(store)
        assert ran(batch(store, operation).nudges) == [early]
        for run_id in (running.run_id, late):
            assert got(store, run_id).state is RunState.FAILED

    def test_runs_that_changed_meanwhile_are_counted_as_skipped(
        self, store: Store, advance: Advance
    ) -> None:
        first, second, third = (failed(store) for _ in range(3))
        advance(_TICK)
        operation = begun(store)
        store.runs.retry(second)
        advance(_TICK)
        store.runs.retry(third)
        store.runs.end(claim(store, third).lease, ending(RunState.FAILED))
        assert ran(batch(store, operation).nudges) == [first]
        after = stored(store, operation.id)
        assert (after.planned, after.done, dict(after.skipped)) == (3, 1, {CHANGED: 2})
        assert got(store, third).state is RunState.FAILED

    def test_runs_of_our_own_tasks_are_never_meant(self, store: Store) -> None:
        own, other = replace(new_run(), task=f"{OWN}bulk"), queued(store)
        store.runs.create([own])
        operation = begun(store, BulkKind.CANCEL)
        assert operation.planned == 1
        assert ran(batch(store, operation).nudges) == [other]
        assert got(store, own.id).state is RunState.QUEUED

    def test_the_plan_counts_by_task(self, store: Store) -> None:
        failed(store)
        failed(store)
        queued(store)
        (planned,) = store.bulk_operations.plan(
            RunFilter(states=(RunState.FAILED,)), until=store.now()
        )
        assert (planned.task, planned.count) == (TASK, 2)
        assert planned.oldest <= planned.newest

    def test_no_more_runs_are_dealt_with_than_are_meant(self, store: Store) -> None:
        ids = [failed(store) for _ in range(4)]
        operation = begun(store, at_most=3, batch_size=2, planned=3)
        assert [batch(store, operation).moved for _ in range(2)] == [2, 1]
        assert stored(store, operation.id).state is BulkState.COMPLETED
        assert sum(got(store, each).state is RunState.FAILED for each in ids) == 1

    def test_a_run_that_fails_by_itself_is_passed_over(self, store: Store) -> None:
        ids = [failed(store), failed(store)]
        operation = begun(store, BulkKind.RERUN)

        def refuse(run: Run) -> NewRun:
            raise ZeroDivisionError

        with raises(ZeroDivisionError):
            batch(store, operation, copy=refuse)
        assert stored(store, operation.id) == operation
        after = store.bulk_operations.pass_over(operation.id, operation.run_id, "no luck")
        assert after is not None
        assert dict(after.failed) == {"no luck": 1}
        assert batch(store, operation).moved == 1
        last = stored(store, operation.id)
        assert (last.seen, last.state) == (len(ids), "completed")
        assert store.bulk_operations.pass_over(operation.id, operation.run_id, "") is None


class BulkKindContract:
    """What an operation does to a run is what the verb of that one run does."""

    def test_retried_runs_are_as_if_each_had_been_retried(self, store: Store) -> None:
        together, alone = self._failed_late(store), self._failed_late(store)
        batch(store, begun(store, wanted=RunFilter(ids=(together,))))
        store.runs.retry(alone)
        assert comparable(store, together) == comparable(store, alone)
        for run in (got(store, together), got(store, alone)):
            assert run.due_at == run.available_at + NUDGE_INTERVAL
        assert dead_letters(store, together) == dead_letters(store, alone) == ["retried"]
        for run_id in (together, alone):
            assert '"forgets": "pay"' in list(store.runs.history(run_id))[-1].data
            recorded = outcomes(store, run_id).recorded
            assert "approval" not in recorded
            assert "load" in recorded
            assert claim(store, run_id).replayed

    def _failed_late(self, store: Store) -> UUID:
        """Return a run that recorded a step, waited in vain for two things, and failed for good."""
        lease = started(store)
        store.checkpoints.record(lease, checkpoint(store, "load", position=1))
        suspend(
            store, lease, suspension(event_wait(), sleeping(delay=timedelta(0)), next_attempt=3)
        )
        store.waits.looked(lease.run_id, fence=lease.fence)
        swept(store)
        again = claim(store, lease.run_id).lease
        tried = failed_attempt(store, "pay", run_attempt=3)
        store.checkpoints.record_failure(again, replace(tried, holds=Holds.ATTEMPT))
        store.runs.end(again, ending(RunState.FAILED, error="{}"))
        return lease.run_id

    def test_canceled_paused_and_resumed_runs_are_as_by_their_own_verbs(self, store: Store) -> None:
        managing = store.managing
        singly: dict[BulkKind, Callable[[UUID], object]] = {
            BulkKind.PAUSE: lambda run_id: managing.pause(run_id, {}),
            BulkKind.RESUME: lambda run_id: managing.resume(run_id, {}),
        }
        makers: list[Callable[[], UUID]] = [
            lambda: queued(store),
            lambda: started(store).run_id,
            lambda: suspended(store, event_wait()),
        ]
        pairs = [(make(), make()) for make in makers]
        together = RunFilter(ids=tuple(first for first, _ in pairs))
        for kind, verb in singly.items():
            batch(store, begun(store, kind, wanted=together))
            for first, second in pairs:
                verb(second)
                assert comparable(store, first) == comparable(store, second), kind

    def test_canceled_runs_end_with_their_waits_and_are_published(self, store: Store) -> None:
        waiting, ended = suspended(store, event_wait()), failed(store)
        done = batch(store, begun(store, BulkKind.CANCEL))
        assert ran(done.nudges) == [waiting]
        run = got(store, waiting)
        assert (run.state, run.error, run.published_at) == ("canceled", AWKWARD, None)
        assert claim(store, waiting).publishing
        assert got(store, ended).state is RunState.FAILED
        assert wait_ids(store) == []

    def test_runs_that_are_so_already_are_skipped_by_name(self, store: Store) -> None:
        paused, other = queued(store), queued(store)
        store.managing.pause(paused, {})
        for kind, done, skipped in (
            (BulkKind.PAUSE, 1, {"is paused already": 1}),
            (BulkKind.RESUME, 2, {}),
            (BulkKind.RESUME, 0, {"is not paused": 2}),
        ):
            after = batch(store, begun(store, kind)).operation
            assert (after.done, dict(after.skipped)) == (done, skipped)
        assert got(store, other).paused_at is None

    def test_reruns_are_created_once_and_leave_their_sources_alone(self, store: Store) -> None:
        source = failed(store)
        before = got(store, source)
        done = batch(store, begun(store, BulkKind.RERUN))
        (copy,) = done.copies
        assert set(done.created) == {copy.id}
        assert got(store, copy.id).spec.copied_from_id == source
        assert got(store, source) == before

    def test_the_history_of_each_run_names_the_operation_and_the_person(self, store: Store) -> None:
        run_id = failed(store)
        operation = begun(store, by="ann", reason="gateway back")
        batch(store, operation)
        entry = list(store.runs.history(run_id))[-1]
        assert entry.verb == "retry"
        for part in (str(operation.id), "ann", "gateway back"):
            assert part in entry.data

    def test_retried_runs_of_a_limited_queue_stand_in_line(self, store: Store) -> None:
        ids = {failed(store, queue=QUEUE) for _ in range(3)}
        free = failed(store)
        limit(store, concurrency=1)
        done = batch(store, begun(store))
        assert (ran(done.nudges), set(done.lines)) == ([free], {QUEUE})
        assert {got(store, each).due_at for each in ids} == {None}
        admitted = store.queues.admit(QUEUE, limit=9, nudge_interval=NUDGE_INTERVAL)
        assert len(admitted.nudges) == 1
        assert set(ran(admitted.nudges)) < ids

    def test_a_priority_moves_a_run_forward_in_its_line(self, store: Store) -> None:
        limit(store, concurrency=1)
        runs = [replace(new_run(), queue=QUEUE) for _ in range(2)]
        for each in runs:
            store.runs.create([each])
        later = runs[1].id
        change = begun(store, BulkKind.PRIORITIZE, wanted=RunFilter(ids=(later,)), priority=60)
        assert set(batch(store, change).lines) == {QUEUE}
        assert got(store, later).spec.priority == 60
        admitted = store.queues.admit(QUEUE, limit=9, nudge_interval=NUDGE_INTERVAL)
        assert ran(admitted.nudges) == [later]

    def test_a_run_moves_to_another_queue_and_out_of_its_line(self, store: Store) -> None:
        limit(store, concurrency=1)
        runs = [replace(new_run(), queue=QUEUE) for _ in range(2)]
        store.runs.create(runs)
        change = begun(store, BulkKind.MOVE, to_queue="other")
        done = batch(store, change)
        assert sorted(ran(done.nudges)) == sorted(each.id for each in runs)
        assert (done.lines, list(store.queues.lines())) == (frozenset(), [])
        for each in runs:
            assert got(store, each.id).spec.queue == "other"
            assert claim(store, each.id).limited == ()
