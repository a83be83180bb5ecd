"""System checks for the mistakes that would lose work, found before anything runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from celery import current_app
from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, router
from django.db.migrations.executor import MigrationExecutor

from trigger_celery.celery.install import discover
from trigger_celery.celery.task import DurableTask
from trigger_celery.celery.worker.own_tasks import SWEEP
from trigger_celery.declare.definition import declared_tasks
from trigger_celery.declare.determinism import nondeterministic_calls, unrecorded_awaits
from trigger_celery.errors import DeclarationError
from trigger_celery_django.checks.connection_pool import pool_problems
from trigger_celery_django.checks.queues import queue_problems
from trigger_celery_django.conf import config
from trigger_celery_django.models import Run
from trigger_celery_django.webhooks import sources

Found = Iterator[CheckMessage]


def _settings() -> Found:
    try:
        config()
    except DeclarationError as error:
        hint = "Correct the TRIGGER_CELERY dict in your settings."
        yield Error(str(error), hint=hint, id="trigger_celery.E001")


def _webhooks() -> Found:
    if list(_settings()):
        return
    try:
        for source in sources():
            source.check()
    except DeclarationError as error:
        hint = "See the page on webhooks: a source has a scheme, secrets and maybe an event."
        yield Error(str(error), hint=hint, id="trigger_celery.E009")


def _eager() -> Found:
    if current_app.conf.task_always_eager:
        yield checks.Warning(  # tests of many projects have it, and lose nothing by it
            "Celery runs tasks eagerly (task_always_eager): delay() executes a run in its caller, "
            "and one that waits goes on only where a worker or a sweep runs without the setting.",
            hint="Keep it for tests only, where trigger_celery_django.testing.drain() carries "
            "runs that wait to their end.",
            id="trigger_celery.W008",
        )


def _pickle() -> Found:
    for name, what in _CONTENT.items():
        accepted = {str(item).lower() for item in getattr(current_app.conf, name) or ()}
        if accepted & {"pickle", "application/x-python-serialize"}:
            yield checks.Warning(  # what our runs store and send is never pickled
                f"Celery accepts pickled {what} could run code in what reads them.",
                hint=f"Take 'pickle' out of {name}; 'trigger-json' stores what JSON cannot.",
                id="trigger_celery.W009",
            )


_CONTENT = {
    "accept_content": "messages (accept_content): anybody with access to the broker",
    "result_accept_content": "results (result_accept_content): anybody with access to the backend",
}


def _sweep() -> Found:
    schedule = current_app.conf.beat_schedule or {}
    for name, entry in schedule.items():
        if entry.get("task") == SWEEP:
            yield Error(
                f"The entry {name!r} of beat's schedule names the task {SWEEP!r}, which does "
                "nothing any more: beat and workers sweep by themselves.",
                hint="Remove the entry. TRIGGER_CELERY['SWEEPER'] says which processes sweep.",
                id="trigger_celery.E004",
            )


def _database() -> Found:
    alias = router.db_for_write(Run)
    connection = connections[alias]
    options: dict[str, Any] = connection.settings_dict.get("OPTIONS") or {}
    if connection.vendor == "sqlite" and options.get("transaction_mode") != "IMMEDIATE":
        yield Error(
            f"The SQLite database {alias!r} does not begin transactions IMMEDIATE: two "
            "writers would fail with 'database is locked' at once, without waiting.",
            hint=(
                'Set OPTIONS to {"transaction_mode": "IMMEDIATE", "timeout": 20, '
                '"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"}.'
            ),
            id="trigger_celery.E005",
        )
    isolation = _isolation(options.get("isolation_level"))
    if isolation != "read committed" and connection.vendor in _NOT_READ_COMMITTED:
        yield Error(
            f"The database {alias!r} uses the isolation level {isolation!r}: "
            f"{_NOT_READ_COMMITTED[connection.vendor]}.",
            hint="Leave isolation_level out of OPTIONS: Django's default is 'read committed'.",
            id="trigger_celery.E006",
        )


_NOT_READ_COMMITTED = {
    "mysql": "gap locks would make workers wait for each other and deadlock",
    "postgresql": "a transaction that waited for a lock would not see what was committed "
    "meanwhile, so durable "
    "queues would start more runs than their limits allow",
}


def _isolation(level: Any) -> str:
    """Return the name of an isolation level; for PostgreSQL it is psycopg's enumeration."""
    name = getattr(level, "name", level) or "read committed"
    return str(name).replace("_", " ").lower()


def _other_database() -> Found:
    alias = router.db_for_write(Run)
    if alias != DEFAULT_DB_ALIAS:
        yield checks.Warning(
            f"Runs are written to the database {alias!r}: what delay(), trigger() or send_event() "
            f"writes inside a transaction on {DEFAULT_DB_ALIAS!r} is there before that commits, "
            "and stays when it is rolled back.",
            hint="Let your routers write the app trigger_celery to the database of your own "
            "models, or start runs there with delay_on_commit() or apply_async_on_commit().",
            id="trigger_celery.W010",
        )


