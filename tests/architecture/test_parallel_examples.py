"""The examples of the page on parallel branches run and do what the page says."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from support.modules import load
from support.pages import page
from trigger_celery.testing import Harness


@pytest.fixture
def examples(tmp_path: Path) -> list[Any]:
    """Return the blocks of the page as modules."""
    return [
        load(tmp_path / f"documented_parallel_{number}.py", block.text)
        for number, block in enumerate(page("parallel").blocks("python"))
    ]


@pytest.mark.parametrize("name", ["fulfil", "fulfil_async"])
@pytest.mark.parametrize(("paid", "end"), [(True, "paid"), (False, "given up")])
def test_the_example_reserves_all_and_waits_for_one(
    examples: list[Any], name: str, paid: bool, end: str
) -> None:
    with Harness() as harness:
        run_id = harness.trigger(getattr(examples[0], name), "o-1", ["a", "b"])
        harness.run_until_idle(timedelta(0))
        if paid:
            harness.send_event("paid", {"order": "o-1"})
        harness.run_until_idle(timedelta(days=4))
        assert harness.result(run_id) == [["a reserved", "b reserved"], end]


def test_the_example_charges_in_threads(examples: list[Any]) -> None:
    with Harness() as harness:
        run_id = harness.trigger(examples[1].charge_all, [1, 2])
        harness.run_until_idle()
        assert harness.result(run_id) == [1, 2]
        assert harness.steps(run_id) == {"branch-1/charge": 1, "branch-2/charge": 2}
