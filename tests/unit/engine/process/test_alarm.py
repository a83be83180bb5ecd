"""The alarm calls back in a thread of its own, once for each key, and goes on after mistakes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest

from trigger_celery.engine.process.alarm import AlarmThread
from trigger_celery.testing import ManualAlarm, ManualClock, MemoryStore
from trigger_celery.vocabulary.clock import SystemClock

SOON = timedelta(milliseconds=5)
LATER = timedelta(hours=1)


class Released:
    """Counts how often the thread closed its connection."""

    def __init__(self) -> None:
        self.times = 0
        self.changed = threading.Semaphore(0)

    def __call__(self) -> None:
        self.times += 1
        self.changed.release()


def alarm(release: Callable[[], None] = lambda: None) -> AlarmThread:
    store = MemoryStore()
    store.release = release  # type: ignore[method-assign]
    return AlarmThread(SystemClock(), store)


def test_it_calls_back_in_another_thread() -> None:
    rang, names = threading.Event(), []

    def call() -> None:
        names.append(threading.current_thread().name)
        rang.set()

    alarm().set("k", SOON, call)
    assert rang.wait(10)
    assert names == ["trigger-celery-alarm"]


def test_it_does_not_call_before_its_time() -> None:
    clock, rang, at = SystemClock(), threading.Event(), []
    start = clock.monotonic()

    def call() -> None:
        at.append(clock.monotonic() - start)
        rang.set()

    alarm().set("k", timedelta(milliseconds=50), call)
    assert rang.wait(10)
    assert at[0] >= 0.05


def test_no_thread_is_there_before_it_is_needed() -> None:
    assert alarm()._thread is None


def test_of_several_calls_for_a_key_the_last_is_made_at_the_earliest_moment() -> None:
    ours, rang, calls = alarm(), threading.Event(), []

    def last() -> None:
        calls.append("last")
        rang.set()

    ours.set("other", LATER, lambda: None)  # the thread must learn of what comes before it
    ours.set("k", LATER, lambda: calls.append("first"))
    ours.set("k", SOON, lambda: calls.append("second"))
    ours.set("k", LATER, last)
    assert rang.wait(10)
    assert calls == ["last"]
    assert list(ours._calls) == ["other"]


def test_a_call_may_ask_for_the_next() -> None:
    ours, rang = alarm(), threading.Event()
    ours.set("k", SOON, lambda: ours.set("k", SOON, rang.set))
    assert rang.wait(10)


def test_it_goes_on_after_a_mistake(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("a bug")

    ours, rang = alarm(), threading.Event()
    ours.set("bad", SOON, fail)
    ours.set("good", 2 * SOON, rang.set)
    assert rang.wait(10)
    assert "alarm bad: its call failed" in caplog.text


def test_it_closes_its_connection_before_it_sleeps() -> None:
    released = Released()
    ours = alarm(released)
    ours.set("k", SOON, lambda: None)
    assert released.changed.acquire(timeout=10)


def test_it_goes_on_when_its_connection_cannot_be_closed() -> None:
    def release() -> None:
        raise RuntimeError("a bad driver")

    ours, first, second = alarm(release), threading.Event(), threading.Event()
    ours.set("k", SOON, first.set)
    assert first.wait(10)
    ours.set("k", SOON, second.set)
    assert second.wait(10)


def test_a_dead_thread_is_started_again() -> None:
    ours, rang = alarm(), threading.Event()
    ours._thread = threading.Thread(target=bool)
    ours._thread.start()
    ours._thread.join()
    ours.set("k", SOON, rang.set)
    assert rang.wait(10)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_starts_over() -> None:
    ours = alarm()
    ours.set("of the parent", LATER, lambda: None)
    pid = os.fork()
    if pid == 0:  # pragma: no cover  # the child's answer is its exit code
        _exit_with(ours)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert list(ours._calls) == ["of the parent"]


def _exit_with(ours: AlarmThread) -> None:  # pragma: no cover
    code = 1
    try:
        rang = threading.Event()
        ours.set("k", SOON, rang.set)
        code = 0 if rang.wait(10) and not ours._calls else 2
    finally:
        os._exit(code)


def test_a_manual_alarm_rings_when_a_test_calls_it() -> None:
    clock, calls = ManualClock(), []
    ours = ManualAlarm(clock)
    ours.set("k", LATER, lambda: calls.append("first"))
    ours.set("k", SOON, lambda: calls.append("second"))
    ours.set("k", LATER, lambda: calls.append("last"))
    assert ours.next_in() == SOON
    assert ours.ring() == 0
    clock.advance(SOON)
    assert ours.next_in() == timedelta(0)
    assert ours.ring() == 1
    assert calls == ["last"]
    assert ours.next_in() is None
