"""What user code leaves behind when it fails."""

from __future__ import annotations

from trigger_celery.errors import TransactionOpen
from trigger_celery.ports import Store


def end_transactions(store: Store) -> None:
    """Undo what user code left open in this thread: nothing of ours may join it."""
    try:
        store.check_boundary("the end of what failed")
    except TransactionOpen:
        store.release()
