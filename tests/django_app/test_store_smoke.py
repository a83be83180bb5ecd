"""The Django store end to end on each database: what no contract can see from outside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from support.databases import alias_of, every_database
from trigger_celery.identity import new_id, new_token
from trigger_celery.records import *
from trigger_celery.states import RunState, WaitState
from trigger_celery_django.store import DjangoStore

pytestmark = []


@pytest.mark.parametrize("database", every_database())
def test_a_run_goes_all_the_way(database: str) -> None:
    store = DjangoStore(alias_of(database))
    run_id = new_id()
    new = NewRun(id=run_id, task="t", input="[]", canvas="c")
    assert set(store.runs.create([new])) == {run_id}
    assert set(store.runs.create([new])) == set()
    claim = Claim(run_id=run_id, task="t", worker="w", version="v", length=timedelta(seconds=60), token="a")
    got = store.runs.claim(claim)
    assert got is not None and not got.replayed and not got.publishing
    print(got)
    again = store.runs.claim(claim)
    assert again is not None and again.lease == got.lease
    now = store.now()
    span = Span(started_at=now, ended_at=now, cpu=timedelta(seconds=1), peak_memory=1, queries=2, worker="w", source="x")
    cp = Checkpoint(key="k", kind=StepKind.STEP, value="1", position=0, attempt=1, span=span, token="x")
    store.checkpoints.record(got.lease, cp)
    store.checkpoints.record(got.lease, cp)
    failed = FailedAttempt(key="z", run_attempt=1, number=1, error="{}", span=span)
    store.checkpoints.record_failure(got.lease, failed)
    store.checkpoints.record_failure(got.lease, failed)
    print(store.checkpoints.load(run_id, run_attempt=1))
    assert set(store.runs.renew([got.lease])) == {got.lease}
    wait = NewWait(key="w1", kind=StepKind.EVENT, position=1, delay=timedelta(days=1), name="e", filter="{}", paths="[]", match_hash=7)
    assert store.waits.suspend(got.lease, Suspend(waits=(wait,), keys=("w1",), next_attempt=1, token="s")) == RunState.SUSPENDED
    assert store.waits.suspend(got.lease, Suspend(waits=(wait,), keys=("w1",), next_attempt=1, token="s")) == RunState.SUSPENDED
    event = store.events.add(NewEvent(id="i", name="e", payload="{}"))
    assert event is not None
    assert store.events.add(NewEvent(id="i", name="e", payload="{}")) is None
    assert [e.sequence for e in store.waits.unseen_events(run_id, "e", after=0, limit=9)] == [event.sequence]
    assert store.waits.shapes("e") == ["[]"]
    cands = store.waits.candidates("e", [7, 8], after=0, limit=5)
    assert [c.key for c in cands] == ["w1"]
    assert [n.run_id for n in store.waits.resolve(event.sequence, [cands[0].wait_id])] == [run_id]
    assert store.waits.resolve(event.sequence, [cands[0].wait_id]) == []
    store.events.matched(event.sequence)
    assert store.waits.unseen_events(run_id, "e", after=0, limit=9) == []
    got = store.runs.claim(Claim(run_id=run_id, task="t", worker="w", version="v", length=timedelta(seconds=60), token="b"))
    assert got is not None and got.replayed
    out = store.checkpoints.load(run_id, run_attempt=1)
    assert out.recorded["w1"].event is not None and out.recorded["w1"].wait is WaitState.EVENT
    assert out.failures == {"z": 1}
    end = Ending(state=RunState.FAILED, token="e", error="{}", fingerprint="f", failed=failed)
    store.runs.end(got.lease, end)
    store.runs.end(got.lease, end)
    store.runs.published(got.lease)
    store.runs.retry(run_id)
    assert store.checkpoints.load(run_id, run_attempt=1).failures == {}
    assert store.sweeps.due(limit=5, nudge_interval=timedelta(seconds=5)) == []
    assert store.runs.cancel(run_id, "no") is not None
    assert [n.run_id for n in store.sweeps.due(limit=5, nudge_interval=timedelta(seconds=5))] == [run_id]
    got = store.runs.claim(Claim(run_id=run_id, task="t", worker="w", version="v", length=timedelta(seconds=60), token="c"))
    assert got is not None and got.publishing
    store.runs.published(got.lease)
    print([(h.verb, str(h.state), h.data) for h in store.runs.history(run_id)])
