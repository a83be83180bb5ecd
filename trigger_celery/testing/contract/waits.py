"""The contract of a store: suspending runs, tokens, and what wakes a run."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from trigger_celery.errors import InvalidTime, LeaseLost, WaitNotFound
from trigger_celery.ports import Store
from trigger_celery.testing.contract.tools import (
    AWKWARD,
    LOOK_WITHIN,
    NUDGE_INTERVAL,
    Advance,
    Begin,
    checkpoint,
    claim,
    emitted,
    event_wait,
    failed_attempt,
    got,
    outcomes,
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
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import Due, Lease, NewToken, NewWait, StepKind, StoredToken
from trigger_celery.vocabulary.states import RunState, TokenState, WaitState

MINUTE = timedelta(minutes=1)
ANN = {"by": "ann"}


class SuspendContract:
    """A suspended run holds nothing and keeps its deadlines."""

    def test_a_suspended_run_has_its_waits_and_its_next_attempt(self, store: Store) -> None:
        lease = started(store)
        what = replace(
            suspension(event_wait("yes"), sleeping("no", position=2), next_attempt=2),
            failed=failed_attempt(store, "pay"),
        )
        assert suspend(store, lease, what) is RunState.SUSPENDED
        run = got(store, lease.run_id)
        assert (run.state, run.attempt, run.fence) == ("suspended", 2, lease.fence)
        recorded = outcomes(store, lease.run_id)
        assert recorded.failures == {"pay": 1}
        assert {(key, item.kind, item.position) for key, item in recorded.recorded.items()} == {
            ("yes", "wait_for_event", 1),
            ("no", "sleep", 2),
        }
        assert {item.wait for item in recorded.recorded.values()} == {WaitState.WAITING}
        assert {item.event for item in recorded.recorded.values()} == {None}

    def test_progress_forgives_crashes(self, store: Store) -> None:
        lease = started(store)
        store.runs.recover(lease.run_id, "w1")
        again = claim(store, lease.run_id).lease
        assert got(store, lease.run_id).crashes == 1
        suspend(store, again, suspension(sleeping()))
        assert got(store, lease.run_id).crashes == 0

    def test_a_run_without_deadlines_is_never_due(self, store: Store, advance: Advance) -> None:
        run_id = suspended(store, event_wait())
        assert got(store, run_id).due_at is None
        advance(timedelta(days=365))
        assert swept(store) == []

    def test_a_recorded_wait_keeps_its_deadline(self, store: Store, advance: Advance) -> None:
        lease = started(store)
        nap = sleeping("nap", timedelta(minutes=10))
        suspend(store, lease, suspension(nap, sleeping("blink", timedelta(minutes=1))))
        advance(timedelta(minutes=2))
        assert swept(store) == [lease.run_id]
        again = claim(store, lease.run_id).lease
        assert suspend(store, again, suspension(nap)) is RunState.SUSPENDED
        advance(timedelta(minutes=7))
        assert swept(store) == []
        advance(timedelta(minutes=1, seconds=1))
        assert swept(store) == [lease.run_id]
        assert outcomes(store, lease.run_id).recorded["nap"].wait is WaitState.TIMEOUT

    def test_a_run_is_queued_if_a_wait_it_suspends_on_has_ended(self, store: Store) -> None:
        lease = started(store)
        suspend(store, lease, suspension(event_wait("first"), event_wait("second")))
        first, second = wait_ids(store)
        store.waits.resolve(emitted(store).sequence, [first])
        again = claim(store, lease.run_id).lease
        store.waits.resolve(emitted(store).sequence, [second])
        assert got(store, lease.run_id).state is RunState.EXECUTING
        assert suspend(store, again, suspension(event_wait("second"))) is RunState.QUEUED
        assert got(store, lease.run_id).state is RunState.QUEUED
        assert claim(store, lease.run_id).replayed

    def test_an_ended_wait_that_is_not_among_the_keys_wakes_no_run(self, store: Store) -> None:
        run_id = suspended(store, event_wait("first"))
        store.waits.resolve(emitted(store).sequence, wait_ids(store))
        again = claim(store, run_id).lease
        assert suspend(store, again, suspension(event_wait("second"))) is RunState.SUSPENDED

    def test_a_wait_until_a_time_is_due_then(self, store: Store, advance: Advance) -> None:
        at = store.now() + timedelta(minutes=5)
        run_id = suspended(store, replace(sleeping(), delay=None, until=at))
        advance(timedelta(minutes=4))
        assert swept(store) == []
        advance(timedelta(minutes=1, seconds=1))
        assert swept(store) == [run_id]

    def test_a_wait_that_is_due_at_once_is_ended_by_the_sweep(self, store: Store) -> None:
        run_id = suspended(store, sleeping("blink", timedelta(0)))
        assert swept(store) == [run_id]
        assert outcomes(store, run_id).recorded["blink"].wait is WaitState.TIMEOUT

    def test_keys_differ_by_case_and_by_trailing_spaces(self, store: Store) -> None:
        keys = ("pay", "Pay", "pay ", " pay", "p\u00e4y", "pa\u0308y", "pay\U0001f600")
        lease = started(store)
        for position, key in enumerate(keys):
            store.checkpoints.record(lease, checkpoint(store, key, f'"{key}"', position=position))
        waits = [sleeping(f"wait for {key}", position=10) for key in keys]
        suspend(store, lease, suspension(*waits))
        recorded = outcomes(store, lease.run_id).recorded
        assert set(recorded) == {*keys, *(wait.key for wait in waits)}
        assert [recorded[key].value for key in keys] == [f'"{key}"' for key in keys]


class LookContract:
    """A worker that dies before it looked for stored events is made up for."""

    def test_a_run_whose_worker_died_before_its_look_back_is_found(
        self, store: Store, advance: Advance
    ) -> None:
        lease = started(store)
        suspend(store, lease, suspension(event_wait()))
        assert store.sweeps.due(limit=9, nudge_interval=NUDGE_INTERVAL).unlooked == ()
        advance(LOOK_WITHIN + timedelta(seconds=1))
        due = store.sweeps.due(limit=9, nudge_interval=NUDGE_INTERVAL)
        assert ran(due.nudges) == []
        assert _fences(due) == [(lease.run_id, lease.fence)]
        assert len(store.sweeps.due(limit=9, nudge_interval=NUDGE_INTERVAL)) == 0
        advance(NUDGE_INTERVAL + timedelta(seconds=1))
        due = store.sweeps.due(limit=9, nudge_interval=NUDGE_INTERVAL)
        assert _fences(due) == [(lease.run_id, lease.fence)]
        assert got(store, lease.run_id).state is RunState.SUSPENDED

    def test_a_wait_is_not_timed_out_before_the_look_back(
        self, store: Store, advance: Advance
    ) -> None:
        lease = started(store)
        suspend(store, lease, suspension(event_wait(delay=timedelta(seconds=1))))
        advance(LOOK_WITHIN + timedelta(seconds=1))
        assert swept(store) == []
        assert outcomes(store, lease.run_id).recorded["approval"].wait is WaitState.WAITING
        store.waits.looked(lease.run_id, fence=lease.fence)
        assert swept(store) == [lease.run_id]
        assert outcomes(store, lease.run_id).recorded["approval"].wait is WaitState.TIMEOUT

    def test_a_run_that_was_looked_for_is_due_with_its_first_wait(
        self, store: Store, advance: Advance
    ) -> None:
        run_id = suspended(store, event_wait(delay=timedelta(minutes=9)), sleeping())
        advance(timedelta(minutes=8))
        assert len(store.sweeps.due(limit=9, nudge_interval=NUDGE_INTERVAL)) == 0
        advance(timedelta(minutes=1, seconds=1))
        assert swept(store) == [run_id]

    def test_having_looked_under_an_old_fence_means_nothing(
        self, store: Store, advance: Advance
    ) -> None:
        lease = started(store)
        suspend(store, lease, suspension(event_wait("first")))
        store.waits.resolve(emitted(store).sequence, wait_ids(store))
        store.waits.looked(lease.run_id, fence=lease.fence)
        again = claim(store, lease.run_id).lease
        suspend(store, again, suspension(event_wait("second")))
        store.waits.looked(lease.run_id, fence=lease.fence)
        advance(LOOK_WITHIN + timedelta(seconds=1))
        due = store.sweeps.due(limit=9, nudge_interval=NUDGE_INTERVAL)
        assert _fences(due) == [(again.run_id, again.fence)]


class GiveUpContract:
    """An executing run may let go of what it waited for."""

    def test_given_up_waits_are_canceled_and_the_run_goes_on(self, store: Store) -> None:
        other = suspended(store, event_wait("given up"))
        lease = _resumed(store, event_wait("given up"), sleeping("kept", position=2))
        store.waits.cancel(lease, ["given up", "unknown"])
        store.waits.cancel(lease, ["given up"])
        assert _states(store, lease.run_id) == {
            "given up": WaitState.CANCELED,
            "kept": WaitState.WAITING,
            "over": WaitState.TIMEOUT,
        }
        assert _states(store, other) == {"given up": WaitState.WAITING}
        assert got(store, lease.run_id).state is RunState.EXECUTING

    def test_a_wait_that_is_over_stays_as_it_ended(self, store: Store) -> None:
        lease = _resumed(store)
        store.waits.cancel(lease, ["over"])
        assert _states(store, lease.run_id) == {"over": WaitState.TIMEOUT}

    def test_a_canceled_wait_takes_no_event_and_wakes_no_run(self, store: Store) -> None:
        lease = _resumed(store, event_wait("given up"))
        ids = wait_ids(store)
        store.waits.cancel(lease, ["given up"])
        assert wait_ids(store) == []
        assert list(store.waits.resolve(emitted(store).sequence, ids)) == []
        again = suspension(sleeping("next", position=3))
        assert suspend(store, lease, again) is RunState.SUSPENDED

    def test_only_the_owner_of_the_lease_gives_up_waits(self, store: Store) -> None:
        lease = _resumed(store, event_wait("given up"))
        store.runs.recover(lease.run_id, "w1")
        with raises(LeaseLost):
            store.waits.cancel(lease, ["given up"])
        assert _states(store, lease.run_id)["given up"] is WaitState.WAITING


def _resumed(store: Store, *waits: NewWait) -> Lease:
    """Return the lease of a run that went on from a wait called ``over``, and has these too."""
    run_id = suspended(store, sleeping("over"), *waits)
    [over] = [w.id for w in store.open_waits.find(run_id=run_id, limit=9) if w.key == "over"]
    assert ran(store.waits.conclude([over], WaitState.TIMEOUT)) == [run_id]
    return claim(store, run_id).lease


def _states(store: Store, run_id: UUID) -> dict[str, WaitState | None]:
    return {key: item.wait for key, item in outcomes(store, run_id).recorded.items()}


def _fences(due: Due) -> list[tuple[UUID, int]]:
    return [(each.run_id, each.fence) for each in due.unlooked]


def created(store: Store, timeout: timedelta | None = None) -> UUID:
    """Create a token and return its id."""
    return store.tokens.create(NewToken(id=new_id(), timeout=timeout)).id


def token(store: Store, token_id: UUID) -> StoredToken:
    """Return a token that exists."""
    found = store.tokens.get(token_id)
    assert found is not None
    return found


def token_wait(token_id: UUID, key: str = "token", delay: timedelta | None = None) -> NewWait:
    """Return a wait that the token ends."""
    return NewWait(key=key, kind=StepKind.TOKEN, position=1, token_id=token_id, delay=delay)


class TokenContract:
    """A token is closed once, in its closer's transaction, and its waits are found."""

    def test_a_token_is_stored_as_it_was_created(self, store: Store) -> None:
        new = NewToken(
            id=new_id(), timeout=MINUTE, schema=AWKWARD, tags=("a", "\u00e4"), run_id=new_id()
        )
        stored = store.tokens.create(new)
        assert (stored.id, stored.schema, stored.tags) == (new.id, AWKWARD, ("a", "\u00e4"))
        assert (stored.run_id, stored.state) == (new.run_id, TokenState.WAITING)
        assert stored.expires_at is not None
        assert abs(stored.expires_at - stored.created_at - MINUTE) < timedelta(seconds=1)
        assert stored.is_open
        assert replace(token(store, new.id), read_at=stored.read_at) == stored
        assert store.tokens.get(new_id()) is None

    def test_a_token_that_exists_is_not_created_again(self, store: Store) -> None:
        token_id = created(store, MINUTE)
        before = token(store, token_id)
        again = store.tokens.create(NewToken(id=token_id, schema="{}"))
        assert replace(again, read_at=before.read_at) == before

    def test_a_token_is_closed_once(self, store: Store) -> None:
        token_id = created(store)
        assert store.tokens.close(token_id, TokenState.COMPLETED, value=AWKWARD, by="ann")
        assert not store.tokens.close(token_id, TokenState.COMPLETED, value="2", by="bob")
        assert not store.tokens.close(token_id, TokenState.CANCELED)
        stored = token(store, token_id)
        assert (stored.state, stored.value, stored.closed_by) == ("completed", AWKWARD, "ann")
        assert not stored.is_open
        assert not store.tokens.close(new_id(), TokenState.COMPLETED, value="1")

    def test_a_token_whose_time_is_over_is_not_closed(self, store: Store, advance: Advance) -> None:
        token_id = created(store, MINUTE)
        advance(MINUTE + timedelta(seconds=1))
        assert not token(store, token_id).is_open
        assert not store.tokens.close(token_id, TokenState.COMPLETED, value="1")
        assert token(store, token_id).state is TokenState.WAITING

    def test_a_token_of_a_rolled_back_transaction_was_never_created_nor_closed(
        self, store: Store, begin: Begin
    ) -> None:
        kept, lost = created(store), NewToken(id=new_id())
        with raises(ZeroDivisionError), begin():
            store.tokens.create(lost)
            assert store.tokens.close(lost.id, TokenState.COMPLETED, value="1")
            assert store.tokens.close(kept, TokenState.COMPLETED, value="1")
            assert not store.tokens.close(kept, TokenState.COMPLETED, value="2")
            raise ZeroDivisionError
        assert store.tokens.get(lost.id) is None
        assert token(store, kept).is_open
        with begin():
            assert store.tokens.close(kept, TokenState.COMPLETED, value="3")
        assert token(store, kept).value == "3"

    def test_open_waits_of_a_token_are_found_in_pages(self, store: Store) -> None:
        token_id, other = created(store), created(store)
        runs = [suspended(store, token_wait(token_id)) for _ in range(3)]
        suspended(store, token_wait(other))
        first, second = store.tokens.waits(token_id, after=0, limit=2)
        (third,) = store.tokens.waits(token_id, after=second, limit=2)
        nudges = store.waits.conclude([first, third], WaitState.COMPLETED, value="1")
        assert {nudge.run_id for nudge in nudges} == {runs[0], runs[2]}
        assert list(store.tokens.waits(token_id, after=0, limit=9)) == [second]

    def test_a_closed_token_is_unsettled_until_its_waits_have_ended(
        self, store: Store, advance: Advance
    ) -> None:
        open_one, first, second = created(store), created(store), created(store)
        store.tokens.close(first, TokenState.COMPLETED, value="1")
        advance(timedelta(seconds=1))
        store.tokens.close(second, TokenState.CANCELED)
        assert list(store.tokens.unsettled(limit=1)) == [first]
        assert set(store.tokens.unsettled(limit=9)) == {first, second}
        store.tokens.settled(first)
        assert list(store.tokens.unsettled(limit=9)) == [second]
        store.tokens.settled(second)
        assert list(store.tokens.unsettled(limit=9)) == []
        assert token(store, open_one).is_open


