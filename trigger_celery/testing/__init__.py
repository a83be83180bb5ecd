"""Shipped for tests: a harness for tasks, a store in memory, a clock, faults and the contract."""

from __future__ import annotations

from trigger_celery.testing.alarm import ManualAlarm
from trigger_celery.testing.clock import ManualClock
from trigger_celery.testing.contract.suite import StoreContract
from trigger_celery.testing.drain import drain
from trigger_celery.testing.faults import Fault, FaultStore, SimulatedCrash
from trigger_celery.testing.harness import Harness, RecordingDispatcher
from trigger_celery.testing.memory.store import MemoryStore

__all__ = [
    "Fault",
    "FaultStore",
    "Harness",
    "ManualAlarm",
    "ManualClock",
    "MemoryStore",
    "RecordingDispatcher",
    "SimulatedCrash",
    "StoreContract",
    "drain",
]