def _time_zone() -> Found:
    if not settings.USE_TZ:
        yield Error(
            "USE_TZ is False: Django then reads and writes local times without a zone, of which an "
            "hour comes twice each autumn, and the times of runs are compared in UTC: timers and "
            "leases would end hours early or late.",
            hint="Set USE_TZ = True. TIME_ZONE may stay: pages still show local times. What that "
            "changes for your own models is in Django's documentation of time zones; the page "
            "'Convert an existing Celery project' says more.",
            id="trigger_celery.E007",
        )
    alias = router.db_for_write(Run)
    connection = connections[alias]
    zone = connection.settings_dict.get("TIME_ZONE")
    # PostgreSQL stores instants; elsewhere the zone decides what a stored time means.
    if zone not in (None, "UTC") and not connection.features.supports_timezones:
        yield Error(
            f"The database {alias!r} keeps its times in the zone {zone!r}: those of runs are "
            "compared in UTC, so timers and leases would end hours early or late.",
            hint=f"Take TIME_ZONE out of DATABASES[{alias!r}]; Django's own setting may stay.",
            id="trigger_celery.E008",
        )


def _modules() -> Found:
    """Import the modules that declare tasks and queues: the checks after this one look at them."""
    try:
        discover()
    except ExceptionGroup as group:
        causes = "; ".join(f"{type(error).__name__}: {error}" for error in group.exceptions)
        yield checks.Warning(  # an error would keep "migrate" from running
            f"Not all modules that declare tasks could be imported: {causes}.",
            hint="Until they can be, no check looks at what they declare.",
            id="trigger_celery.W006",
        )


def _queues() -> Found:
    if not list(_settings()):
        yield from queue_problems(config())


def _plain_tasks() -> Found:
    if list(_settings()):  # the app cannot be finalized, and says that already
        return
    for name, task in current_app.tasks.items():
        inner = getattr(task, "__wrapped__", None)
        if isinstance(inner, DurableTask):
            yield Error(
                f"Task {name!r} is a plain task around the durable task {inner.name!r}: what "
                "calls it executes the body without any checkpoint.",
                hint="Take @shared_task (or @app.task) away: @durable_task alone makes it a "
                "Celery task, and takes the same options.",
                id="trigger_celery.E011",
            )


def _bodies() -> Found:
    for task in declared_tasks:
        for line, call in nondeterministic_calls(task.fn, also={"django.utils.timezone.now"}):
            yield checks.Warning(
                f"The body of durable task {task.name!r} calls {call} on line {line}: each "
                "replay gets another value, so the body may take another way.",
                hint="Use trigger_celery.now(), uuid4() or random(), or call it in a step.",
                obj=task.fn,
                id="trigger_celery.W001",
            )


def _explicit_bodies() -> Found:
    for task in declared_tasks:
        if not task.is_async or task.body is not task.fn:
            continue
        for line, helper in unrecorded_awaits(task.fn):
            yield checks.Warning(
                f"The body of durable task {task.name!r} awaits {helper} on line {line}, which is "
                "no step: with checkpoint='explicit' each replay calls it again.",
                hint=(
                    f"Decorate {helper} with @step, await step.run('{helper}', {helper}, ...), or "
                    "leave checkpoint= out. If it has no effect, silence this check."
                ),
                obj=task.fn,
                id="trigger_celery.W011",
            )


CHECKS: tuple[Callable[[], Found], ...] = (
    _settings,
    _eager,
    _pickle,
    _sweep,
    _database,
    _other_database,
    _time_zone,
    _webhooks,
    _modules,
    _queues,
    _plain_tasks,
    pool_problems,
    _bodies,
    _explicit_bodies,
)


@register()
def check_setup(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: object
) -> list[CheckMessage]:
    """Find settings and tasks under which durable runs would lose work."""
    return [message for check in CHECKS for message in check()]


@register(Tags.database)
def check_migrations(
    app_configs: Sequence[AppConfig] | None = None,
    databases: Sequence[str] | None = None,
    **kwargs: object,
) -> list[CheckMessage]:
    """Find migrations of ours that are not applied where runs are written."""
    alias = router.db_for_write(Run)
    if alias not in (databases or ()) or sys.argv[1:2] == ["migrate"]:
        return []
    try:
        executor = MigrationExecutor(connections[alias])
        targets = [n for n in executor.loader.graph.leaf_nodes() if n[0] == "trigger_celery"]
        missing = [migration for migration, _ in executor.migration_plan(targets)]
    except DatabaseError as error:
        return [
            checks.Warning(f"The database {alias!r} is away: {error}", id="trigger_celery.W002")
        ]
    return [
        checks.Warning(  # an error would keep "migrate" itself from running
            f"Migration {migration} is not applied to the database {alias!r}.",
            hint=f"Run 'manage.py migrate trigger_celery --database {alias}'.",
            id="trigger_celery.W003",
        )
        for migration in missing
        if migration.app_label == "trigger_celery"
    ]
