"""Every example of the documentation runs and does what the page says."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from django.db.models import F
from django.urls import include, path

from support.databases import TESTS
from support.modules import load
from support.pages import PAGES, ROOT, Page, page
from trigger_celery import (
    DurableTask,
    TriggerOptions,
    complete_token,
    durable_task,
    retry_run,
    step,
)
from trigger_celery.client.access import installed_engine
from trigger_celery.config import Config
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.testing import Harness, drain
from trigger_celery.values.registry import registry
from trigger_celery_django.models import History, Run
from trigger_celery_django.signals import DjangoListeners, run_dead_lettered, step_failed
from trigger_celery_django.store import DjangoStore
from trigger_celery_django.testing import advance
from trigger_celery_django.webhooks.sources import source_of

NOW = timedelta(0)


def test_pages_with_python_are_those_whose_examples_are_run_here() -> None:
    run = {
        "README.md",
        "docs/index.md",
        "docs/how-to/child-runs.md",
        "docs/how-to/converting.md",
        "docs/how-to/events.md",
        "docs/how-to/managing-runs.md",
        "docs/how-to/parallel.md",
        "docs/how-to/queues.md",
        "docs/how-to/schedules.md",
        "docs/how-to/starting-runs.md",
        "docs/how-to/testing.md",
        "docs/how-to/tokens.md",
        "docs/how-to/writing-tasks.md",
        "docs/reference/http.md",
        "docs/reference/settings.md",
        "docs/how-to/production.md",
        "docs/reference/signals-and-hooks.md",
        "docs/tutorial/durable-task.md",
    }
    assert {page.name for page in PAGES if page.blocks("python")} == run


def imported(source: str, folder: Path) -> ModuleType:
    number = len(list(folder.glob("documented_*.py")))  # a name of its own for each task of a page
    return load(folder / f"documented_{number}.py", source)


@pytest.fixture(autouse=True)
def _classes_of_one_test() -> Iterator[None]:
    """Forget the classes that a page lets the codec store."""
    kept = [(held, dict(held)) for held in (registry.by_class, registry.by_name)]
    yield
    for held, before in kept:
        for added in held.keys() - before.keys():
            del held[added]  # type: ignore[arg-type]  # each dict has keys of its own


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
    example = imported(HERO + block.text + STEPS, tmp_path)
    with Harness() as harness:
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


def test_the_example_of_the_first_page_runs(tmp_path: Path) -> None:
    [block] = page("index").blocks("python")
    example = imported(block.text, tmp_path)
    with Harness() as harness:
        harness.engine.tasks.add(example.pay_for_order.durable)
        run_id = harness.trigger(example.pay_for_order.durable, 7)
        harness.run_until_idle()
        assert harness.result(run_id) == "ch-7"


def test_the_tutorial_ends_with_a_task_that_charges_once(tmp_path: Path) -> None:
    before, recorded, retried, *waiting = page("durable-task").blocks("python")
    example = imported(before.text, tmp_path)
    assert example.ship_order.max_retries == 3
    example = imported(recorded.text, tmp_path)
    with Harness() as harness:
        harness.engine.tasks.add(example.ship_order.durable)
        run_id = harness.trigger(example.ship_order.durable, 7)
        harness.run_until_idle()
        assert harness.run(run_id).state == "failed"
        assert list(harness.steps(run_id)) == ["charge"]
        example.carrier_answers.append(True)
        retry_run(run_id)
        harness.run_until_idle()
        assert harness.result(run_id) == ["payment-of-7", "label-of-7"]
    example = imported(retried.text, tmp_path)
    with Harness() as harness:
        harness.engine.tasks.add(example.ship_order.durable)
        began = harness.clock.now
        run_id = harness.trigger(example.ship_order.durable, 7)
        harness.run_until_idle()
        assert harness.result(run_id) == ["payment-of-7", "label-of-7"]
        assert harness.clock.now - began >= timedelta(seconds=30 + 60)
    example = imported("\n\n".join(block.text for block in waiting), tmp_path)
    example.test_a_delivered_parcel_is_reviewed()
    example.test_a_lost_parcel_opens_a_case_after_two_weeks()


@pytest.mark.django_db
def test_the_examples_of_production_delete_old_runs_and_no_others(tmp_path: Path) -> None:
    settings, forget = page("production").blocks("python")
    found: dict[str, int] = {}
    exec(compile(settings.text, "production.md", "exec"), found)
    assert found["CELERY_DB_REUSE_MAX"] > 0

    @durable_task(name="documented-old")
    def work(fails: bool) -> None:
        if fails:
            raise GatewayAway

    runs = {name: work.trigger(name == "failed").id for name in ("old", "failed", "new")}
    engine = installed_engine()
    assert isinstance(engine.store, DjangoStore)
    drain(
        engine,
        open_runs=lambda: [runs["old"], runs["failed"]],
        advance=partial(advance, engine.store),
    )
    Run.objects.update(finished_at=F("finished_at") - timedelta(days=91))
    Run.objects.update(published_at=F("finished_at"))
    example = imported(forget.text, tmp_path)
    assert [example.forget_runs(), example.forget_runs()] == [1, 0]
    assert set(Run.objects.values_list("pk", flat=True)) == {runs["failed"], runs["new"]}
    assert set(History.objects.values_list("run_id", flat=True)) == {
        runs["failed"],
        runs["new"],
    }


def test_the_examples_of_schedules_run(tmp_path: Path) -> None:
    source = "\n\n".join(block.text for block in page("schedules").blocks("python"))
    example = imported(source, tmp_path)
    example.test_the_report_is_sent_on_monday_morning()
    with Harness(now=datetime(2026, 3, 27, 12, tzinfo=UTC)) as harness:
        harness.engine.tasks.add(example.poll.durable)
        example.customer_signed_up("ann")
        harness.advance(timedelta(hours=1))
        assert len(harness.run_until_idle()) == 1
        assert harness.memory.schedules.get("poll-ann") is not None


@pytest.mark.django_db
def test_the_examples_of_writing_tasks_run(tmp_path: Path) -> None:
    source = "\n\n".join(block.text for block in page("writing-tasks").blocks("python"))
    example = imported(source, tmp_path)
    with Harness() as harness:
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


def test_the_example_of_events_starts_a_run_and_wakes_it(tmp_path: Path) -> None:
    source = "\n\n".join(block.text for block in page("events").blocks("python"))
    order, payment = SimpleNamespace(id="o-1"), SimpleNamespace(id="p-1", total=120)
    example = imported(source, tmp_path)
    with Harness() as harness:
        harness.engine.tasks.add(example.ship_order.durable)
        harness.sweep()
        for _ in range(2):
            example.payment_arrived(order, payment)
        example.payment_arrived(order, SimpleNamespace(id="p-2", total=99))
        segments = harness.run_until_idle(max_virtual_time=NOW)
        [run] = {executed.run.id for executed in segments if executed.run is not None}
        harness.send_event("parcel.packed", {"order": {"id": "o-1"}})
        harness.run_until_idle(max_virtual_time=NOW)
        assert harness.result(run) == "reserved o-1"


def test_the_example_of_tokens_waits_for_the_answer(tmp_path: Path) -> None:
    source = "\n\n".join(block.text for block in page("tokens").blocks("python"))
    mails: list[str] = []
    example = imported(source, tmp_path)
    with Harness() as harness:
        vars(example)["mail"] = lambda to, text: mails.append(text)
        harness.engine.tasks.add(example.spend.durable)
        asked, ignored = (harness.trigger(example.spend.durable, 7) for _ in range(2))
        harness.run_until_idle(max_virtual_time=NOW)
        complete_token(harness.steps(asked)["create_token"], {"approved": True})
        harness.run_until_idle()
        assert (harness.result(asked), harness.result(ignored)) == ("spent", "kept")
        assert [text.partition("/")[0] for text in mails] == ["May we spend it? "] * 2


class Order:
    """Something that can be saved."""

    pk = 7
    saved = False

    def save(self) -> None:
        """Save it."""
        self.saved = True


@pytest.mark.django_db
def test_the_example_of_starting_makes_a_run_beside_the_order(tmp_path: Path) -> None:
    blocks = page("writing-tasks").blocks("python")
    [source] = [block.text for block in blocks if "def place_order" in block.text]
    order = Order()
    example = imported(source, tmp_path)

    @durable_task(name="documented-order")
    def process_order(order_id: int) -> None: ...

    example.place_order(order, process_order)
    assert order.saved
    assert Run.objects.get().task == "documented-order"


def test_the_examples_of_starting_runs_start_them(tmp_path: Path) -> None:
    source = page("starting-runs").blocks("python")[0].text
    order = SimpleNamespace(id="o-1", save=lambda: None)
    example = imported(source, tmp_path)
    with Harness() as harness:
        harness.engine.tasks.add(example.process_order.durable)
        vars(example)["transaction"] = SimpleNamespace(atomic=harness.memory.transaction)
        first, second = example.checkout(order), example.checkout(order)
        assert (first.id, first.created, second.created) == (second.id, True, False)
        handles = [first, *example.import_all(["o-2", "o-3"]), example.elsewhere("o-4")]
        handles += [example.edited("o-5"), example.edited("o-5")]
        assert handles[-1].id == handles[-2].id
        harness.run_until_idle()
        assert [handle.result() for handle in handles] == [
            "o-1 express",
            *(f"o-{number} standard" for number in (2, 3, 4, 5, 5)),
        ]
        assert harness.stored(first.id).spec.tags == ("orders", "vip")


def test_the_example_of_async_views_starts_a_run_and_cancels_it(tmp_path: Path) -> None:
    source = page("starting-runs").blocks("python")[1].text
    ann = SimpleNamespace(user=SimpleNamespace(username="ann"))
    example = imported(source, tmp_path)
    with Harness() as harness:

        @durable_task(name="documented-view")
        def charge(order_id: str) -> None: ...

        vars(example).update(charge=charge, JsonResponse=lambda data: data)
        run_id = UUID(asyncio.run(example.order(ann, "o-1"))["run"])
        assert harness.stored(run_id).spec.tags == ("web",)
        assert asyncio.run(example.stop(ann, run_id)) == {"canceled": True, "state": "canceled"}


class GatewayAway(Exception):
    """The gateway is away."""


def test_the_example_of_managing_runs_forks_reruns_and_pauses(tmp_path: Path) -> None:
    charge = step(name="charge")(_charged)

    def order(gateway: str) -> str:
        if charge(gateway) == "main":
            raise GatewayAway
        return gateway

    source = page("managing-runs").blocks("python")[0].text
    example = imported(source, tmp_path)
    with Harness() as harness:
        failed = harness.trigger(harness.task(order, no_retry_for=(GatewayAway,)), gateway="main")
        harness.run_until_idle()
        forked = example.repair(failed)
        example.hold(forked)
        harness.run_until_idle()
        example.release(forked)
        harness.run_until_idle()
        assert harness.result(forked) == "backup"
        again = example.repair(forked)
        harness.run_until_idle()
        assert harness.result(again) == "backup"


def test_the_example_of_lists_cancels_every_run_of_a_tag(tmp_path: Path) -> None:
    source = page("managing-runs").blocks("python")[1].text
    example = imported(source, tmp_path)
    with Harness() as harness:
        task = harness.task(lambda: None, name="nothing")
        tagged = TriggerOptions(tags=["old"])
        runs = [trigger(harness.engine, task, options=tagged) for _ in "abc"]
        kept = harness.trigger(task)
        assert example.cancel_all("old") == 3
        assert {str(harness.run(each).state) for each in runs} == {"canceled"}
        assert harness.run(kept).state == "queued"


def _charged(gateway: str) -> str:
    return gateway


def test_the_examples_of_signals_and_hooks_are_called(tmp_path: Path) -> None:
    source = "\n\n".join(block.text for block in page("signals-and-hooks").blocks("python"))
    example = imported(source, tmp_path)
    with Harness() as harness:
        harness.engine.listeners = DjangoListeners()
        harness.engine.tasks.add(example.pay.durable)
        paid, declined, slow = (
            harness.trigger(example.pay.durable, card) for card in ("visa", "declined", "slow")
        )
        harness.run_until_idle(max_virtual_time=NOW)
        assert harness.result(paid) == "charged visa"
        assert harness.run(declined).attempt == 1
        assert example.calls[:1] == ["tell: completed"]
        assert example.calls[1:] == ["release after 1: CardDeclined", "tell: failed"]
        harness.cancel(slow, "too slow")
        harness.run_until_idle()
        assert example.calls[3:] == ["canceled: too slow", "tell: canceled"]
        assert example.alerts == ["charge 1", "orders.pay failed: CardDeclined", "charge 1"]
        assert run_dead_lettered.disconnect(example.alert)
        assert step_failed.disconnect(example.count, sender="orders.pay")


def test_the_examples_of_settings_are_valid() -> None:
    found: dict[str, dict[str, object]] = {}
    for block in page("settings").blocks("python"):
        exec(compile(block.text, "settings.md", "exec"), found)
    assert Config.from_mapping(found["TRIGGER_CELERY"]) == Config()
    assert found["DATABASES"]["default"]["OPTIONS"]["transaction_mode"] == "IMMEDIATE"  # type: ignore[index]


def test_the_examples_of_http_are_valid() -> None:
    found: dict[str, Any] = {
        "env": lambda name: name.ljust(16, "x"),
        "path": path,
        "include": include,
    }
    for block in page("http").blocks("python"):
        exec(compile(block.text, "http.md", "exec"), found)
    (ours,) = found["urlpatterns"]
    assert ours.resolve("durable/webhooks/billing/").kwargs == {"source": "billing"}
    given = Config.from_mapping(found["TRIGGER_CELERY"]).webhooks
    stripe: Any = given["stripe"]
    assert stripe.pop("event") == "shop.hooks.stripe_event"
    assert [source_of(name, each).scheme for name, each in given.items()] == [
        "standard",
        "github",
        "stripe",
    ]


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


def test_the_examples_of_child_runs_run(tmp_path: Path) -> None:
    source = "\n\n".join(block.text for block in page("child-runs").blocks("python"))
    example = imported(source, tmp_path)
    with Harness() as harness:
        for task in (example.resize, example.publish_picture, example.publish_album):
            harness.engine.tasks.add(task.durable)
        album = harness.trigger(example.publish_album.durable, ["sea", "sky"])
        harness.run_until_idle()
        sizes = (80, 320, 640)
        assert harness.result(album) == [
            [f"sea-{size}" for size in sizes],
            [f"sky-{size}" for size in sizes],
            "no cover: ValueError",
        ]
