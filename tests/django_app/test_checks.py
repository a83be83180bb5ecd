"""System checks: each mistake that would lose work is found and named."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from celery import current_app
from django.core.checks import CheckMessage, run_checks
from django.db import DatabaseError, connections
from django.db.migrations.recorder import MigrationRecorder

from support.databases import child_environment
from trigger_celery import durable_task, now
from trigger_celery.authoring.definition import registry
from trigger_celery_django.checks import check_migrations, check_setup

Settings = Any
"""pytest-django's fixture, which has no public type."""


def found(ids: str) -> list[CheckMessage]:
    """Return the messages of our checks with this id."""
    return [message for message in check_setup() if message.id == f"trigger_celery.{ids}"]


@pytest.fixture
def celery_setting() -> Iterator[Callable[[str, object], None]]:
    """Return a function that changes a setting of Celery until the test ends."""
    before: dict[str, object] = {}

    def change(name: str, value: object) -> None:
        before.setdefault(name, getattr(current_app.conf, name))
        setattr(current_app.conf, name, value)

    yield change
    for name, value in before.items():
        setattr(current_app.conf, name, value)


def test_the_test_project_has_nothing_to_complain_about() -> None:
    assert [message for message in run_checks() if str(message.id).startswith("trigger")] == []


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"MAX_CRASHS": 5}, "did you mean 'MAX_CRASHES'?"),
        ({"MAX_CRASHES": "five"}, "expected TRIGGER_CELERY['MAX_CRASHES'] to be a whole number"),
    ],
)
def test_settings_that_make_no_sense_are_an_error(
    settings: Settings, given: dict[str, object], text: str
) -> None:
    settings.TRIGGER_CELERY = given
    (message,) = found("E001")
    assert text in message.msg
    assert message.is_serious()


def test_settings_that_make_no_sense_do_not_keep_the_check_from_running() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "django", "check"],
        env={**child_environment(), "TC_SETTINGS": '{"MAX_CRASHS": 5}'},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "trigger_celery.E001" in done.stderr
    assert "Traceback" not in done.stderr


def test_eager_tasks_are_an_error(celery_setting: Callable[[str, object], None]) -> None:
    celery_setting("task_always_eager", True)
    (message,) = found("E002")
    assert "task_always_eager" in message.msg


@pytest.mark.parametrize("name", ["pickle", "application/x-python-serialize", "Pickle"])
def test_pickled_messages_are_an_error(
    celery_setting: Callable[[str, object], None], name: str
) -> None:
    celery_setting("accept_content", ["json", name])
    (message,) = found("E003")
    assert "accept_content" in message.msg


def test_a_missing_sweep_is_an_error(
    settings: Settings, celery_setting: Callable[[str, object], None]
) -> None:
    settings.TRIGGER_CELERY = {"SWEEP_INTERVAL": 0}
    celery_setting("beat_schedule", {})
    (message,) = found("E004")
    assert "trigger_sweep --loop" in str(message.hint)
    celery_setting("beat_schedule", {"own": {"task": "trigger_celery.sweep", "schedule": 5}})
    assert found("E004") == []


def test_sqlite_without_immediate_transactions_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = connections["default"]
    monkeypatch.setattr(connection, "vendor", "sqlite")
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {"transaction_mode": "DEFERRED"})
    (message,) = found("E005")
    assert "IMMEDIATE" in str(message.hint)
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {"transaction_mode": "IMMEDIATE"})
    assert found("E005") == []


def test_gap_locks_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = connections["default"]
    monkeypatch.setattr(connection, "vendor", "mysql")
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {"isolation_level": "repeatable read"})
    (message,) = found("E006")
    assert "repeatable read" in message.msg
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {"isolation_level": "READ COMMITTED"})
    assert found("E006") == []


def test_naive_times_are_an_error(settings: Settings) -> None:
    settings.USE_TZ = False
    (message,) = found("E007")
    assert message.is_serious()
    assert "USE_TZ = True" in str(message.hint)


@pytest.mark.parametrize(
    ("zone", "instants", "count"),
    [
        (None, False, 0),
        ("UTC", False, 0),
        ("Europe/Paris", False, 1),
        ("Europe/Paris", True, 0),
    ],
)
def test_a_database_that_keeps_local_times_is_an_error(
    monkeypatch: pytest.MonkeyPatch, zone: str | None, instants: bool, count: int
) -> None:
    connection = connections["default"]
    monkeypatch.setitem(connection.settings_dict, "TIME_ZONE", zone)
    monkeypatch.setattr(connection.features, "supports_timezones", instants)
    assert ["'Europe/Paris'" in message.msg for message in found("E008")] == [True] * count


def test_a_body_that_reads_the_clock_is_warned_of() -> None:
    @durable_task(name="reads-the-clock")
    def reads_the_clock() -> str:
        return str(datetime.now())

    @durable_task(name="asks-for-the-time")
    def asks_for_the_time() -> str:
        return str(now())

    try:
        (message,) = found("W001")
    finally:
        for name in ("reads-the-clock", "asks-for-the-time"):
            registry.remove(name)
            current_app.tasks.pop(name, None)
    assert "'reads-the-clock' calls datetime.datetime.now" in message.msg
    assert not message.is_serious()


def test_a_database_that_is_away_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*args: object) -> None:
        raise DatabaseError("nobody answers")

    monkeypatch.setattr("trigger_celery_django.checks.MigrationExecutor", away)
    (message,) = check_migrations(databases=["default"])
    assert (message.id, "nobody answers" in message.msg) == ("trigger_celery.W002", True)


@pytest.mark.django_db
def test_a_migration_that_is_not_applied_is_warned_of() -> None:
    assert check_migrations(databases=["default"]) == []
    MigrationRecorder(connections["default"]).record_unapplied("trigger_celery", "0001_initial")
    (message,) = check_migrations(databases=["default"])
    assert message.id == "trigger_celery.W003"
    assert "trigger_celery.0001_initial" in message.msg


def test_databases_that_nobody_asked_for_are_left_alone() -> None:
    assert check_migrations(databases=None) == []
    assert check_migrations(databases=["other"]) == []
