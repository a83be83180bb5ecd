"""Transactions and faults of the Django store that no contract can bring about."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from uuid import UUID

import pytest
from django.db import IntegrityError, OperationalError, connections, transaction
from django.db.transaction import TransactionManagementError

from support.databases import alias_of, every_database
from support.services import reachable
from trigger_celery.errors import InvalidName, StoreUnavailable, TransactionOpen
from trigger_celery.testing.contract.tools import (
    LOOK_WITHIN,
    asked,
    checkpoint,
    claim,
    emitted,
    event_wait,
    got,
    outcomes,
    queued,
    started,
    suspend,
    suspension,
    wait_ids,
)
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import Checkpoint, Lease, NewEvent, NewRun
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.models import Run, TaskVersion
from trigger_celery_django.store import DjangoStore

POSTGRES = alias_of("postgres")


@pytest.fixture
def store() -> DjangoStore:
    return DjangoStore(POSTGRES)


@contextmanager
def _other_connection() -> Iterator[ThreadPoolExecutor]:
    """Give a thread, and so a connection, besides this one."""
    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool
        finally:
            pool.submit(_close).result()


def _close() -> None:
    connections[POSTGRES].close()


def _backend_pid(alias: str) -> int:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
        return int(pid)


@pytest.mark.requires("postgres")
@pytest.mark.django_db(databases=[POSTGRES], transaction=True)
def test_a_killed_connection_is_unavailable_once_and_then_replaced(store: DjangoStore) -> None:
    lease = started(store)
    once = checkpoint(store, "pay")
    pid = _backend_pid(POSTGRES)
    with _other_connection() as other:
        other.submit(_terminate, pid).result()
    with pytest.raises(StoreUnavailable, match=POSTGRES):
        store.checkpoints.record(lease, once)
    store.checkpoints.record(lease, once)
    assert outcomes(store, lease.run_id).recorded["pay"].value == "1"


def _terminate(pid: int) -> None:
    with connections[POSTGRES].cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])


@pytest.mark.requires("postgres")
@pytest.mark.django_db(databases=[POSTGRES], transaction=True)
def test_a_run_that_could_not_be_created_is_unavailable_and_then_created(
    store: DjangoStore,
) -> None:
    new = NewRun(id=new_id(), task="t", input="[[],{}]")
    pid = _backend_pid(POSTGRES)
    with _other_connection() as other:
        other.submit(_terminate, pid).result()
    with pytest.raises(StoreUnavailable, match=POSTGRES):
        store.runs.create([new])
    assert set(store.runs.create([new])) == {new.id}


@pytest.mark.parametrize("name", every_database(transaction=True))
def test_a_step_whose_transaction_will_roll_back_is_not_recorded(name: str) -> None:
    store = DjangoStore(alias_of(name))
    lease = started(store)
    once = checkpoint(store, "pay")
    with pytest.raises(TransactionManagementError):
        _record_in_a_transaction_that_rolls_back(store, lease, once)
    assert outcomes(store, lease.run_id).recorded == {}


def _record_in_a_transaction_that_rolls_back(
    store: DjangoStore, lease: Lease, once: Checkpoint
) -> None:
    with store.atomic():
        transaction.set_rollback(True, using=store.alias)
        store.checkpoints.record(lease, once)


@pytest.mark.parametrize("name", every_database(transaction=True))
def test_what_fails_after_a_commit_is_logged_without_its_arguments(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = DjangoStore(alias_of(name))

    def fail(payload: str) -> None:
        raise LookupError("no such thing")

    store.on_commit(partial(fail, "secret"))
    with transaction.atomic(using=store.alias):
        store.on_commit(partial(fail, "secret"))
    assert caplog.text.count("LookupError: no such thing") == 2
    assert "secret" not in caplog.text


@pytest.mark.requires("postgres")
@pytest.mark.django_db(databases=[POSTGRES], transaction=True)
def test_an_event_that_a_rival_gives_to_another_wait_of_the_run_still_wakes_other_runs(
    store: DjangoStore,
) -> None:
    raced, other_run = started(store), started(store)
    suspend(store, raced, suspension(event_wait("a"), event_wait("b")))
    suspend(store, other_run, suspension(event_wait("a")))
    first, second, third = wait_ids(store)
    sequence = emitted(store).sequence
    with _other_connection() as other:
        with transaction.atomic(using=POSTGRES):
            Run.objects.using(POSTGRES).select_for_update().get(pk=raced.run_id)
            late = other.submit(store.waits.resolve, sequence, [first, second, third])
            _until_a_statement_waits_for_a_lock()
            _resolve_in_this_transaction(first, sequence)
        assert [nudge.run_id for nudge in late.result(30)] == [other_run.run_id]
    assert wait_ids(store) == [second]


@contextmanager
def _no_wait_can_be_ended(error: str) -> Iterator[None]:
    """Let every update of a wait fail as if it broke a constraint."""
    with connections[POSTGRES].cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION USING {error}; END $$"
        )
        cursor.execute(
            "CREATE TRIGGER refuse BEFORE UPDATE ON trigger_celery_wait "
            "FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
        try:
            yield
        finally:
            cursor.execute("DROP FUNCTION refuse CASCADE")


@pytest.mark.requires("postgres")
@pytest.mark.django_db(databases=[POSTGRES], transaction=True)
def test_an_event_breaks_off_at_another_constraint_than_that_of_its_rivals(
    store: DjangoStore,
) -> None:
    suspend(store, started(store), suspension(event_wait()))
    sequence, waits = emitted(store).sequence, wait_ids(store)
    with (
        _no_wait_can_be_ended("ERRCODE = 'check_violation', CONSTRAINT = 'another'"),
        pytest.raises(IntegrityError),
    ):
        store.waits.resolve(sequence, waits)
    with (
        _no_wait_can_be_ended("ERRCODE = 'unique_violation', CONSTRAINT = 'trigger_wait_event'"),
        pytest.raises(StoreUnavailable, match="5 times"),
    ):
        store.waits.resolve(sequence, waits)
    assert len(store.waits.resolve(sequence, waits)) == 1


@pytest.mark.requires("postgres")
@pytest.mark.django_db(databases=[POSTGRES], transaction=True)
def test_a_lock_timeout_is_unavailable_and_the_connection_stays(store: DjangoStore) -> None:
    lease = started(store)
    pid = _backend_pid(POSTGRES)
    with connections[POSTGRES].cursor() as cursor:
        cursor.execute("SET lock_timeout = '50ms'")
    with _other_connection() as other:
        held, let_go = threading.Event(), threading.Event()
        locker = other.submit(_hold, lease.run_id, held, let_go)
        assert held.wait(30)
        with pytest.raises(StoreUnavailable):
            store.runs.renew([lease])
        let_go.set()
        locker.result()
    assert _backend_pid(POSTGRES) == pid
    assert set(store.runs.renew([lease])) == {lease}
    connections[POSTGRES].close()


def _hold(run_id: UUID, held: threading.Event, let_go: threading.Event) -> None:
    with transaction.atomic(using=POSTGRES):
        Run.objects.using(POSTGRES).select_for_update().get(pk=run_id)
        held.set()
        assert let_go.wait(30)


@pytest.mark.requires("postgres")
@pytest.mark.django_db(databases=[POSTGRES], transaction=True)
def test_an_event_that_ends_a_wait_while_its_run_suspends_again_wakes_it(
    store: DjangoStore,
) -> None:
    lease = started(store)
    suspend(store, lease, suspension(event_wait("a"), event_wait("b")))
    store.waits.looked(lease.run_id, fence=lease.fence)
    first, second = wait_ids(store)
    store.waits.resolve(emitted(store).sequence, [first])
    again = claim(store, lease.run_id).lease
    sequence = emitted(store).sequence
    with _other_connection() as other:
        with transaction.atomic(using=POSTGRES):
            Run.objects.using(POSTGRES).select_for_update().get(pk=lease.run_id)
            # Begins, and takes its snapshot, while the wait is open; then waits for the lock.
            late = other.submit(suspend, store, again, suspension(event_wait("b")))
            _until_a_statement_waits_for_a_lock()
            _resolve_in_this_transaction(second, sequence)
        assert late.result(30) is RunState.QUEUED
    assert got(store, lease.run_id).state is RunState.QUEUED


def _until_a_statement_waits_for_a_lock() -> None:
    pause = threading.Event()
    for _ in range(2000):
        with connections[POSTGRES].cursor() as cursor:
            # Else a transaction sees the activity of its first look again and again.
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            if cursor.fetchone() != (0,):
                return
        pause.wait(0.005)
    raise AssertionError("no statement came to wait for the lock")


def _resolve_in_this_transaction(wait_id: int, sequence: int) -> None:
    with connections[POSTGRES].cursor() as cursor:
        cursor.execute(
            "UPDATE trigger_celery_wait SET state = 'event', event_id = %s WHERE id = %s",
            [sequence, wait_id],
        )


@pytest.mark.requires("postgres")
@pytest.mark.django_db(databases=[POSTGRES], transaction=True)
def test_many_emitters_and_sleepers_at_once_lose_no_wake_up(store: DjangoStore) -> None:
    leases = [started(store) for _ in range(40)]

    def fall_asleep() -> None:
        for number, lease in enumerate(leases):
            wait = event_wait(match_hash=number)
            suspend(store, lease, suspension(wait))
            for event in store.waits.unseen_events(lease.run_id, "approved", after=0, limit=99):
                if event.payload == str(number):
                    open_waits = [found.wait_id for found in store.waits.open(lease.run_id)]
                    store.waits.resolve(event.sequence, open_waits)
            store.waits.looked(lease.run_id, fence=lease.fence)
        store.release()

    with _other_connection() as other:
        asleep = other.submit(fall_asleep)
        for number in range(len(leases)):
            event = emitted(store, payload=str(number))
            store.waits.resolve(event.sequence, wait_ids(store, match_hash=number))
            store.events.matched(event.sequence)
        asleep.result(60)
    states = {got(store, lease.run_id).state for lease in leases}
    assert states == {RunState.QUEUED}


@pytest.mark.parametrize("database", every_database(transaction=True))
def test_errors_in_the_transaction_of_the_caller_stay_what_they_are(database: str) -> None:
    store = DjangoStore(alias_of(database))
    with pytest.raises(InvalidName), transaction.atomic(using=store.alias):
        store.runs.create([NewRun(id=new_id(), task="t" * 256, input="[]")])
    with pytest.raises(InvalidName, match="event id"):
        store.events.add(NewEvent(id="e" * 256, name="n", payload="{}"))


@pytest.mark.parametrize("database", every_database(transaction=True))
def test_an_error_of_a_step_body_is_not_mistaken_for_one_of_the_store(database: str) -> None:
    store = DjangoStore(alias_of(database))
    with pytest.raises(OperationalError, match="database is locked"), store.atomic():
        raise OperationalError("database is locked")
    with store.atomic():
        pass


@pytest.mark.skipif(not reachable("postgres"), reason="needs a second database")
@pytest.mark.django_db(databases=[POSTGRES, alias_of("sqlite")], transaction=True)
def test_a_step_with_a_transaction_reads_but_never_writes_another_database(
    store: DjangoStore,
) -> None:
    elsewhere = TaskVersion.objects.using(alias_of("sqlite"))
    with store.atomic():
        assert not elsewhere.exists()
    with pytest.raises(TransactionOpen, match=alias_of("sqlite")), store.atomic():
        elsewhere.all().delete()
    with pytest.raises(TransactionOpen), store.atomic():
        elsewhere.create(digest="d", first_line=1, created_at=store.now())
    elsewhere.all().delete()


@pytest.mark.parametrize("database", every_database(transaction=True))
def test_only_statements_of_user_code_are_counted(database: str) -> None:
    store = DjangoStore(alias_of(database))
    before = store.query_count()
    lease = claim(store, queued(store)).lease
    store.waits.suspend(lease, suspension(event_wait()), look_within=LOOK_WITHIN)
    store.sweeps.due(limit=9, nudge_interval=timedelta(seconds=5))
    assert store.query_count() == before
    assert Run.objects.using(store.alias).count() == 1
    assert store.query_count() == before + 1
    store.release()
    assert Run.objects.using(store.alias).count() == 1
    assert store.query_count() > before + 1


@pytest.mark.parametrize("database", every_database(transaction=True))
def test_a_boundary_names_the_database_whose_autocommit_is_off(database: str) -> None:
    store = DjangoStore(alias_of(database))
    store.now()
    transaction.set_autocommit(False, using=store.alias)
    try:
        with pytest.raises(TransactionOpen, match=f"sleep.*{store.alias}"):
            store.check_boundary("sleep()")
        with pytest.raises(TransactionOpen):
            store.runs.claim(asked(new_id()))
    finally:
        transaction.rollback(using=store.alias)
        transaction.set_autocommit(True, using=store.alias)
    store.check_boundary("sleep()")


@pytest.mark.parametrize("database", every_database())
def test_a_django_test_case_is_no_transaction_of_user_code(database: str) -> None:
    store = DjangoStore(alias_of(database))
    store.check_boundary("sleep()")
    lease = started(store)
    with store.atomic():
        store.checkpoints.record(lease, checkpoint(store, "pay"))
    assert set(outcomes(store, lease.run_id).recorded) == {"pay"}
