"""Shipped for tests: a store in memory, a manual clock, faults and the contract of a store."""

from __future__ import annotations

from trigger_celery.testing.clock import ManualClock
from trigger_celery.testing.contract import StoreContract
from trigger_celery.testing.faults import Fault, FaultStore, SimulatedCrash
from trigger_celery.testing.memory import MemoryStore

__all__ = [
    "Fault",
    "FaultStore",
    "ManualClock",
    "MemoryStore",
    "SimulatedCrash",
    "StoreContract",
]
