"""Faults happen where the plan says, and a dead worker writes nothing."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from trigger_celery.errors import StoreUnavailable
from trigger_celery.testing import Fault, FaultStore, MemoryStore, SimulatedCrash
from trigger_celery.testing.contract.tools import checkpoint, outcomes, queued, started


def test_calls_are_numbered_in_order() -> None:
    store = FaultStore(MemoryStore())
    lease = started(store)
    with store.atomic():
        store.checkpoints.record(lease, checkpoint(MemoryStore(), "pay"))
    assert store.calls == [
        (0, "runs.create"),
        (1, "runs.claim"),
        (2, "checkpoints.record"),
        (3, "commit"),
    ]


@pytest.mark.parametrize(
    ("fault", "error", "executed"),
    [
        (Fault.BEFORE, SimulatedCrash, False),
        (Fault.AFTER, SimulatedCrash, True),
        (Fault.LOST_ACK, StoreUnavailable, True),
        (Fault.REFUSED, StoreUnavailable, False),
    ],
)
@pytest.mark.parametrize("atomic", [False, True])
def test_a_fault_executes_the_call_or_not_and_raises(
    fault: Fault, error: type[BaseException], executed: bool, atomic: bool
) -> None:
    inner = MemoryStore()
    lease = started(inner)
    store = FaultStore(inner, {1 if atomic else 0: fault})
    block = store.atomic() if atomic else nullcontext()
    with pytest.raises(error), block:
        store.checkpoints.record(lease, checkpoint(inner, "pay"))
    assert ("pay" in outcomes(inner, lease.run_id).recorded) is executed


def test_a_dead_worker_writes_nothing_until_it_is_restarted() -> None:
    inner = MemoryStore()
    store = FaultStore(inner, {0: Fault.BEFORE})
    for _ in range(2):
        with pytest.raises(SimulatedCrash):
            queued(store)
    store.restart()
    assert inner.runs.get(queued(store)) is not None


def test_a_rival_acts_before_the_call_which_then_goes_on() -> None:
    inner = MemoryStore()
    run_id = queued(inner)
    store = FaultStore(inner, {0: lambda: inner.runs.cancel(run_id, "")})
    found = store.runs.get(run_id)
    assert found is not None
    assert found.state == "canceled"
