"""Messages decide nothing: too many, unknown, or none at all for a while."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import transaction

from support.celery_states import run_of, value_of, wait_for_run
from support.waiting import eventually
from support.workers import Site, Worker
from testproject.celery import app
from testproject.shop.tasks import linear, nap, waiter
from trigger_celery import send_event
from trigger_celery.celery.dispatcher import CeleryDispatcher
from trigger_celery.client.access import installed_engine
from trigger_celery.vocabulary.records import Nudge
from trigger_celery.vocabulary.states import RunState

PLACE = ("redis", "django-db")
pytestmark = [pytest.mark.requires("redis"), pytest.mark.usefixtures("worker")]

NOT_FOR_EVER = 10
"""Seconds: many times the limit of a publication, also on a busy machine."""


def nudge(run_id: object, task: str, times: int = 10) -> None:
    """Publish the same nudge many times."""
    hint = Nudge(run_id=run_id, task=task)  # type: ignore[arg-type]  # a UUID in each caller
    installed_engine().dispatcher.nudge([hint] * times)


@contextmanager
def socket_that_never_answers() -> Iterator[int]:
    """Listen on a port and say nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield int(server.getsockname()[1])


def test_duplicate_nudges_change_nothing(place: Site, worker: Worker) -> None:
    key = str(uuid4())
    result = waiter.delay(key)
    run = wait_for_run(result, RunState.SUSPENDED)
    nudge(run.id, "waiter")
    value_of(linear.delay(1))
    assert run_of(result).fence == 1
    send_event("go", {"key": key, "n": 1})
    assert value_of(result) == 1
    nudge(run.id, "waiter")
    value_of(linear.delay(1))
    assert run_of(result).fence == 2
    assert result.state == "SUCCESS"
    assert place.effects(result.id) == ["first", "last"]


def test_nudges_for_unknown_runs_are_ignored(place: Site, worker: Worker) -> None:
    unknown = uuid4()
    nudge(unknown, "linear")
    assert value_of(linear.delay(1)) == 2
    assert place.effects(unknown) == []
    assert app.AsyncResult(str(unknown)).state == "PENDING"
    assert "Traceback" not in worker.output()


def test_a_broker_that_is_away_costs_little_and_loses_nothing(
    place: Site, worker: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    limit = timedelta(seconds=0.5)
    monkeypatch.setattr(installed_engine(), "dispatcher", CeleryDispatcher(lambda: limit))
    url = app.conf.broker_url
    monkeypatch.setitem(app.conf, "broker_url", "redis://127.0.0.1:1/0")
    began = time.monotonic()
    with transaction.atomic():
        result = linear.delay(1)
    assert time.monotonic() - began < NOT_FOR_EVER
    assert "nudges could not be published" in caplog.text
    monkeypatch.setitem(app.conf, "broker_url", url)
    assert value_of(result) == 2


def test_a_broker_that_hangs_costs_about_its_time_limit(
    place: Site, worker: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    limit = timedelta(seconds=0.3)
    monkeypatch.setattr(installed_engine(), "dispatcher", CeleryDispatcher(lambda: limit))
    with socket_that_never_answers() as port:
        monkeypatch.setitem(app.conf, "broker_url", f"redis://127.0.0.1:{port}/0")
        began = time.monotonic()
        result = linear.delay(1)
        assert time.monotonic() - began < NOT_FOR_EVER
    assert "nudges could not be published" in caplog.text
    eventually(lambda: place.effects(result.id) == ["first", "last"])


def test_a_worker_logs_neither_its_sweeps_nor_suspensions(place: Site, worker: Worker) -> None:
    value_of(nap.delay(1))
    assert "ignored" not in worker.output()
    assert "trigger_celery.sweep[" not in worker.output()
