"""The servers, the database and the stage of chaos tests; ``CHAOS=long`` plays each often."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.color import no_style
from django.db import connections
from django.test import override_settings
from pytest_django.plugin import DjangoDbBlocker

from support import services
from support.chaos import ALIAS, LONG, Stage, settings_of_workers
from support.private_servers import PrivatePostgres, PrivateRedis
from testproject.celery import app
from trigger_celery.celery.dispatcher import CeleryDispatcher
from trigger_celery.client.access import install_engine
from trigger_celery.engine.core import Engine
from trigger_celery_django.conf import config
from trigger_celery_django.store import DjangoStore

ROUNDS = 20 if LONG else 1


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the workers said when a test failed."""
    report = yield
    stage = getattr(item, "funcargs", {}).get("stage")
    if report.when == "call" and report.failed and isinstance(stage, Stage):
        report.sections.append(("workers", stage.tails()))
    return report


@pytest.fixture(scope="package")
def redis() -> Iterator[PrivateRedis]:
    """A Redis that tests may stop."""
    with _folder("redis") as folder:
        server = PrivateRedis(folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="package")
def postgres(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[PrivatePostgres]:
    """A PostgreSQL that tests may restart; the test process knows it as ``ALIAS``."""
    with _folder("postgres") as folder:
        server = PrivatePostgres(folder)
        server.start()
        try:
            with django_db_blocker.unblock(), _known_to_django(server):
                call_command("migrate", database=ALIAS, verbosity=0)
                yield server
        finally:
            server.stop()


@pytest.fixture(params=range(ROUNDS), ids=lambda number: f"round-{number}")
def round_number(request: pytest.FixtureRequest) -> int:
    """The number of the round, to seed what is random."""
    number: int = request.param
    return number


@pytest.fixture
def stage(
    round_number: int,
    servers: None,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Iterator[Stage]:
    """An empty database and broker, an engine on them in this process, and no worker yet."""
    postgres: PrivatePostgres = request.getfixturevalue("postgres")
    redis: PrivateRedis = request.getfixturevalue("redis")
    _empty(postgres, redis)
    stage = Stage(folder=tmp_path, postgres=postgres, redis=redis)
    blocker: DjangoDbBlocker = request.getfixturevalue("django_db_blocker")
    short = override_settings(**settings_of_workers())
    with short, blocker.unblock(), _installed_engine(stage):
        try:
            yield stage
        finally:
            for worker in stage.workers:
                worker.kill()
            for command in stage.commands:
                command.kill()
                command.wait(30)


@pytest.fixture(scope="package")
def servers() -> None:
    """Leave a test out where its servers cannot be started."""
    for reason in (PrivatePostgres.missing(), PrivateRedis.missing()):
        if reason and services.required():
            pytest.fail(f"{reason} (REQUIRE_SERVICES=1)", pytrace=False)
        if reason:
            pytest.skip(reason)


@contextmanager
def _folder(name: str) -> Iterator[Path]:
    # Not pytest's own: the user of the database server may not enter that.
    path = Path(tempfile.mkdtemp(prefix=f"trigger-celery-{name}-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _known_to_django(server: PrivatePostgres) -> Iterator[None]:
    added = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": server.host,
        "PORT": server.port,
        "USER": "root",
        "NAME": "postgres",
    }
    configured = connections.configure_settings({"default": {}, ALIAS: added})
    connections.settings[ALIAS] = configured[ALIAS]
    try:
        with closing(connections[ALIAS]):
            yield
    finally:
        del connections[ALIAS]
        del connections.settings[ALIAS]


def _empty(postgres: PrivatePostgres, redis: PrivateRedis) -> None:
    connection = connections[ALIAS]
    connection.close()
    tables = connection.introspection.django_table_names(only_existing=True)
    connection.ops.execute_sql_flush(
        connection.ops.sql_flush(no_style(), tables, reset_sequences=False, allow_cascade=True)
    )
    redis.flush()


@contextmanager
def _installed_engine(stage: Stage) -> Iterator[None]:
    dispatcher = CeleryDispatcher(lambda: config().publish_timeout)
    engine = Engine(store=DjangoStore(ALIAS), dispatcher=dispatcher, configure=config)
    kept = {name: app.conf[name] for name in stage.broker}
    app.conf.update(stage.broker)
    before = install_engine(engine)
    try:
        yield
    finally:
        dispatcher.close()
        install_engine(before)
        app.conf.update(kept)
