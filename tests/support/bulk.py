"""What tests of bulk operations share."""

from __future__ import annotations

from trigger_celery import BulkOperation, get_bulk, list_bulk
from trigger_celery.client.access import installed_engine
from trigger_celery.ports import Store
from trigger_celery.testing.contract.tools import got
from trigger_celery.testing.drain import execute_declared


def carried_out(store: Store) -> BulkOperation:
    """Let a worker carry out the operation that was started last, and return it."""
    (operation, *_) = list_bulk()
    execute_declared(installed_engine(), got(store, operation.run_id))
    return get_bulk(operation.id)
