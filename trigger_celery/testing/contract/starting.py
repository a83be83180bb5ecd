"""The contract of a store: runs in the caller's transaction and under keys; checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from trigger_celery.errors import LeaseLost, TransactionOpen
from trigger_celery.ports import Store
from trigger_celery.testing.contract.tools import (
    AWKWARD,
    TASK,
    Advance,
    Begin,
    asked,
    checkpoint,
    claim,
    ending,
    failed_attempt,
    got,
    new_run,
    outcomes,
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
from trigger_celery.vocabulary.records import (
    KeyPurpose,
    NewKey,
    NewRun,
    PushBack,
    StepKind,
    TaskVersion,
)
from trigger_celery.vocabulary.states import RunState

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


def wanted(
    run_id: UUID | None = None, *, digest: str = "d1", purpose: KeyPurpose = KeyPurpose.IDEMPOTENCY
) -> NewKey:
    """Return a key that a new run asks for."""
    return NewKey(
        purpose=purpose,
        task=TASK,
        digest=digest,
        key="k-é",
        run_id=run_id or new_id(),
        input_digest="i1",
        ttl=DAY if purpose is KeyPurpose.IDEMPOTENCY else None,
    )


def holders(store: Store, *keys: NewKey) -> Sequence[UUID]:
    """Ask for keys, in a transaction of one's own."""
    with store.joined():
        return [held.run_id for held in store.keys.hold(keys)]


def held(store: Store, run: NewRun | None = None, **key: KeyPurpose) -> NewRun:
    """Store a run that holds the key."""
    run = run or new_run()
    with store.joined():
        store.keys.hold([wanted(run.id, **key)])
        store.runs.create([run])
    return run


class KeyContract:
    """An idempotency key stands for one run as long as that may succeed."""

    def test_a_key_that_a_live_run_holds_is_not_given_to_another(self, store: Store) -> None:
        run = held(store)
        rival = replace(wanted(), input_digest="i2")
        with store.joined():
            (found,) = store.keys.hold([rival])
        assert (found.run_id, found.input_digest) == (run.id, "i1")

    def test_several_keys_are_answered_in_their_order(self, store: Store) -> None:
        run = held(store)
        other, third = wanted(digest="a"), wanted(digest="z")
        assert holders(store, third, wanted(), other) == [third.run_id, run.id, other.run_id]

    def test_keys_of_two_tasks_and_two_purposes_are_different_keys(self, store: Store) -> None:
        held(store)
        elsewhere = replace(wanted(), task="another")
        debounce = wanted(purpose=KeyPurpose.DEBOUNCE)
        assert holders(store, elsewhere, debounce) == [elsewhere.run_id, debounce.run_id]

    def test_a_success_or_a_cancel_keeps_the_key(self, store: Store) -> None:
        run = held(store)
        store.runs.end(claim(store, run.id).lease, ending())
        assert holders(store, wanted()) == [run.id]
        canceled = new_run()
        with store.joined():
            store.keys.hold([wanted(canceled.id, digest="d2")])
            store.runs.create([canceled])
        store.runs.cancel(canceled.id, "{}")
        assert holders(store, wanted(digest="d2")) == [canceled.id]

    def test_a_failure_frees_the_key(self, store: Store) -> None:
        run = held(store)
        store.runs.end(claim(store, run.id).lease, ending(RunState.FAILED, error="{}"))
        new = held(store)
        assert holders(store, wanted()) == [new.id]

    def test_an_expired_and_a_timed_out_run_free_the_key(
        self, store: Store, advance: Advance
    ) -> None:
        run = held(store, replace(new_run(), ttl=MINUTE))
        advance(2 * MINUTE)
        assert ran(store.sweeps.expire(limit=9)) == [run.id]
        slow = held(store, replace(new_run(), max_duration=MINUTE))
        assert holders(store, wanted()) == [slow.id]
        claim(store, slow.id)
        advance(2 * MINUTE)
        assert ran(store.sweeps.expire(limit=9)) == [slow.id]
        key = wanted()
        assert holders(store, key) == [key.run_id]

    def test_a_key_whose_run_is_missing_is_free(self, store: Store) -> None:
        first, second = wanted(), wanted()
        assert holders(store, first) == [first.run_id]
        assert holders(store, second) == [second.run_id]

    def test_a_key_is_free_when_its_time_is_over(self, store: Store, advance: Advance) -> None:
        run = held(store)
        advance(DAY - MINUTE)
        assert holders(store, wanted()) == [run.id]
        advance(2 * MINUTE)
        new = held(store)
        advance(DAY - MINUTE)
        assert holders(store, wanted()) == [new.id]

    def test_a_key_that_was_reset_is_free(self, store: Store) -> None:
        held(store)
        with store.joined():
            assert store.keys.reset(KeyPurpose.IDEMPOTENCY, TASK, "d1")
            assert not store.keys.reset(KeyPurpose.IDEMPOTENCY, TASK, "other")
        key = wanted()
        assert holders(store, key) == [key.run_id]

    def test_a_key_that_is_taken_stands_for_the_run_that_took_it(
        self, store: Store, begin: Begin
    ) -> None:
        run, other = held(store), new_run()
        store.runs.create([other])
        with raises(ZeroDivisionError), begin():
            store.keys.take(wanted(other.id))
            raise ZeroDivisionError
        assert holders(store, wanted()) == [run.id]
        with store.joined():
            store.keys.take(wanted(other.id))
        assert holders(store, wanted()) == [other.id]

    def test_a_key_that_a_run_gave_back_is_free(self, store: Store) -> None:
        run = held(store)
        with store.joined():
            store.keys.drop([run.id])
        key = wanted()
        assert holders(store, key) == [key.run_id]

    def test_a_key_vanishes_with_the_callers_transaction(self, store: Store, begin: Begin) -> None:
        with raises(ZeroDivisionError), begin():
            lost = held(store)
            assert holders(store, wanted()) == [lost.id]
            raise ZeroDivisionError
        key = wanted()
        assert holders(store, key) == [key.run_id]


