"""What tests of declarations start from: only the durable queues that were there before."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from trigger_celery.declare.queue import queues


@pytest.fixture(autouse=True)
def forgets_queues() -> Iterator[None]:
    """Forget the queues that a test declared."""
    known = {queue.name for queue in queues}
    yield
    for name in {queue.name for queue in queues} - known:
        queues.remove(name)
