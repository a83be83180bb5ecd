"""What tests of executions start from."""

from __future__ import annotations

import pytest

from support.async_bodies import LOG


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    LOG.clear()
