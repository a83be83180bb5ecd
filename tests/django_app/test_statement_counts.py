"""How many statements each verb sends: a number that does not depend on the machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from support.databases import alias_of, every_database
from support.store_rows import sent
from trigger_celery.testing.contract.tools import (
    LOOK_WITHIN,
    NUDGE_INTERVAL,
    asked,
    claim,
    emitted,
    ending,
    event_wait,
    new_run,
    queued,
    sleeping,
    started,
    suspend,
    suspended,
    suspension,
    wait_ids,
)
from trigger_celery.vocabulary.records import Checkpoint, FailedAttempt, Lease, Span, StepKind
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.store import DjangoStore

# PostgreSQL, MariaDB, SQLite (whose number of parameters is limited, and whose time is ours).
BUDGETS = {
    "create": (1, 4, 4),
    "create 100": (1, 4, 6),
    "claim": (1, 3, 3),
    "lose a claim": (2, 3, 3),
    "load": (1, 1, 1),
    "record": (1, 1, 1),
    "record failure": (1, 1, 1),
    "renew": (1, 1, 1),
    "suspend": (1, 8, 8),
    "suspend with a failure": (1, 9, 9),
    "look": (1, 4, 4),
    "resolve": (1, 7, 7),
    "resolve 20": (1, 7, 7),
    "complete": (1, 4, 4),
    "fail": (1, 7, 7),
    "publish": (1, 1, 1),
    "notes since the end": (1, 1, 1),
    "idle sweep": (1, 1, 1),
    "add an event": (1, 2, 1),
    "note a match": (1, 1, 1),
    "find candidates": (1, 1, 1),
    "find an audience": (1, 3, 3),
    "find what is ahead": (1, 1, 1),
    "find unseen events": (1, 1, 1),
    "resolve and note a match": (1, 8, 8),
}
NAMES = ("postgres", "mariadb", "sqlite")

Verb = Callable[[], object]


def _span() -> Span:
    """Return a measurement; taken here, because asking the store for the time is a statement."""
    now = datetime.now(UTC)
    return Span(
        started_at=now,
        ended_at=now,
        cpu=timedelta(0),
        peak_memory=1,
        queries=0,
        worker="w1",
        source="",
    )


def _step() -> Checkpoint:
    return Checkpoint(
        key="pay", kind=StepKind.STEP, value="1", position=0, attempt=1, span=_span(), token="t"
    )


def _failed() -> FailedAttempt:
    return FailedAttempt(key="pay", run_attempt=1, number=1, error="{}", span=_span())


def _prepared(store: DjangoStore, name: str) -> Verb:
    """Bring about what the verb needs, and return the verb."""
    if name in _OF_A_LEASE:
        lease = started(store)
        return lambda: _OF_A_LEASE[name](store, lease)
    return _OF_A_STORE[name](store)


def _claim(store: DjangoStore) -> Verb:
    question = asked(queued(store))
    return lambda: store.runs.claim(question)


def _lose_a_claim(store: DjangoStore) -> Verb:
    question = asked(started(store).run_id)
    return lambda: store.runs.claim(question)


def _look(store: DjangoStore) -> Verb:
    lease = started(store)
    suspend(store, lease, suspension(event_wait()))
    return lambda: store.waits.looked(lease.run_id, fence=lease.fence)


def _resolve(count: int, *, matched: bool = False) -> Callable[[DjangoStore], Verb]:
    def prepare(store: DjangoStore) -> Verb:
        for _ in range(count):
            suspended(store, event_wait())
        sequence, waits = emitted(store).sequence, wait_ids(store)
        return lambda: store.waits.resolve(sequence, waits, matched=matched)

    return prepare


def _publish(store: DjangoStore) -> Verb:
    lease = started(store)
    store.runs.end(lease, ending(publish_within=timedelta(0)))
    publisher = claim(store, lease.run_id).lease
    return lambda: store.runs.published(publisher)


def _notes_since_the_end(store: DjangoStore) -> Verb:
    lease = started(store)
    store.runs.end(lease, ending())
    return lambda: store.runs.notes_since_end(lease.run_id, "hook")


def _idle_sweep(store: DjangoStore) -> Verb:
    suspended(store, sleeping())
    return lambda: store.sweeps.due(limit=100, nudge_interval=NUDGE_INTERVAL)


def _note_a_match(store: DjangoStore) -> Verb:
    sequence = emitted(store).sequence
    return lambda: store.events.matched(sequence)


_OF_A_STORE: dict[str, Callable[[DjangoStore], Verb]] = {
    "create": lambda store: lambda: store.runs.create([new_run()]),
    "create 100": lambda store: lambda: store.runs.create([new_run() for _ in range(100)]),
    "claim": _claim,
    "lose a claim": _lose_a_claim,
    "look": _look,
    "resolve": _resolve(1),
    "resolve 20": _resolve(20),
    "publish": _publish,
    "notes since the end": _notes_since_the_end,
    "idle sweep": _idle_sweep,
    "add an event": lambda store: lambda: emitted(store),
    "note a match": _note_a_match,
    "find candidates": lambda store: lambda: wait_ids(store),
    "find an audience": lambda store: (
        lambda: store.events.audience("approved", [1, 2], before=9, limit=9)
    ),
    "find what is ahead": lambda store: (
        lambda: store.events.ahead("approved", before=9, after=0, limit=9)
    ),
    "find unseen events": lambda store: partial(
        store.waits.unseen_events, queued(store), "approved", after=0, limit=9
    ),
    "resolve and note a match": _resolve(1, matched=True),
}
_OF_A_LEASE: dict[str, Callable[[DjangoStore, Lease], object]] = {
    "load": lambda store, lease: store.checkpoints.load(lease.run_id, run_attempt=1),
    "record": lambda store, lease: store.checkpoints.record(lease, _step()),
    "record failure": lambda store, lease: store.checkpoints.record_failure(lease, _failed()),
    "renew": lambda store, lease: store.runs.renew([lease]),
    "suspend": lambda store, lease: store.waits.suspend(
        lease, suspension(event_wait()), look_within=LOOK_WITHIN
    ),
    "suspend with a failure": lambda store, lease: store.waits.suspend(
        lease, replace(suspension(sleeping()), failed=_failed()), look_within=LOOK_WITHIN
    ),
    "complete": lambda store, lease: store.runs.end(lease, ending()),
    "fail": lambda store, lease: store.runs.end(
        lease, replace(ending(RunState.FAILED), failed=_failed())
    ),
}


@pytest.mark.parametrize("name", BUDGETS)
@pytest.mark.parametrize("database", every_database())
def test_a_verb_sends_exactly_so_many_statements(database: str, name: str) -> None:
    store = DjangoStore(alias_of(database))
    verb = _prepared(store, name)
    with sent(store.alias) as statements:
        verb()
    budget = BUDGETS[name][NAMES.index(database)]
    if name == "create 100":  # how many rows one statement of SQLite takes is Django's choice
        assert len(statements) <= budget, statements
    else:
        assert len(statements) == budget, statements
