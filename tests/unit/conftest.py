"""What the tests of the engine start from."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from trigger_celery.declare.queue import queues
from trigger_celery.testing import Harness


@pytest.fixture
def harness() -> Iterator[Harness]:
    """Return an engine on a store in memory that is installed for this test."""
    with Harness(now=datetime(2030, 1, 1, tzinfo=UTC)) as harness:
        yield harness


@pytest.fixture(autouse=True)
def _queues_of_one_test() -> Iterator[None]:
    """Forget the durable queues that a test declared."""
    before = {queue.name for queue in queues}
    yield
    for name in {queue.name for queue in queues} - before:
        queues.remove(name)


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Collect no garbage during a test that is interrupted from outside.

    Python ignores what is raised in a callback of the collector, and hypothesis has one.
    """
    gc.disable()
    yield
    gc.enable()
