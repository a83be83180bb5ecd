"""The example of the page on parallel branches runs and does what the page says."""

from __future__ import annotations

import importlib.util
from datetime import timedelta
from pathlib import Path

import pytest
from celery import current_app

from support.pages import page
from trigger_celery.declare.definition import declared_tasks
from trigger_celery.testing import Harness


@pytest.mark.parametrize("name", ["fulfil", "fulfil_async"])
@pytest.mark.parametrize(("paid", "end"), [(True, "paid"), (False, "given up")])
def test_the_example_reserves_all_and_waits_for_one(
    tmp_path: Path, name: str, paid: bool, end: str
) -> None:
    [block] = page("parallel").blocks("python")
    path = tmp_path / "documented_parallel.py"
    path.write_text(block.text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        with Harness() as harness:
            task = getattr(module, name).durable
            harness.engine.tasks.add(task)
            run_id = harness.trigger(task, "o-1", ["a", "b"])
            harness.run_until_idle(timedelta(0))
            if paid:
                harness.send_event("paid", {"order": "o-1"})
            harness.run_until_idle(timedelta(days=4))
            assert harness.result(run_id) == [["a reserved", "b reserved"], end]
    finally:
        for each in ("fulfil", "fulfil-async"):
            declared_tasks.remove(each)
            current_app.tasks.pop(each, None)
