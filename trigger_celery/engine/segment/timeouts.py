"""Ends a step's body that takes longer than its ``timeout``.

A coroutine is canceled. In the thread of a plain function a watching thread raises
``StepTimeout``: that comes between two steps of Python code, so a call into C first has to
return. While one does not, the lease is no longer renewed and the run goes on elsewhere.
Where threads are greenlets of gevent it comes where the function waits, and not while it computes.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import timedelta
from importlib import import_module
from threading import Event, Lock, Thread, get_ident
from time import monotonic
from typing import Any, TypeVar

from trigger_celery.engine.process.leases import Holding
from trigger_celery.engine.process.system_threads import are_greenlets
from trigger_celery.errors import StepTimeout

T = TypeVar("T")

GRACE = 10.0
"""Seconds that a plain function gets to end after its timeout; then its lease may run out."""


def call_within(timeout: timedelta, call: Callable[[], T], held: Holding, key: str) -> T:
    """Return what ``call`` returns; raise :exc:`StepTimeout` in it, and of it, when it is late.

    It has failed even if it returns after that.
    """
    watch = _Watch(timeout.total_seconds(), held)
    late: Exception | None = None
    try:
        try:
            watch.start()
            value = call()
        finally:
            watch.end()
    except Exception as error:
        # What was raised in this thread has arrived by now, in the body or in end().
        if not watch.is_late:
            raise
        late = error
    if watch.is_late:
        watch.end()  # once more: the error may have arrived in the middle of it
        raise _timed_out(key, timeout) from late
    return value


async def await_within(timeout: timedelta, awaited: Coroutine[object, object, T], key: str) -> T:
    """Return what a coroutine returns; cancel it and raise :exc:`StepTimeout` when it is late."""
    late: Exception | None = None
    try:
        async with asyncio.timeout(timeout.total_seconds()) as limit:
            value = await awaited
    except Exception as error:
        if not limit.expired():
            raise
        late = error
    if limit.expired():
        raise _timed_out(key, timeout) from late
    return value


def _timed_out(key: str, timeout: timedelta) -> StepTimeout:
    return StepTimeout(f"step {key!r} took longer than its timeout of {timeout}")


class _Watch:
    """Watches one call in the thread that makes it; ``is_late`` once its time was over."""

    def __init__(self, seconds: float, held: Holding) -> None:
        self.is_late = False
        self._seconds = seconds
        self._held = held
        self._caller = _Greenlet() if are_greenlets() else _Thread()
        self._over = Event()
        self._lock = Lock()
        self._thread = Thread(target=self._watch, name="trigger-celery-timeout", daemon=True)

    def start(self) -> None:
        self._ends_at = monotonic() + self._seconds
        self._thread.start()

    def end(self) -> None:
        """After this nothing is raised in the calling thread any more.

        The error may still arrive here; as there is only one, nothing is left to arrive then.
        """
        with self._lock:
            self._over.set()
            self._held.stuck.discard(self)
            if self.is_late:
                self._caller.let_arrive()
            # Where nothing waited, a greenlet had no turn to watch.
            self.is_late = self.is_late or monotonic() >= self._ends_at

    def _watch(self) -> None:
        if self._over.wait(self._seconds):
            return
        with self._lock:
            if self._over.is_set():
                return
            self.is_late = True
            self._caller.throw(StepTimeout)
        if self._over.wait(GRACE):
            return
        with self._lock:
            if not self._over.is_set():
                self._held.stuck.add(self)


class _Thread:
    """The calling thread, in which another one raises."""

    def __init__(self) -> None:
        self._id = get_ident()

    def throw(self, error: type[Exception]) -> None:
        """Raise the error there, in place of one that has not arrived yet."""
        thread, raised = ctypes.c_ulong(self._id), ctypes.py_object(error)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, raised)

    def let_arrive(self) -> None:
        """Leave nothing to arrive in this thread.

        CPython would also take the error back, but go on looking for it: each call and each loop
        of the process would be slower, and under a tracer (coverage, a debugger) 3.11 never comes
        back.
        """
        try:
            self.throw(StepTimeout)
            for _ in range(1000):  # it arrives at the first jump back
                pass
        except StepTimeout:
            pass


class _Greenlet:
    """The calling greenlet, in which another one raises."""

    def __init__(self) -> None:
        self._gevent: Any = import_module("gevent")
        self._greenlet = self._gevent.getcurrent()

    def throw(self, error: type[Exception]) -> None:
        """Raise the error there, at what it waits for, when that has its next turn."""
        self._gevent.get_hub().loop.run_callback(self._greenlet.throw, error)

    def let_arrive(self) -> None:
        """Leave nothing to arrive in this greenlet."""
        with suppress(StepTimeout):
            self._gevent.sleep(0)
