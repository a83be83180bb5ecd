"""Threads of the system where gevent has made greenlets of Python's, as Celery's pool lets it.

Greenlets share one thread of the system. An event loop in one of them counts as running in all:
Django refuses them its database then, and a second loop does not start.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from threading import Thread
from typing import Any, ParamSpec, TypeVar, cast

from asgiref.sync import AsyncToSync

P = ParamSpec("P")
T = TypeVar("T")

POLL = 0.002
"""Seconds between two looks at a call in another thread."""


def are_greenlets() -> bool:
    """Whether what ``threading`` starts are greenlets of gevent."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


class SystemThreads:
    """Starts a thread of the system for each call; made for asgiref, which wants an executor."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Return at once with what will be the outcome of the call."""
        future: Future[T] = Future()
        _original("start_new_thread")(self._call, (future, partial(fn, *args, **kwargs)))
        return future

    def _call(self, future: Future[T], fn: Callable[[], T]) -> None:
        try:
            value = fn()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(value)
        finally:
            _end_hub()


def _original(name: str) -> Any:
    """Return what ``_thread`` had of this name before gevent replaced it."""
    return import_module("gevent.monkey").get_original("_thread", name)


def _end_hub() -> None:
    """Free what gevent has made in this thread for what waited in it, as an event loop does.

    Before that it wakes whatever waits for a lock that this thread has released.
    """
    gevent: Any = import_module("gevent")
    gevent.sleep(0)
    gevent.get_hub().destroy(destroy_loop=True)


class _Context:
    """Key of an executor among those of asgiref."""


_THREADS = SystemThreads()
_CONTEXT = _Context()


@contextmanager
def event_loop_apart() -> Iterator[None]:
    """Let ``async_to_sync`` begin its event loop in a thread of the system."""
    if not are_greenlets():
        yield
        return
    asgiref = cast(Any, AsyncToSync)
    asgiref.context_to_thread_executor[_CONTEXT] = _THREADS
    token = asgiref.async_single_thread_context.set(_CONTEXT)
    try:
        yield
    finally:
        asgiref.async_single_thread_context.reset(token)


def call_apart(fn: Callable[[], None], *, name: str) -> None:
    """Call, from a thread with an event loop, what must not run in one; wait until it is over."""
    if are_greenlets():
        _call_and_wait(fn)
        return
    helper = Thread(target=fn, name=name)
    helper.start()
    helper.join()


def _call_and_wait(fn: Callable[[], None]) -> None:
    """Call in another thread of the system, and look again and again whether it is over.

    This thread must not block meanwhile: others may wait for a lock that it has released, and it
    wakes them when it waits by gevent's means.
    """
    over: list[None] = []

    def call() -> None:
        try:
            fn()
        finally:
            _end_hub()
            over.append(None)

    _original("start_new_thread")(call, ())
    gevent: Any = import_module("gevent")
    while not over:
        gevent.sleep(POLL)
