"""What is asked all the time is answered from an index, however many runs are suspended."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connections
from django.db.models import F, Model
from django.db.models.functions import Random

from support.databases import alias_of, every_database
from support.store_rows import sent
from trigger_celery.engine.waking.matching import BATCH
from trigger_celery.testing.contract.tools import NUDGE_INTERVAL
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import ListPosition, RunFilter
from trigger_celery.vocabulary.states import RunState, TokenState, WaitState
from trigger_celery_django.models import DeadLetter, Event, History, Run, RunTag, Token, Wait
from trigger_celery_django.store import DjangoStore
from trigger_celery_django.store.postgresql import events as event_statements
from trigger_celery_django.store.postgresql import waits as wait_statements

ROWS = 10_000
EPOCH = datetime(2020, 1, 1, tzinfo=UTC)


def _fill(alias: str, prefix: str = "") -> None:
    """Suspend many runs, each on an event of its own and most with a deadline far away."""
    later = datetime.now(UTC) + timedelta(days=300)
    runs = [
        Run(
            id=new_id(),
            task="t",
            state=RunState.SUSPENDED,
            input="[]",
            created_at=EPOCH,
            available_at=EPOCH,
            line_at=EPOCH,
            due_at=later if number % 3 else None,
            deadline_at=later if number % 2 else None,
        )
        for number in range(ROWS)
    ]
    Run.objects.using(alias).bulk_create(runs)
    Wait.objects.using(alias).bulk_create(
        Wait(
            run=run,
            key="k",
            kind="wait_for_event",
            state=WaitState.WAITING,
            position=0,
            name="approved",
            filter="{}",
            match_hash=number,
            created_at=EPOCH,
        )
        for number, run in enumerate(runs)
    )
    Token.objects.using(alias).bulk_create(
        Token(state=TokenState.WAITING, created_at=EPOCH) for _ in range(ROWS)
    )
    Event.objects.using(alias).bulk_create(
        Event(
            event_id=f"{prefix}{number}",
            name="rejected" if number % 100 else "approved",
            payload="{}",
            received_at=EPOCH,
            matched_at=EPOCH,
        )
        for number in range(ROWS)
    )


def _plans(store: DjangoStore) -> dict[str, str]:
    """Run each verb and return how PostgreSQL would run its statement again."""
    latest = Event.objects.using(store.alias).latest("pk").pk
    fresh = Run.objects.using(store.alias).create(
        task="t",
        state=RunState.QUEUED,
        input="[]",
        created_at=datetime.now(UTC),
        available_at=EPOCH,
        line_at=EPOCH,
        event_cut=latest - 10,
    )
    verbs: dict[str, Callable[[], object]] = {
        "due": lambda: store.sweeps.due(limit=100, nudge_interval=NUDGE_INTERVAL),
        "unclaimed": lambda: store.sweeps.unclaimed(after="", limit=100),
        "recent claims": lambda: store.sweeps.recent_claims(within=NUDGE_INTERVAL, limit=100),
        "expire": lambda: store.sweeps.expire(limit=100),
        "candidates": lambda: store.waits.candidates("approved", [3], after=0, limit=100),
        "many candidates": lambda: store.waits.candidates("approved", [3, 5], after=0, limit=9),
        "unseen": lambda: store.waits.unseen_events(fresh.pk, "approved", after=0, limit=100),
        "ahead": lambda: store.events.ahead("approved", before=latest, after=0, limit=100),
        "unmatched": lambda: store.events.unmatched(older_than=timedelta(0), after=0, limit=100),
        "token waits": lambda: store.tokens.waits(new_id(), after=0, limit=100),
        "unsettled": lambda: store.tokens.unsettled(limit=100),
    }
    plans = {}
    with connections[store.alias].cursor() as cursor:
        cursor.execute("ANALYZE")
    for name, verb in verbs.items():
        plans[name] = _plan(store.alias, verb)
    return plans


def _plan(alias: str, verb: Callable[[], object]) -> str:
    """Run a verb and return how PostgreSQL would run its last statement again."""
    found: list[tuple[str, Any]] = []
    with connections[alias].execute_wrapper(_keep(found)):
        verb()
    statement, parameters = found[-1]
    with connections[alias].cursor() as cursor:
        cursor.execute(f"EXPLAIN {statement}", parameters)
        return "\n".join(line for (line,) in cursor.fetchall())


def _keep(found: list[tuple[str, Any]]) -> Any:
    def keep(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        found.append((sql, params))
        return execute(sql, params, many, context)

    return keep


@pytest.mark.requires("postgres")
@pytest.mark.django_db(databases=[alias_of("postgres")])
def test_no_frequent_question_reads_a_whole_table_on_postgresql() -> None:
    store = DjangoStore(alias_of("postgres"))
    _fill(store.alias)
    plans = _plans(store)
    assert {name: plan for name, plan in plans.items() if "Seq Scan" in plan} == {}
    assert "trigger_run_due" in plans["due"]
    assert "trigger_run_start" in plans["due"]
    assert "trigger_run_unclaimed" in plans["unclaimed"]
    assert "trigger_run_deadline" in plans["expire"]
    assert "trigger_wait_match" in plans["candidates"]
    assert plans["many candidates"].count("trigger_wait_match") == 2
    assert "trigger_event_order" in plans["unseen"]
    assert "trigger_event_unmatched" in plans["ahead"]
    assert "trigger_event_unmatched" in plans["unmatched"]
    assert "trigger_wait_token" in plans["token waits"]
    assert "trigger_token_unsettled" in plans["unsettled"]


def dead_letter(run: Run, **columns: object) -> DeadLetter:
    seen = EPOCH + timedelta(seconds=run.pk.int % 86_400)
    return DeadLetter(run=run, task=run.task, first_seen_at=EPOCH, last_seen_at=seen, **columns)


LISTS = {
    "trigger_run_created": RunFilter(),
    "trigger_run_task": RunFilter(tasks=("rare",)),
    "trigger_run_state_time": RunFilter(states=(RunState.CANCELED,)),
    "trigger_run_queue": RunFilter(queue="mail"),
    "trigger_run_schedule": RunFilter(schedule="nightly"),
    "trigger_run_children": RunFilter(parent_id=new_id()),
    "trigger_run_root": RunFilter(root_id=new_id()),
    "trigger_letter_group": RunFilter(error="f1"),
    "trigger_tag": RunFilter(tags=("vip",)),
}
"""By the index that it is read from, what a list may ask for."""


@pytest.mark.parametrize(
    "after", [None, ListPosition(EPOCH + timedelta(hours=12), new_id())], ids=["first", "next"]
)
@pytest.mark.requires("postgres")
@pytest.mark.django_db(databases=[alias_of("postgres")])
def test_a_page_of_runs_is_read_from_an_index_whatever_it_filters(
    after: ListPosition | None,
) -> None:
    store = DjangoStore(alias_of("postgres"))
    rows: list[RunTag] = []
    dead: list[DeadLetter] = []
    _fill(store.alias)
    runs = Run.objects.using(store.alias)
    runs.update(created_at=F("line_at") + Random() * timedelta(days=1))
    for number, run in enumerate(runs.all()):
        rows += [RunTag(run=run, tag=f"tag {number}")]
        dead += [dead_letter(run, state="open", fingerprint=f"{number}")]
    RunTag.objects.using(store.alias).bulk_create(rows)
    DeadLetter.objects.using(store.alias).bulk_create(dead)
    with connections[store.alias].cursor() as cursor:
        cursor.execute("ANALYZE")
    found: dict[str, str] = {}
    for index, wanted in LISTS.items():
        page = partial(store.runs.find, wanted, after=after, limit=100)
        found[index] = _plan(store.alias, page)
    assert {index: plan for index, plan in found.items() if index not in plan} == {}
    assert {index: plan for index, plan in found.items() if "Seq Scan" in plan} == {}


@pytest.mark.requires("postgres")
@pytest.mark.django_db(databases=[alias_of("postgres")])
def test_the_waits_of_an_event_are_found_by_one_index_scan_for_each_hash() -> None:
    alias = alias_of("postgres")
    _fill(alias)
    with connections[alias].cursor() as cursor:
        cursor.execute("ANALYZE")
        statement = event_statements.audience(2, 100)
        names = ["approved"] * 3
        cursor.execute(f"EXPLAIN {statement}", [*names, 1 << 40, 3, 5, "approved"])
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "trigger_wait_match" in plan
    assert "trigger_event_unmatched" in plan
    assert f"Seq Scan on {Wait._meta.db_table} " not in plan


def _suspend_since_analyze(alias: str) -> tuple[int, list[Wait]]:
    """Have one event end many of the waits that began since the statistics were gathered.

    Those say that hardly a wait is open, and that no event ended more than one. Returns the
    event's sequence number and the waits that are open still.
    """
    _fill(alias)
    waits = Wait.objects.using(alias)
    waits.update(state=WaitState.EVENT, event_id=F("pk"))  # no matter which: they differ
    with connections[alias].cursor() as cursor:
        cursor.execute("ANALYZE")
    _fill(alias, "again")
    sequence = Event.objects.using(alias).latest("pk").pk
    opened = list(waits.filter(state=WaitState.WAITING).order_by("pk"))
    ended = waits.filter(state=WaitState.WAITING, pk__lt=opened[-BATCH].pk)
    ended.update(state=WaitState.EVENT, event_id=sequence)
    return sequence, opened[-BATCH:]


def _rows_read(alias: str, statement: str, parameters: Any) -> float:
    """Run the statement and return how many rows its scans looked at."""
    with connections[alias].cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
        plans = [cursor.fetchone()[0][0]["Plan"]]
    found = 0.0
    while plans:
        plan = plans.pop()
        plans += plan.get("Plans", [])
        rows = [count for name, count in plan.items() if name.startswith("Rows Removed by")]
        found += plan["Actual Loops"] * sum(rows, plan["Actual Rows"])
    return found


@pytest.mark.requires("postgres")
@pytest.mark.django_db(databases=[alias_of("postgres")])
def test_statements_that_end_waits_read_only_those_whatever_the_statistics_say() -> None:
    alias = alias_of("postgres")
    sequence, waits = _suspend_since_analyze(alias)
    of_run = {"run_id": waits[0].run_id, "fence": 0}
    assert _rows_read(alias, wait_statements.LOOKED, of_run) <= 10
    given = {"event": sequence, "nudge_interval": NUDGE_INTERVAL}
    one = {**given, "ids": [waits[0].pk]}
    many = {**given, "ids": [wait.pk for wait in waits[1:]]}
    resolve = event_statements.resolve(matched=True)
    assert _rows_read(alias, resolve, one) <= 30
    assert _rows_read(alias, resolve, many) <= 30 * len(waits)
    assert not Wait.objects.using(alias).filter(state=WaitState.WAITING).exists()


@pytest.mark.requires("postgres")
@pytest.mark.django_db(databases=[alias_of("postgres")])
def test_notes_since_a_run_ended_are_read_without_those_before() -> None:
    store = DjangoStore(alias_of("postgres"))
    (run, other), history = (new_id(), new_id()), History.objects.using(store.alias)
    moves = [(run, RunState.QUEUED), (other, RunState.COMPLETED)] * ROWS
    ended = [(run, RunState.COMPLETED)] * 3
    history.bulk_create(
        History(run_id=of, at=EPOCH, verb="hook", state=state, fence=1)
        for of, state in moves + ended
    )
    with connections[store.alias].cursor() as cursor:
        cursor.execute("ANALYZE")
    found: list[tuple[str, Any]] = []
    with connections[store.alias].execute_wrapper(_keep(found)):
        assert len(store.runs.notes_since_end(run, "hook")) == 3
    ((statement, parameters),) = found
    assert _rows_read(store.alias, statement, parameters) <= 10


@pytest.mark.parametrize(
    ("model", "index", "columns"),
    [
        (Run, "trigger_run_due", ["state", "due_at"]),
        (Run, "trigger_run_start", ["due_at", "available_at"]),
        (Run, "trigger_run_unclaimed", ["task", "due_at"]),
        (Wait, "trigger_wait_match", ["match_hash", "id"]),
        (Event, "trigger_event_unmatched", ["matched_at", "name", "sequence"]),
        (Token, "trigger_token_unsettled", ["settled_at", "closed_at"]),
    ],
)
@pytest.mark.parametrize("database", every_database())
def test_partial_indexes_exist_even_where_they_cannot_be_partial(
    database: str, model: type[Model], index: str, columns: list[str]
) -> None:
    connection = connections[alias_of(database)]
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, model._meta.db_table)
    assert found[index]["index"]
    assert found[index]["columns"] == columns


@pytest.mark.parametrize("database", every_database())
def test_an_idle_sweep_opens_no_transaction(database: str) -> None:
    store = DjangoStore(alias_of(database))
    with sent(store.alias) as statements:
        assert len(store.sweeps.due(limit=9, nudge_interval=NUDGE_INTERVAL)) == 0
    assert len(statements) == 1
    assert statements[0].startswith("SELECT")