class DebounceContract:
    """A debounce key stands for a run that still waits for its start."""

    def test_a_run_that_was_started_lets_go_of_its_key(self, store: Store) -> None:
        run = held(store, purpose=KeyPurpose.DEBOUNCE)
        key = wanted(purpose=KeyPurpose.DEBOUNCE)
        assert holders(store, key) == [run.id]
        claim(store, run.id)
        assert holders(store, key) == [key.run_id]

    def test_a_run_that_is_pushed_back_starts_later_with_what_it_had(
        self, store: Store, advance: Advance
    ) -> None:
        run = replace(new_run(delay=MINUTE, input='["a"]'), tags=("one",), ttl=MINUTE)
        store.runs.create([run])
        advance(MINUTE - timedelta(seconds=10))
        with store.joined():
            assert store.keys.push_back(PushBack(run_id=run.id, delay=MINUTE))
        advance(timedelta(seconds=30))
        assert store.runs.claim(asked(run.id)) is None
        assert swept(store) == []
        advance(timedelta(seconds=35))
        assert swept(store) == [run.id]
        assert list(store.sweeps.expire(limit=9)) == []
        pushed = claim(store, run.id).run
        assert (pushed.spec.input, pushed.spec.tags) == ('["a"]', ("one",))
        verbs = [entry.verb for entry in store.runs.history(run.id)]
        assert verbs == ["trigger", "push back", "claim"]

    def test_the_last_call_replaces_input_tags_and_metadata(self, store: Store) -> None:
        run = replace(new_run(delay=MINUTE, input='["a"]'), tags=("one",))
        store.runs.create([run])
        push = PushBack(
            run_id=run.id,
            delay=MINUTE,
            replace=True,
            input='["b"]',
            tags=("two", "three"),
            metadata='{"n":1}',
        )
        with store.joined():
            assert store.keys.push_back(push)
        pushed = got(store, run.id)
        assert (pushed.spec.input, pushed.spec.tags, pushed.spec.metadata) == (
            '["b"]',
            ("two", "three"),
            '{"n":1}',
        )

    def test_a_run_that_began_or_ended_is_not_pushed_back(self, store: Store) -> None:
        begun, ended = new_run(), new_run()
        store.runs.create([begun, ended])
        claim(store, begun.id)
        store.runs.cancel(ended.id, "{}")
        with store.joined():
            for run_id in (begun.id, ended.id, new_id()):
                assert not store.keys.push_back(PushBack(run_id=run_id, delay=MINUTE))
        assert got(store, begun.id).state is RunState.EXECUTING

    def test_a_run_is_not_pushed_back_further_than_its_max_delay(
        self, store: Store, advance: Advance
    ) -> None:
        run = new_run(delay=MINUTE)
        store.runs.create([run])
        push = PushBack(run_id=run.id, delay=MINUTE, max_delay=timedelta(seconds=90))
        with store.joined():
            assert store.keys.push_back(push)
        advance(timedelta(seconds=45))
        before = got(store, run.id).available_at
        with store.joined():
            assert not store.keys.push_back(push)
        assert got(store, run.id).available_at == before

    def test_a_push_vanishes_with_the_callers_transaction(self, store: Store, begin: Begin) -> None:
        run = new_run(delay=MINUTE)
        store.runs.create([run])
        before = got(store, run.id)
        with raises(ZeroDivisionError), begin():
            store.keys.push_back(PushBack(run_id=run.id, delay=DAY, replace=True, input="[9]"))
            raise ZeroDivisionError
        assert got(store, run.id) == before


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

    def test_a_callback_that_raises_disturbs_no_other(self, store: Store, begin: Begin) -> None:
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

    def test_failed_attempts_of_steps_count_in_the_life_of_the_run(self, store: Store) -> None:
        lease = started(store)
        record = store.checkpoints.record_failure
        record(lease, failed_attempt(store, "pay", 1))
        record(lease, failed_attempt(store, "pay", 2))
        backoff = suspension(sleeping(delay=timedelta(0)), next_attempt=2)
        suspend(store, lease, replace(backoff, failed=failed_attempt(store, "", 1)))
        swept(store)
        lease = claim(store, lease.run_id).lease
        record(lease, failed_attempt(store, "pay", 3, run_attempt=2))
        record(lease, failed_attempt(store, "Pay", 1, run_attempt=2))
        load = store.checkpoints.load
        assert load(lease.run_id, run_attempt=1).failures == {"pay": 3, "Pay": 1}
        assert load(lease.run_id, run_attempt=2).failures == {"pay": 3, "Pay": 1}

    def test_runs_do_not_see_each_others_checkpoints(self, store: Store) -> None:
        one, other = started(store), started(store)
        store.checkpoints.record(one, checkpoint(store, "pay", "1"))
        store.checkpoints.record(other, checkpoint(store, "pay", "2"))
        assert outcomes(store, one.run_id).recorded["pay"].value == "1"
        assert outcomes(store, queued(store)).recorded == {}
