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
from trigger_celery.declare.definition import TaskDefinition, declared_tasks

DATABASE = re.compile(r"(?<=\[)(sqlite|postgres|mariadb)\b")
SLOW_FIRST = ("chaos", "integration", "contract", "bench", "architecture", "django_app", "unit")
"""The order of the folders: what takes long begins early, short tests fill the rest."""


@pytest.fixture(autouse=True)
def _tasks_of_one_test() -> Iterator[None]:
    """Forget the apps that a test made, and the tasks declared in it or in its own module.

    Celery gives every living app all shared tasks, and warns of two under one name. An app lives
    on in reference cycles when its test has ended.
    """
    state: Any = _state
    shared = state._on_app_finalizers
    before, apps = set(shared), set(state._get_active_apps())
    declared, registered = set(_declared()), {app: set(app._tasks) for app in apps}
    yield
    for app in set(state._get_active_apps()) - apps:
        state._deregister_app(app)
    for callback in shared - before:
        if not all(map(_stays, _functions_of(callback))):
            shared.discard(callback)
    forgotten = {
        name for name, task in _declared().items() if name not in declared and not _stays(task.fn)
    }
    for name in forgotten:
        declared_tasks.remove(name)
    for app, known in registered.items():
        for name in app._tasks.keys() - known:
            if name in forgotten or not _stays(app._tasks[name].run):
                del app._tasks[name]


def _declared() -> dict[str, TaskDefinition]:
    return {task.name: task for task in declared_tasks}


def _functions_of(callback: Callable[..., object]) -> Iterator[Callable[..., object]]:
    for cell in callback.__closure__ or ():
        if hasattr(cell.cell_contents, "__qualname__"):
            yield cell.cell_contents


def _stays(function: Callable[..., object]) -> bool:
    """Whether a task's function belongs to a module that stays; Celery makes its own in others."""
    module = function.__module__
    is_local = "<locals>" in function.__qualname__ and not module.startswith("celery.")
    return module in sys.modules and not is_local


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
