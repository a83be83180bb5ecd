"""A worker that is killed in the middle of a bulk operation: the rest is done, nothing twice."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from uuid import UUID

import pytest
from django.db import connections

from support.databases import alias_of, child_environment, every_database
from trigger_celery.testing.contract.bulk.operations import batch, begun, failed, stored
from trigger_celery.testing.contract.tools import got
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.models import DeadLetter, History
from trigger_celery_django.store import DjangoStore

BATCH = 5
KILLED = """
import os, signal, sys
from uuid import UUID
import django
django.setup()
from trigger_celery_django.store import DjangoStore
from trigger_celery_django.store.bulk import operations

operation, run, batch = UUID(sys.argv[1]), UUID(sys.argv[2]), int(sys.argv[3])
given = {"limit": batch, "error": "", "copy": None}
carry_out = DjangoStore().bulk_operations.carry_out
assert carry_out(operation, run, **given).moved == batch  # and it nudges none of these

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

operations.bulk_changes.advanced = die  # the runs are written, the cursor is not, nothing commits
carry_out(operation, run, **given)
"""


@pytest.mark.parametrize("database", every_database(transaction=True))
def test_a_killed_worker_leaves_the_rest_to_others_and_no_run_is_retried_twice(
    database: str, transactional_db: None
) -> None:
    store = DjangoStore(alias_of(database))
    ids = [failed(store) for _ in range(3 * BATCH)]
    operation = begun(store, batch_size=BATCH)
    name = str(connections[store.alias].settings_dict["NAME"])
    environment = {**child_environment(), "TC_DB": database, "TC_DB_NAME": name}
    arguments = [str(operation.id), str(operation.run_id), str(BATCH)]
    child = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments], env=environment, check=False, timeout=100
    )
    assert child.returncode == -signal.SIGKILL
    assert stored(store, operation.id).done == BATCH
    assert _states(store, ids) == {RunState.QUEUED: BATCH, RunState.FAILED: 2 * BATCH}

    while stored(store, operation.id).state == "running":
        batch(store, operation)
    after = stored(store, operation.id)
    assert (after.state, after.done, dict(after.skipped)) == ("completed", 3 * BATCH, {})
    assert _states(store, ids) == {RunState.QUEUED: 3 * BATCH}
    retries = History.objects.using(store.alias).filter(verb="retry").values_list("run", flat=True)
    assert sorted(retries) == sorted(ids)
    letters = DeadLetter.objects.using(store.alias).values_list("state", flat=True)
    assert list(letters) == ["retried"] * len(ids)


def _states(store: DjangoStore, ids: list[UUID]) -> Counter[RunState]:
    return Counter(got(store, run_id).state for run_id in ids)
