"""What the engine needs from the world: one verb a line, split by noun.

Laws every :class:`Store` keeps, checked by ``trigger_celery.testing.StoreContract``:

* Each verb is one short transaction of its own, except where it says *in the caller's
  transaction*. It never joins a transaction of user code otherwise.
* A verb that takes a :class:`~trigger_celery.vocabulary.records.Lease` writes only while the run is
  executing under exactly this fence and token of its claim, tested in the same statement or
  transaction as the write; else it raises :exc:`~trigger_celery.errors.LeaseLost` and
  writes nothing.
* A verb that takes a ``token`` may be repeated with the same token after
  :exc:`~trigger_celery.errors.StoreUnavailable`: if the first call did commit, the repeat
  finds the token and answers as the first would have.
* All times are the database's. Locks are taken in the order queue, run, wait, event.
* A verb that moves a run appends to its history in the same transaction.
"""

from __future__ import annotations

from trigger_celery.ports.bulk_operations import BulkOperations
from trigger_celery.ports.children import Children
from trigger_celery.ports.dead_letters import DeadLetters
from trigger_celery.ports.keys import Keys
from trigger_celery.ports.managing import Managing
from trigger_celery.ports.process import Clock, Codec, Dispatcher
from trigger_celery.ports.queues import Queues
from trigger_celery.ports.runs import Checkpoints, Runs
from trigger_celery.ports.schedules import Schedules, Subscriptions
from trigger_celery.ports.store import Store
from trigger_celery.ports.tokens import OpenWaits, Tokens
from trigger_celery.ports.waits import Events, Sweeps, Waits

__all__ = [
    "BulkOperations",
    "Checkpoints",
    "Children",
    "Clock",
    "Codec",
    "DeadLetters",
    "Dispatcher",
    "Events",
    "Keys",
    "Managing",
    "OpenWaits",
    "Queues",
    "Runs",
    "Schedules",
    "Store",
    "Subscriptions",
    "Sweeps",
    "Tokens",
    "Waits",
]
