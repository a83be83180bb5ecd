"""What tests of bodies start from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.charging import LOG
from support.families import Family


@pytest.fixture
def family() -> Iterator[Family]:
    with Family() as harness:
        yield harness


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    LOG.clear()
