"""The examples of the page on durable queues run and do what the page says."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from support.modules import load
from support.pages import page
from trigger_celery import TriggerOptions, get_queue
from trigger_celery.config import Config
from trigger_celery.declare.declared_queues import limits_in_settings
from trigger_celery.declare.queue import queues
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.records import Limits, Rate

WELCOME, SETTINGS, EVENTS, MANAGING = page("queues").blocks("python")


@pytest.fixture
def example(tmp_path: Path) -> Iterator[ModuleType]:
    """Import the page; forget its queues afterwards."""
    try:
        yield load(tmp_path / "documented_queues.py", f"{WELCOME.text}\n\n{EVENTS.text}")
    finally:
        for queue in ("email-processing", "payments"):
            queues.remove(queue)


def test_every_mail_is_sent_and_no_more_start_than_the_rate_allows(example: ModuleType) -> None:
    with Harness() as harness:
        harness.engine.tasks.add(example.send_welcome_email.durable)
        harness.sweep()  # it stores what is declared
        began = harness.clock.now
        handles = example.welcome("t1", [f"{n}@example.com" for n in range(25)])
        harness.run_until_idle()
        runs = [harness.stored(handle.id) for handle in handles]
        assert {harness.result(run.id) for run in runs} == {
            f"welcomed {n}@example.com" for n in range(25)
        }
        assert {(run.spec.queue, run.spec.concurrency_key, run.spec.priority) for run in runs} == {
            ("email-processing", "t1", 60)
        }
        starts = sorted(run.started_at - began for run in runs if run.started_at is not None)
        assert all(start >= timedelta(seconds=0.6) * n for n, start in enumerate(starts))


def test_a_run_that_an_event_starts_has_the_key_of_its_function(example: ModuleType) -> None:
    with Harness() as harness:
        harness.engine.tasks.add(example.book_payment.durable)
        harness.sweep()
        harness.send_event("paid", {"tenant": "t1", "amount": 7})
        [run_id] = harness.memory.open_runs()
        run = harness.stored(run_id)
        assert (run.spec.queue, run.spec.concurrency_key) == ("payments", "t1")
        harness.run_until_idle()
        assert harness.result(run_id) == 7


def test_code_throttles_a_queue_that_is_too_long_and_pauses_everything() -> None:
    found: dict[str, Any] = {}
    exec(compile(MANAGING.text, "queues.md", "exec"), found)
    with Harness() as harness:
        harness.memory.queues.declare({"mails": Limits(concurrency=0)})
        task = harness.task(lambda: None, name="mail")
        for _ in range(1_000):
            trigger(harness.engine, task, options=TriggerOptions(queue="mails"))
        found["throttle"]("mails")
        assert get_queue("mails").overridden == ()
        trigger(harness.engine, task, options=TriggerOptions(queue="mails"))
        found["throttle"]("mails")
        assert get_queue("mails").limits == Limits(
            concurrency=50, rate=Rate(interval=timedelta(seconds=0.1))
        )
        found["stop_everything"]()
        assert get_queue("mails").stopped == "everything is paused"


def test_the_example_of_settings_is_valid() -> None:
    found: dict[str, Any] = {}
    exec(compile(SETTINGS.text, "queues.md", "exec"), found)
    config = Config.from_mapping(found["TRIGGER_CELERY"])
    assert config.concurrency_limit == 200
    limits = {name: Limits(**given) for name, given in limits_in_settings(config).items()}
    assert limits == {
        "email-processing": Limits(concurrency=5, rate=Rate(interval=timedelta(seconds=0.6))),
        "reports": Limits(concurrency=2, key_rate=Rate(interval=timedelta(minutes=6), burst=3)),
    }
