"""System checks: each mistake that would lose work is found and named."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from celery import current_app, shared_task
from django.core.checks import CheckMessage, run_checks
from django.db import DatabaseError, connections
from django.db.migrations.recorder import MigrationRecorder

from support.databases import child_environment
from trigger_celery import Queue, durable_task, now, step
from trigger_celery.declare.queue import queues
from trigger_celery.errors import DeclarationError
from trigger_celery.testing.contract.tools import new_run
from trigger_celery_django.checks import check_migrations, check_setup, check_unknown_tasks
from trigger_celery_django.store import DjangoStore

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
    found = run_checks(databases=[])  # Django's own checks of models would open all of them
    assert [message for message in found if str(message.id).startswith("trigger")] == []


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


def test_eager_tasks_are_warned_of(celery_setting: Callable[[str, object], None]) -> None:
    celery_setting("task_always_eager", True)
    (message,) = found("W008")
    assert "task_always_eager" in message.msg
    assert not message.is_serious()


@pytest.mark.parametrize("name", ["pickle", "application/x-python-serialize", "Pickle"])
def test_pickled_messages_are_warned_of(
    celery_setting: Callable[[str, object], None], name: str
) -> None:
    celery_setting("accept_content", ["json", name])
    (message,) = found("W009")
    assert "accept_content" in message.msg
    assert not message.is_serious()


def test_a_beat_entry_for_the_sweep_of_older_releases_is_an_error(
    celery_setting: Callable[[str, object], None],
) -> None:
    celery_setting("beat_schedule", {"own": {"task": "trigger_celery.sweep", "schedule": 5}})
    (message,) = found("E004")
    assert "'own'" in message.msg
    celery_setting("beat_schedule", {"mine": {"task": "report", "schedule": 5}})
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


def test_snapshots_that_are_older_than_a_lock_are_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    levels = pytest.importorskip("psycopg").IsolationLevel
    connection = connections["default"]
    monkeypatch.setattr(connection, "vendor", "postgresql")
    for level in (levels.REPEATABLE_READ, levels.SERIALIZABLE):
        monkeypatch.setitem(connection.settings_dict, "OPTIONS", {"isolation_level": level})
        (message,) = found("E006")
        assert level.name.replace("_", " ").lower() in message.msg
        assert "limits" in message.msg
    for options in ({}, {"isolation_level": levels.READ_COMMITTED}):
        monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
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


@pytest.fixture
def queue() -> Iterator[Queue]:
    """Return a durable queue of this test alone."""
    yield Queue("mails", concurrency_limit=10, key_limit=2)
    queues.remove("mails")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"mails": {"concurrency_limit": -1}}, "concurrency_limit of TRIGGER_CELERY"),
        ({"mails": {"limit": 1}}, "has no limit 'limit'"),
        ({"mails": {"rate_limit": [0, 60]}}, "the limit of a RateLimit"),
        ({"*": {}}, "begin with neither"),
    ],
)
def test_limits_in_settings_that_make_no_sense_are_an_error(
    settings: Settings, queue: Queue, given: dict[str, object], text: str
) -> None:
    settings.TRIGGER_CELERY = {"QUEUES": given}
    (message,) = found("E010")
    assert text in message.msg
    assert message.is_serious()
    assert {each.id for each in check_setup()} == {"trigger_celery.E010"}


def test_each_setting_that_makes_no_sense_gives_one_message(settings: Settings) -> None:
    settings.TRIGGER_CELERY = {"CONCURRENCY_LIMIT": -1, "QUEUES": {"*": {}}}
    (message,) = check_setup()
    assert (message.id, "CONCURRENCY_LIMIT" in message.msg) == ("trigger_celery.E001", True)


def test_a_queue_of_code_with_other_limits_in_settings_is_warned_of(
    settings: Settings, queue: Queue
) -> None:
    same = {"concurrency_limit": 10}
    settings.TRIGGER_CELERY = {"QUEUES": {"mails": same, "other": {"key_limit": 7}}}
    assert found("W004") == []
    settings.TRIGGER_CELERY = {"QUEUES": {"mails": {**same, "key_limit": 1, "rate_limit": [1, 1]}}}
    (message,) = found("W004")
    assert "Queue 'mails' has one key_limit, rate_limit in code" in message.msg
    assert "The settings win" in str(message.hint)
    assert not message.is_serious()


@pytest.mark.filterwarnings("ignore::celery.exceptions.CDeprecationWarning")
def test_a_broker_queue_with_the_name_of_a_durable_queue_is_warned_of(queue: Queue) -> None:
    @durable_task(name="routed-by-text", queue="mails")
    def routed() -> None: ...

    @durable_task(name="in-the-queue", queue=queue)
    def in_the_queue() -> None: ...

    @durable_task(name="routed-elsewhere", queue="other")
    def elsewhere() -> None: ...

    (message,) = found("W005")
    assert "'routed-by-text' has queue='mails', a text" in message.msg


def test_queues_of_modules_that_are_not_imported_are_checked_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.TRIGGER_CELERY = {"QUEUES": {"late": {"concurrency_limit": 1}}}
    monkeypatch.setattr(
        "trigger_celery_django.checks.setup.discover", lambda: Queue("late", concurrency_limit=0)
    )
    try:
        assert ["'late'" in message.msg for message in found("W004")] == [True]
    finally:
        queues.remove("late")


def test_a_module_that_cannot_be_imported_is_warned_of_and_hides_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ExceptionGroup("not imported", [ImportError("no module named 'lost'"), OSError("x")])

    monkeypatch.setattr("trigger_celery_django.checks.setup.discover", fail)
    settings.TRIGGER_CELERY = {"CONCURRENCY_LIMIT": 0}
    warned, noted = check_setup()
    assert (warned.id, noted.id) == ("trigger_celery.W006", "trigger_celery.I001")
    assert "ImportError: no module named 'lost'; OSError: x." in warned.msg
    assert not warned.is_serious()


def test_a_limit_of_zero_is_reported(settings: Settings, queue: Queue) -> None:
    assert found("I001") == []
    settings.TRIGGER_CELERY = {
        "CONCURRENCY_LIMIT": 0,
        "QUEUES": {"mails": {"concurrency_limit": 0}, "other": {"concurrency_limit": 1}},
    }
    assert sorted(message.msg.split(" is paused ")[0] for message in found("I001")) == [
        "Queue 'mails'",
        "The deployment",
    ]


def test_a_body_that_reads_the_clock_is_warned_of() -> None:
    @durable_task(name="reads-the-clock")
    def reads_the_clock() -> str:
        return str(datetime.now())

    @durable_task(name="asks-for-the-time")
    def asks_for_the_time() -> str:
        return str(now())

    (message,) = found("W001")
    assert "'reads-the-clock' calls datetime.datetime.now" in message.msg
    assert not message.is_serious()


async def _plain(number: int) -> int:
    return number


async def _with_a_step(number: int) -> int:
    return await step.run("plain", _plain, number)


def test_a_helper_that_an_explicit_body_awaits_without_a_record_is_warned_of() -> None:
    recorded = step(_plain)

    @durable_task(name="explicit-body", checkpoint="explicit")
    async def explicit_body() -> int:
        await _with_a_step(1)
        await recorded(1)
        await asyncio.sleep(0)
        await step.run("plain", _plain, 1)
        return await _plain(1)

    @durable_task(name="automatic-body")
    async def automatic_body() -> int:
        return await _plain(1)

    (message,) = found("W011")
    assert "'explicit-body' awaits _plain on line" in message.msg
    assert "@step" in str(message.hint)
    assert not message.is_serious()


def test_a_database_that_is_away_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*args: object) -> None:
        raise DatabaseError("no server answers")

    monkeypatch.setattr("trigger_celery_django.checks.setup.MigrationExecutor", away)
    (message,) = check_migrations(databases=["default"])
    assert (message.id, "no server answers" in message.msg) == ("trigger_celery.W002", True)


@pytest.mark.django_db
def test_a_migration_that_is_not_applied_is_warned_of() -> None:
    assert check_migrations(databases=["default"]) == []
    MigrationRecorder(connections["default"]).record_unapplied("trigger_celery", "0001_initial")
    (message,) = check_migrations(databases=["default"])
    assert message.id == "trigger_celery.W003"
    assert "trigger_celery.0001_initial" in message.msg


@pytest.mark.django_db
def test_runs_of_a_task_that_no_module_declares_are_warned_of() -> None:
    names = ["gone", "gone", "linear"]  # the last is the project's
    DjangoStore().runs.create([replace(new_run(), task=name) for name in names])
    (message,) = check_unknown_tasks(databases=["default"])
    assert (message.id, message.msg[:22]) == ("trigger_celery.W012", "2 runs of the task 'go")
    assert message.hint is not None
    assert "aliases=['gone']" in message.hint
    assert check_unknown_tasks(databases=[]) == []


def test_databases_that_a_check_did_not_name_are_left_alone() -> None:
    assert check_migrations(databases=None) == []
    assert check_migrations(databases=["other"]) == []


def test_a_plain_task_around_a_durable_one_is_an_error() -> None:
    def body() -> None: ...

    durable_task(name="wrapped-inside")(body)
    app: Any = current_app
    plain = app._task_from_fun(app.tasks["wrapped-inside"], name="wrapped-outside")
    try:
        (message,) = found("E011")
    finally:
        app.tasks.pop(plain.name)
    assert message.is_serious()
    assert "'wrapped-outside'" in message.msg
    assert "'wrapped-inside'" in message.msg
    assert "Take @shared_task" in str(message.hint)


def test_a_durable_task_of_a_task_is_refused_with_the_cure() -> None:
    @shared_task(name="plain-already")
    def plain() -> None: ...

    with pytest.raises(DeclarationError, match="take the other decorator away"):
        durable_task(name="made-of-a-task")(plain)
