"""Services for tests: used when reachable, otherwise named at the end or a failure."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import _state
from xdist.scheduler import LoadScopeScheduling

from support import services

DATABASE = re.compile(r"(?<=\[)(sqlite|postgres|mariadb)\b")
SLOW_FIRST = ("chaos", "integration", "contract", "bench", "architecture", "django_app", "unit")
"""The order of the folders: what takes long begins early, short tests fill the rest."""


@pytest.fixture(autouse=True)
def _tasks_of_one_test() -> Iterator[None]:
    """Forget the apps that a test made, and the shared tasks declared in it or in its own module.

    Celery gives every living app all of them, and warns of two under one name. An app lives on
    in reference cycles when its test has ended.
    """
    state: Any = _state
    shared = state._on_app_finalizers
    before, apps = set(shared), set(state._get_active_apps())
    yield
    for app in set(state._get_active_apps()) - apps:
        state._deregister_app(app)
    for callback in shared - before:
        if not _is_imported(callback):
            shared.discard(callback)


def _is_imported(callback: Callable[..., object]) -> bool:
    """Whether the task's function belongs to a module that stays."""
    functions = [
        held
        for held in (cell.cell_contents for cell in callback.__closure__ or ())
        if hasattr(held, "__qualname__")
    ]
    return all(
        each.__module__ in sys.modules and "<locals>" not in each.__qualname__ for each in functions
    )


def pytest_configure() -> None:
    """Let processes that tests start be interrupted: a shell's background jobs ignore that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class _ByModule(LoadScopeScheduling):
    """Gives a process whole modules, whose tests share workers and servers.

    The tests of a store on one database are apart from those of the same module on another.
    """

    def _split_scope(self, nodeid: str) -> str:
        module, _, test = nodeid.partition("::")
        found = DATABASE.search(test) if "/contract/" in module else None
        return f"{module} {found[0]}" if found else module


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Give out modules in the order of the collection."""
    config.option.loadscopereorder = False
    return _ByModule(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes ``-n auto`` makes: half as many again as cores, as tests wait."""
    return max(2, len(os.sched_getaffinity(0)) * 3 // 2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that no process is left alone with it at the end.

    A name with an address in it, which processes of pytest-xdist cannot agree on, is an error.
    """
    if found := [item.nodeid for item in items if " at 0x" in item.nodeid]:
        raise pytest.UsageError(f"the name of a test is another in each process: {found[0]}")
    order = {folder: number for number, folder in enumerate(SLOW_FIRST)}
    items.sort(key=lambda item: min(order.get(part, len(order)) for part in item.path.parts))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out a test whose services are not reachable, before its fixtures look for them."""
    wanted = {name for mark in item.iter_markers("requires") for name in mark.args}
    if unknown := wanted - services.SERVICES.keys():
        raise pytest.UsageError(f"requires() knows no service called {', '.join(sorted(unknown))}")
    missing = sorted(name for name in wanted if not services.reachable(name))
    if not missing:
        return
    reason = f"not reachable: {', '.join(missing)}"
    if services.required():
        pytest.fail(f"{reason} (REQUIRE_SERVICES=1)", pytrace=False)
    pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what this run did without."""
    if missing := services.unreachable():
        terminalreporter.section("services")
        terminalreporter.write_line(f"not reachable, left out: {', '.join(missing)}")
