"""Children that end by themselves while they are closed with their parent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from support.databases import alias_of, every_database
from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs import consequences
from trigger_celery.engine.runs.consequences import of_end_here
from trigger_celery.testing.contract.tools import AWKWARD, got, started
from trigger_celery.testing.contract.triggers import born
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.models import Run
from trigger_celery_django.store import DjangoStore


@pytest.mark.parametrize("database", every_database())
def test_children_that_end_while_others_are_canceled_do_not_spare_those(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DjangoStore(alias_of(database))
    lease = started(store)
    ids = [born(store, lease) for _ in range(7)]
    store.runs.cancel(lease.run_id, AWKWARD)
    monkeypatch.setattr(consequences, "BATCH", 2)
    live = Run.objects.using(store.alias).filter(pk__in=ids, state=RunState.QUEUED)
    locked = store._guard.transaction

    def after_one_has_ended(work: Callable[[], Any]) -> Any:
        live.filter(pk=live.values_list("pk", flat=True)[0]).update(state=RunState.COMPLETED)
        return locked(work)

    monkeypatch.setattr(store._guard, "transaction", after_one_has_ended)
    of_end_here(
        Engine(store=store), got(store, lease.run_id), RunState.CANCELED, call_hooks=lambda: None
    )
    assert not live.exists()
