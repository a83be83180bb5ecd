"""Every example of the documentation runs and does what the page says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from celery import current_app

from support.databases import TESTS
from support.pages import PAGES, ROOT, Page, page
from trigger_celery import DurableTask, durable_task
from trigger_celery.authoring.definition import registry
from trigger_celery.config import Config
from trigger_celery.testing import Harness
from trigger_celery_django.models import Run

NOW = timedelta(0)


def test_pages_with_python_are_those_whose_examples_are_run_here() -> None:
    run = {"README.md", "docs/settings.md", "docs/testing.md", "docs/writing-tasks.md"}
    assert {page.name for page in PAGES if page.blocks("python")} == run


@contextmanager
def imported(source: str, folder: Path) -> Iterator[ModuleType]:
    """Import an example from a file, as async bodies need one; forget its tasks afterwards."""
    path = folder / "documented_example.py"
    path.write_text(source, encoding="utf-8")
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    before = {definition.name for definition in registry}
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        for name in {definition.name for definition in registry} - before:
            registry.remove(name)
            current_app.tasks.pop(name, None)


HERO = """
from datetime import timedelta

from trigger_celery import wait_for_event

done = []


class gateway:
    def charge(total):
        done.append(f"charge {total}")
        if len(done) == 2:
            raise OSError("the gateway is away")
        return {"id": "ch-1"}


def fetch_order_plain(order_id):
    done.append("fetch")
    return {"total": 7}


async def fetch_document(document_id):
    return {"approver": "ann"}


async def send_email(to):
    done.append(f"mail {to}")


async def publish_document(document_id):
    done.append(f"publish {document_id}")
"""
STEPS = """

fetch_order = step(fetch_order_plain)


@step
def decrement_inventory(order):
    done.append("decrement")
"""


def test_the_first_example_of_the_readme_does_what_it_says(tmp_path: Path) -> None:
    block = Page(ROOT / "README.md").blocks("python")[0]
    with imported(HERO + block.text + STEPS, tmp_path) as example, Harness() as harness:
        for task in (example.process_order, example.approval_flow):
            harness.engine.tasks.add(task.durable)
        order = harness.trigger(example.process_order.durable, "o-1")
        harness.run_until_idle()
        assert harness.result(order) == {"order_id": "o-1", "charge_id": "ch-1"}
        assert example.done == ["fetch", "charge 7", "charge 7", "decrement"]
        flow = harness.trigger(example.approval_flow.durable, "d-1")
        harness.run_until_idle(max_virtual_time=NOW)
        assert example.done[4:] == ["mail ann"]
        harness.send_event("approval-received", {"documentId": "d-1", "status": "approved"})
        harness.run_until_idle(max_virtual_time=NOW)
        assert harness.result(flow) is None
        assert example.done[4:] == ["mail ann", "publish d-1"]


@pytest.mark.django_db
def test_the_examples_of_writing_tasks_run(tmp_path: Path) -> None:
    source = "\n\n".join(block.text for block in page("writing-tasks").blocks("python"))
    with imported(source, tmp_path) as example, Harness() as harness:
        for task in (example.pay_order, example.approve_document):
            assert isinstance(task, DurableTask)
            harness.engine.tasks.add(task.durable)
        payment = harness.trigger(example.pay_order.durable, 7)
        approval = harness.trigger(example.approve_document.durable, "d-1")
        harness.run_until_idle(max_virtual_time=NOW)
        assert harness.result(payment) == "ch-7"
        assert harness.steps(payment)["charge"]["key"]
        assert list(harness.steps(approval)) == ["fetch_document", "send_email"]
        harness.send_event("approval-received", {"documentId": "d-1", "status": "approved"})
        harness.run_until_idle(max_virtual_time=NOW)
        assert harness.result(approval) == "approved"


class Order:
    """Something that can be saved."""

    pk = 7
    saved = False

    def save(self) -> None:
        """Save it."""
        self.saved = True


@pytest.mark.django_db
def test_the_example_of_starting_makes_a_run_beside_the_order(tmp_path: Path) -> None:
    source = page("writing-tasks").blocks("python")[-1].text
    order = Order()
    with imported(source, tmp_path) as example:

        @durable_task(name="documented-order")
        def process_order(order_id: int) -> None: ...

        example.place_order(order, process_order)
        registry.remove("documented-order")
        current_app.tasks.pop("documented-order")
    assert order.saved
    assert Run.objects.get().task == "documented-order"


def test_the_examples_of_settings_are_valid() -> None:
    found: dict[str, dict[str, object]] = {}
    for block in page("settings").blocks("python"):
        exec(compile(block.text, "settings.md", "exec"), found)
    assert Config.from_mapping(found["TRIGGER_CELERY"]) == Config()
    assert found["DATABASES"]["default"]["OPTIONS"]["transaction_mode"] == "IMMEDIATE"  # type: ignore[index]


def test_the_examples_of_testing_pass(tmp_path: Path) -> None:
    file = tmp_path / "test_documented.py"
    file.write_text("\n\n".join(block.text for block in page("testing").blocks("python")), "utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TC_TMP")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "setup.cfg")]
        + ["-o", f"pythonpath={TESTS}", "-p", "no:cacheprovider", str(file)],
        cwd=tmp_path,
        env=kept,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
