"""What tests of durable tasks need: a harness, a store in memory, a clock, faults, a contract."""

from __future__ import annotations

from trigger_celery.testing.alarm import ManualAlarm
from trigger_celery.testing.clock import ManualClock
from trigger_celery.testing.contract.suite import StoreContract
from trigger_celery.testing.drain import YEAR, drain
from trigger_celery.testing.faults import Fault, FaultStore, SimulatedCrash
from trigger_celery.testing.harness import Harness, RecordingDispatcher, Triggerable
from trigger_celery.testing.memory.store import MemoryStore

__all__ = [
    "YEAR",
    "Fault",
    "FaultStore",
    "Harness",
    "ManualAlarm",
    "ManualClock",
    "MemoryStore",
    "RecordingDispatcher",
    "SimulatedCrash",
    "StoreContract",
    "Triggerable",
    "drain",
]
