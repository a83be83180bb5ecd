"""What tests of schedules start from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.timetables import START, seen
from trigger_celery.testing import Harness


@pytest.fixture
def harness() -> Iterator[Harness]:
    seen.clear()
    with Harness(now=START) as harness:
        yield harness
