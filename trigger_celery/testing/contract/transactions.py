"""The contract of a store: transactions and checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from trigger_celery.errors import LeaseLost, TransactionOpen
from trigger_celery.ports import Store
from trigger_celery.testing.contract.records import (
    AWKWARD,
    TASK,
    asked,
    new_run,
    sleeping,
    suspension,
)
from trigger_celery.testing.contract.tools import (
    Begin,
    checkpoint,
    claim,
    failed_attempt,
    got,
    outcomes,
    queued,
    raises,
    started,
    suspend,
    swept,
)
from trigger_celery.vocabulary.records import StepKind, TaskVersion
from trigger_celery.vocabulary.states import RunState


class TransactionContract:
    """What user code and a store share, and what they do not."""

    def test_a_checkpoint_of_an_atomic_block_is_recorded_with_it(self, store: Store) -> None:
        lease, new = started(store), new_run()
        with store.atomic():
            store.runs.create([new])
            store.checkpoints.record(lease, checkpoint(store, "pay", AWKWARD))
        assert outcomes(store, lease.run_id).recorded["pay"].value == AWKWARD
        assert got(store, new.id).state is RunState.QUEUED

    def test_an_atomic_block_that_raises_leaves_nothing(self, store: Store) -> None:
        lease, new = started(store), new_run()
        with raises(ZeroDivisionError), store.atomic():
            store.runs.create([new])
            store.checkpoints.record(lease, checkpoint(store, "pay"))
            raise ZeroDivisionError
        assert outcomes(store, lease.run_id).recorded == {}
        assert store.runs.get(new.id) is None
        store.checkpoints.record(lease, checkpoint(store, "pay", "again"))
        assert outcomes(store, lease.run_id).recorded["pay"].value == "again"

    def test_an_atomic_block_of_a_lost_lease_leaves_nothing(self, store: Store) -> None:
        lease, new = started(store), new_run()
        store.runs.recover(lease.run_id, "w1")
        with raises(LeaseLost), store.atomic():
            store.runs.create([new])
            store.checkpoints.record(lease, checkpoint(store, "pay"))
        assert outcomes(store, lease.run_id).recorded == {}
        assert store.runs.get(new.id) is None

    def test_callbacks_wait_for_the_commit_and_keep_their_order(
        self, store: Store, begin: Begin
    ) -> None:
        called: list[str] = []
        with begin():
            store.on_commit(lambda: called.append("first"))
            with begin():
                store.on_commit(lambda: called.append("second"))
            assert called == []
        assert called == ["first", "second"]
        store.on_commit(lambda: called.append("at once"))
        assert called[2:] == ["at once"]

    def test_callbacks_of_a_rolled_back_transaction_are_forgotten(
        self, store: Store, begin: Begin
    ) -> None:
        called: list[str] = []
        with begin():
            with raises(ZeroDivisionError), begin():
                store.on_commit(lambda: called.append("inner"))
                raise ZeroDivisionError
            store.on_commit(lambda: called.append("outer"))
        with raises(ZeroDivisionError), begin():
            store.on_commit(lambda: called.append("never"))
            raise ZeroDivisionError
        assert called == ["outer"]

    def test_a_callback_that_raises_disturbs_nobody(self, store: Store, begin: Begin) -> None:
        called: list[str] = []

        def fail() -> None:
            raise ConnectionError("the broker is away")

        new = new_run()
        with begin():
            store.runs.create([new])
            store.on_commit(fail)
            store.on_commit(lambda: called.append("second"))
        store.on_commit(fail)
        assert called == ["second"]
        assert got(store, new.id).id == new.id

    def test_a_boundary_inside_a_transaction_of_user_code_is_refused(
        self, store: Store, begin: Begin
    ) -> None:
        store.check_boundary("sleep()")
        with begin():
            with raises(TransactionOpen) as refusal:
                store.check_boundary("sleep()")
            assert "sleep()" in refusal.message
        store.check_boundary("sleep()")

    def test_no_verb_of_its_own_transaction_joins_that_of_user_code(
        self, store: Store, begin: Begin
    ) -> None:
        lease, waiting = started(store), queued(store)
        verbs: list[Callable[[], object]] = [
            lambda: store.runs.claim(asked(waiting)),
            lambda: store.runs.cancel(waiting, ""),
            lambda: store.runs.recover(lease.run_id, "w1"),
            lambda: store.checkpoints.record(lease, checkpoint(store, "pay")),
            lambda: suspend(store, lease, suspension(sleeping())),
            lambda: store.runs.hand_back(lease, "t"),
        ]
        for verb in verbs:
            with raises(TransactionOpen), begin():
                verb()
        assert got(store, waiting).state is RunState.QUEUED
        assert got(store, lease.run_id).state is RunState.EXECUTING

    def test_the_transaction_of_a_step_is_the_outermost(self, store: Store, begin: Begin) -> None:
        with raises(TransactionOpen), begin(), store.atomic():
            pass

    def test_a_task_version_may_be_remembered_again(self, store: Store) -> None:
        version = TaskVersion(digest="d1", task=TASK, source=AWKWARD, file="a.py", first_line=3)
        store.remember_version(version)
        store.remember_version(version)

    def test_the_number_of_queries_never_falls(self, store: Store) -> None:
        before = store.query_count()
        queued(store)
        assert store.query_count() >= before


class RecordContract:
    """Checkpoints come back as they were written."""

    def test_checkpoints_come_back_as_they_were_written(self, store: Store) -> None:
        lease = started(store)
        for position, kind in enumerate((StepKind.STEP, StepKind.VALUE, StepKind.SEND)):
            what = checkpoint(store, kind.value, AWKWARD, kind=kind, position=position)
            store.checkpoints.record(lease, what)
        recorded = outcomes(store, lease.run_id).recorded
        assert [
            (o.key, o.kind, o.position)
            for o in sorted(recorded.values(), key=lambda outcome: outcome.position)
        ] == [("step", "step", 0), ("value", "value", 1), ("send_event", "send_event", 2)]
        assert {(o.value, o.wait, o.event) for o in recorded.values()} == {(AWKWARD, None, None)}

    def test_only_failed_attempts_of_steps_in_this_attempt_of_the_run_count(
        self, store: Store
    ) -> None:
        lease = started(store)
        record = store.checkpoints.record_failure
        record(lease, failed_attempt(store, "pay", 1))
        record(lease, failed_attempt(store, "pay", 2))
        backoff = suspension(sleeping(delay=timedelta(0)), next_attempt=2)
        suspend(store, lease, replace(backoff, failed=failed_attempt(store, "", 1)))
        swept(store)
        lease = claim(store, lease.run_id).lease
        record(lease, failed_attempt(store, "pay", 1, run_attempt=2))
        record(lease, failed_attempt(store, "Pay", 1, run_attempt=2))
        load = store.checkpoints.load
        assert load(lease.run_id, run_attempt=1).failures == {"pay": 2}
        assert load(lease.run_id, run_attempt=2).failures == {"pay": 1, "Pay": 1}

    def test_runs_do_not_see_each_others_checkpoints(self, store: Store) -> None:
        one, other = started(store), started(store)
        store.checkpoints.record(one, checkpoint(store, "pay", "1"))
        store.checkpoints.record(other, checkpoint(store, "pay", "2"))
        assert outcomes(store, one.run_id).recorded["pay"].value == "1"
        assert outcomes(store, queued(store)).recorded == {}
