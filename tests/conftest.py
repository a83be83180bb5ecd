"""Services for tests: used when reachable, otherwise named at the end or a failure."""

from __future__ import annotations

import pytest

from support import services


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
