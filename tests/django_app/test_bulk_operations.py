"""What a batch of a bulk operation costs on each database: statements, not runs, are counted."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest

from support.databases import alias_of, every_database
from support.store_rows import sent
from trigger_celery.testing.contract.bulk.operations import batch, begun
from trigger_celery.testing.contract.tools import QUEUE, limit, new_run
from trigger_celery.vocabulary.records import BulkKind
from trigger_celery_django.models import BulkOperation, DeadLetter, Run
from trigger_celery_django.store import DjangoStore
from trigger_celery_django.store.common.rows import insert


def fail(store: DjangoStore, count: int) -> Sequence[UUID]:
    """Store so many failed runs and their dead letters."""
    runs = [new_run() for _ in range(count)]
    store.runs.create(runs)
    ids = [run.id for run in runs]
    now = store.now()
    rows = Run.objects.using(store.alias).filter(pk__in=ids)
    rows.update(state="failed", finished_at=now, fence=1, error="{}")
    seen = {"first_seen_at": now, "last_seen_at": now}
    letters = [DeadLetter(run_id=each, state="open", **seen) for each in ids]
    insert(store.alias, letters)
    return ids


@pytest.mark.parametrize("database", every_database(transaction=True))
def test_a_batch_of_500_retries_costs_three_statements_beside_those_of_its_runs(
    database: str, transactional_db: None
) -> None:
    store = DjangoStore(alias_of(database))
    fail(store, 501)
    operation = begun(store)
    with sent(store.alias) as one:
        assert batch(store, operation, limit=1).moved == 1
    with sent(store.alias) as many:
        assert batch(store, operation, limit=500).moved == 500
    table = BulkOperation._meta.db_table
    page = [text for text in many if "LIMIT 500" in text]
    beside = [text for text in many if table in text or text in page]
    assert len(beside) == 3
    # Runs are locked and updated; dead letters, waits and failed attempts of their ends; history.
    assert len(many) - len(beside) <= 6
    assert len(many) == len(one)


@pytest.mark.parametrize("database", every_database(transaction=True))
def test_runs_with_different_priorities_take_one_statement_all_the_same(
    database: str, transactional_db: None
) -> None:
    store = DjangoStore(alias_of(database))
    limit(store, concurrency=0)
    for _ in range(20):  # each at a time of its own
        store.runs.create([new_run()])
    Run.objects.using(store.alias).update(queue=QUEUE)
    operation = begun(store, BulkKind.PRIORITIZE, priority=60)
    with sent(store.alias) as statements:
        assert batch(store, operation).moved == 20
    assert sum("UPDATE" in text and "CASE" in text for text in statements) == 1
    assert len(statements) <= 9
