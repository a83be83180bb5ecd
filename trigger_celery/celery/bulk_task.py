"""The durable task of our own: its runs carry out bulk operations."""

from __future__ import annotations

from uuid import UUID

from trigger_celery.backoff import RetryPolicy
from trigger_celery.celery.decorator import durable_task
from trigger_celery.client.access import installed_engine
from trigger_celery.engine.runs import bulk


@durable_task(
    name=bulk.TASK,
    # It ends when all is done, or a person aborts it: no failure and no crash gives it up.
    retry=RetryPolicy(max_attempts=1_000_000, max_delay=60),
    max_crashes=1_000_000,
    ignore_result=True,
)
def carry_out_bulk_operation(operation_id: str) -> dict[str, int]:
    """Carry out a bulk operation, batch after batch."""
    return bulk.carry_out(installed_engine(), UUID(operation_id))
