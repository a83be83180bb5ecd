"""What user code leaves behind when it fails."""

from __future__ import annotations

from collections.abc import Sequence

from trigger_celery.engine.segment.segment import Segment
from trigger_celery.errors import SuspensionSwallowed, TransactionOpen
from trigger_celery.ports import Store


def end_transactions(store: Store) -> None:
    """Undo what user code left open in this thread: nothing of ours may join it."""
    try:
        store.check_boundary("the end of what failed")
    except TransactionOpen:
        store.release()


def swallowed(segment: Segment, keys: Sequence[str]) -> SuspensionSwallowed:
    """Return the error for a body, or a branch, that returned although it was being left."""
    return SuspensionSwallowed(
        f"task {segment.run.task!r} caught the suspension at {', '.join(keys)!r} and "
        "went on: a bare 'except:' or 'except BaseException:' stands around it. Catch "
        "Exception instead, or raise again what you do not know."
    )
