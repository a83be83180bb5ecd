"""The contract of a store: tokens, and open waits that a person ends or puts off."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from trigger_celery.errors import InvalidTime, WaitNotFound
from trigger_celery.ports import Store
from trigger_celery.testing.contract.records import AWKWARD, event_wait, sleeping, suspension
from trigger_celery.testing.contract.tools import (
    Advance,
    Begin,
    claim,
    got,
    outcomes,
    raises,
    started,
    suspend,
    suspended,
    swept,
)
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import NewToken, NewWait, StepKind, StoredToken
from trigger_celery.vocabulary.states import RunState, TokenState, WaitState

MINUTE = timedelta(minutes=1)


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

    def test_a_wait_that_a_person_ends_wakes_its_run_and_is_told(self, store: Store) -> None:
        run_id = suspended(store, event_wait("yes"), sleeping("nap"))
        yes, nap = store.open_waits.find(run_id=run_id, limit=9)
        nudge = store.open_waits.end(yes.id, WaitState.COMPLETED, value=AWKWARD, by="ann")
        assert nudge is not None
        assert (nudge.run_id, got(store, run_id).state) == (run_id, RunState.QUEUED)
        assert store.open_waits.end(nap.id, WaitState.TIMEOUT, by="bob") is None
        recorded = outcomes(store, run_id).recorded
        assert (recorded["yes"].wait, recorded["yes"].value) == (WaitState.COMPLETED, AWKWARD)
        assert (recorded["nap"].wait, recorded["nap"].value) == (WaitState.TIMEOUT, None)
        told = [(entry.verb, entry.data) for entry in store.runs.history(run_id)]
        assert [verb for verb, _ in told][-3:] == ["complete wait", "wake", "skip wait"]
        assert '"by": "ann"' in told[-3][1]
        assert '"key": "nap"' in told[-1][1]
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
        later = store.open_waits.extend(wait.id, MINUTE, by="ann")
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