class OpenWaitContract:
    """A person sees open waits, ends them, and gives them more time."""

    def test_open_waits_are_listed_by_run_and_kind_in_pages(self, store: Store) -> None:
        token_id = created(store)
        run_id = suspended(store, event_wait("yes"), token_wait(token_id), sleeping("nap"))
        other = suspended(store, sleeping("nap"))
        found = store.open_waits.find(run_id=run_id, limit=9)
        assert [wait.key for wait in found] == ["yes", "token", "nap"]
        yes, wait, nap = found
        assert (yes.name, yes.task, yes.due_at) == ("approved", got(store, run_id).task, None)
        assert (wait.token_id, wait.kind) == (token_id, StepKind.TOKEN)
        assert nap.due_at is not None
        sleeps = store.open_waits.find(kind=StepKind.SLEEP, limit=9)
        assert [wait.run_id for wait in sleeps] == [run_id, other]
        page = store.open_waits.find(after=yes.id, limit=2)
        assert [wait.id for wait in page] == [wait.id, nap.id]
        assert store.open_waits.get(nap.id) == nap

    def test_a_wait_that_a_person_ends_wakes_its_run_and_is_in_its_history(
        self, store: Store
    ) -> None:
        run_id = suspended(store, event_wait("yes"), sleeping("nap"))
        yes, nap = store.open_waits.find(run_id=run_id, limit=9)
        nudge = store.open_waits.end(yes.id, WaitState.COMPLETED, ANN, value=AWKWARD)
        assert nudge is not None
        assert (nudge.run_id, got(store, run_id).state) == (run_id, RunState.QUEUED)
        assert store.open_waits.end(nap.id, WaitState.TIMEOUT, {"by": "bob"}) is None
        recorded = outcomes(store, run_id).recorded
        assert (recorded["yes"].wait, recorded["yes"].value) == (WaitState.COMPLETED, AWKWARD)
        assert (recorded["nap"].wait, recorded["nap"].value) == (WaitState.TIMEOUT, None)
        moves = [(entry.verb, entry.data) for entry in store.runs.history(run_id)]
        assert [verb for verb, _ in moves][-3:] == ["complete wait", "wake", "skip wait"]
        assert '"by": "ann"' in moves[-3][1]
        assert '"key": "nap"' in moves[-1][1]
        assert store.open_waits.get(yes.id) is None
        for wait_id in (yes.id, 10**9):
            with raises(WaitNotFound):
                store.open_waits.end(wait_id, WaitState.TIMEOUT)
            with raises(WaitNotFound):
                store.open_waits.extend(wait_id, MINUTE)

    def test_a_wait_that_is_put_off_ends_later_and_so_does_its_token(
        self, store: Store, advance: Advance
    ) -> None:
        token_id = created(store, MINUTE)
        run_id = suspended(store, token_wait(token_id, delay=MINUTE))
        (wait,) = store.open_waits.find(limit=9)
        later = store.open_waits.extend(wait.id, MINUTE, ANN)
        assert wait.due_at is not None
        assert later.due_at == wait.due_at + MINUTE
        advance(MINUTE + timedelta(seconds=2))
        assert swept(store) == []
        assert token(store, token_id).is_open
        advance(MINUTE)
        assert swept(store) == [run_id]
        assert not token(store, token_id).is_open
        assert "extend wait" in [entry.verb for entry in store.runs.history(run_id)]

    def test_a_wait_without_an_end_cannot_be_put_off(self, store: Store) -> None:
        run_id = suspended(store, event_wait())
        (wait,) = store.open_waits.find(run_id=run_id, limit=9)
        with raises(InvalidTime):
            store.open_waits.extend(wait.id, MINUTE)

    def test_a_wait_of_a_run_that_executes_is_ended_without_a_nudge(self, store: Store) -> None:
        lease = started(store)
        suspend(store, lease, suspension(event_wait("yes"), sleeping("nap")))
        yes, nap = store.open_waits.find(run_id=lease.run_id, limit=9)
        store.open_waits.end(yes.id, WaitState.TIMEOUT)
        again = claim(store, lease.run_id).lease
        assert store.open_waits.end(nap.id, WaitState.TIMEOUT) is None
        assert suspend(store, again, suspension(sleeping("nap"))) is RunState.QUEUED
