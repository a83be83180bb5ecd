"""A connection pool that is too small for the workers is found before they need it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import current_app
from django.core.checks import CheckMessage
from django.db import connections

from trigger_celery_django.checks import check_setup


@pytest.fixture
def found() -> Iterator[Callable[..., list[CheckMessage]]]:
    """Return a function that gives the warnings for an option ``pool`` and Celery's settings."""
    options, conf = connections["default"].settings_dict["OPTIONS"], current_app.conf
    before = (conf.worker_pool, conf.worker_concurrency)

    def look(pool: object, kind: str = "threads", runs: int | None = 8) -> list[CheckMessage]:
        options["pool"] = pool
        conf.worker_pool, conf.worker_concurrency = kind, runs
        return [each for each in check_setup() if each.id == "trigger_celery.W007"]

    yield look
    options.pop("pool", None)
    conf.worker_pool, conf.worker_concurrency = before


@pytest.mark.parametrize("pool", [True, {"min_size": 7}, {"min_size": 1, "max_size": 7}])
def test_fewer_connections_than_runs_of_a_process_are_a_warning(found: Any, pool: object) -> None:
    [message] = found(pool)
    assert "{'max_size': 8} or more" in message.msg
    assert not message.is_serious()


@pytest.mark.parametrize("pool", [None, False, {"max_size": 8}, {"min_size": 8}])
def test_no_pool_and_one_that_is_large_enough_are_not(found: Any, pool: object) -> None:
    assert found(pool) == []


@pytest.mark.parametrize("kind", ["prefork", "solo"])
def test_processes_that_execute_one_run_at_a_time_need_no_more(found: Any, kind: str) -> None:
    assert found(True, kind) == []


def test_without_a_concurrency_in_the_settings_only_a_worker_can_say(found: Any) -> None:
    assert found(True, runs=None) == []
