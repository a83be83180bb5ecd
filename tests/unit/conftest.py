"""What the tests of the engine start from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from trigger_celery.testing import Harness


@pytest.fixture
def harness() -> Iterator[Harness]:
    """Return an engine on a store in memory that is installed for this test."""
    with Harness() as harness:
        yield harness
