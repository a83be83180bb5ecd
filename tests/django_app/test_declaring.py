"""After migrations the database knows what starts the project's tasks, and what limits them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from io import StringIO

import pytest
from celery import current_app
from django.apps import apps
from django.apps.registry import Apps
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS
from django.db.models.signals import post_migrate

from trigger_celery import Event, durable_task
from trigger_celery.client.access import installed_engine
from trigger_celery.declare.queue import Queue, queues
from trigger_celery_django.models import DurableQueue, Subscription

pytestmark = pytest.mark.django_db(transaction=True)
NAME = "started-after-migrations"


@pytest.fixture(autouse=True)
def task() -> Iterator[None]:
    """Declare a task that an event starts."""

    @durable_task(name=NAME, on_event="migrated", filter={"n": 1})
    def body(event: Event) -> None: ...

    yield
    Subscription.objects.all().delete()
    installed_engine().subscribed.clear()


def migrated(applied: Apps = apps) -> None:
    """Send what Django sends after migrations that made the models of ``applied``."""
    config = apps.get_app_config("trigger_celery")
    post_migrate.send(config, app_config=config, using=DEFAULT_DB_ALIAS, apps=applied, verbosity=0)


def test_a_migration_stores_what_is_declared() -> None:
    migrated()
    row = Subscription.objects.get(task=NAME)
    assert (row.name, row.filter) == ("migrated", '{"n": "1"}')
    Subscription.objects.all().delete()
    migrated()
    assert Subscription.objects.filter(task=NAME).exists()


def test_a_migration_stores_limits_again_that_a_flush_has_taken() -> None:
    queue = Queue("declared-by-code", concurrency_limit=3)
    try:
        migrated()
        DurableQueue.objects.all().delete()
        migrated()
        stored = installed_engine().store.queues.get(queue.name)
        assert stored is not None
        assert stored.limits == queue.limits
    finally:
        queues.remove(queue.name)
        DurableQueue.objects.all().delete()
        installed_engine().stored_queues.forget()


def test_a_database_without_runs_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    Subscription.objects.all().delete()
    monkeypatch.setattr(installed_engine().store, "alias", "elsewhere")
    migrated()
    assert not Subscription.objects.exists()


def test_a_task_that_cannot_be_imported_does_not_stop_a_migration(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(current_app.loader, "default_modules", ("no_such_module",))
    with caplog.at_level(logging.ERROR):
        migrated()
    assert "the first sweep does it" in caplog.text
    assert "No module named 'no_such_module'" in caplog.text


def test_the_sweep_command_stores_what_is_declared() -> None:
    Subscription.objects.all().delete()
    installed_engine().subscribed.clear()
    call_command("trigger_sweep", stdout=StringIO())
    assert Subscription.objects.get(task=NAME).name == "migrated"


def test_migrations_that_do_not_go_so_far_store_nothing() -> None:
    Subscription.objects.all().delete()
    migrated(Apps())
    assert not Subscription.objects.exists()
