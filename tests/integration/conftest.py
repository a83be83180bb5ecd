"""A database that keeps what is committed, and one worker for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections

from support.workers import Site, Worker, site


@pytest.fixture(scope="module")
def transactional_db(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Open the database for a whole module: workers see what tests write.

    It is emptied once, at the end: emptying it under a worker would make both wait. The
    name is pytest-django's, which makes databases only for tests that ask for them by it.
    """
    with django_db_blocker.unblock():
        yield
        call_command("flush", verbosity=0, interactive=False)
        connections.close_all()


@pytest.fixture(scope="module")
def place(transactional_db: None, request: pytest.FixtureRequest) -> Iterator[Site]:
    """Return the module's broker and result backend: its ``PLACE``, or the parameter."""
    broker, results = getattr(request, "param", None) or request.module.PLACE
    with site(broker, results) as opened:
        yield opened


@pytest.fixture(scope="module")
def worker(place: Site) -> Worker:
    """Return the worker that all tests of the module share."""
    started = place.start()
    started.wait_until_ready()
    return started


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Add the output of the workers to the report of a failed test."""
    report = yield
    place = getattr(item, "funcargs", {}).get("place")
    if report.failed and isinstance(place, Site):
        report.sections.append(("workers", place.outputs()))
    return report
