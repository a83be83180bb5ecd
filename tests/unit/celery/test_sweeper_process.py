"""The process beside a worker's pool that sweeps is kept alive until the worker stops it."""

from __future__ import annotations

import io
import subprocess
import threading
from typing import Any

import pytest

from trigger_celery.celery.worker.sweeping import SweeperProcess
from trigger_celery.testing import Harness


class Started:
    """A process that lives until it is asked to end."""

    def __init__(self) -> None:
        self.pid, self.returncode = 1, None
        self.stdin = io.BytesIO()
        self.asked = False

    def poll(self) -> None:
        return None

    def terminate(self) -> None:
        self.asked = True

    def wait(self, timeout: float | None = None) -> int:
        return 0


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Started]:
    """Collect the processes that are started."""
    found: list[Started] = []

    def start(*args: Any, **named: Any) -> Started:
        found.append(Started())
        return found[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    return found


def test_a_process_that_was_stopped_is_not_started_again(
    harness: Harness, started: list[Started]
) -> None:
    sweeper = SweeperProcess(harness.engine, [])
    sweeper.keep()
    sweeper.stop()
    sweeper.keep()
    assert [each.asked for each in started] == [True]
    assert sweeper.pid is None


def test_a_process_that_is_being_started_by_another_thread_is_stopped_too(
    harness: Harness, started: list[Started], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_go_on = threading.Event(), threading.Event()
    start = subprocess.Popen

    def slowly(*args: Any, **named: Any) -> Any:
        begun.set()
        assert may_go_on.wait(30)
        return start(*args, **named)

    monkeypatch.setattr(subprocess, "Popen", slowly)
    sweeper = SweeperProcess(harness.engine, [])
    timer = threading.Thread(target=sweeper.keep)
    timer.start()
    assert begun.wait(30)
    stopping = threading.Thread(target=sweeper.stop)
    stopping.start()
    may_go_on.set()
    timer.join(30)
    stopping.join(30)
    sweeper.keep()
    assert [each.asked for each in started] == [True]
