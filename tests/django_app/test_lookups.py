"""What no database can look for is refused before it is asked, on PostgreSQL as elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from trigger_celery import delete_schedule, list_events, list_runs, pause_schedule, run_schedule
from trigger_celery.client.waits import open_waits
from trigger_celery.errors import InvalidOption, ScheduleNotFound, TriggerError

NUL = "a\0"


@pytest.mark.parametrize(
    ("look", "error"),
    [
        (lambda: list_runs(task=NUL), InvalidOption),
        (lambda: list_runs(tag=["vip", NUL]), InvalidOption),
        (lambda: list_events(name=NUL), InvalidOption),
        (lambda: list_events(source=NUL), InvalidOption),
        (lambda: open_waits(kind=NUL), InvalidOption),
        (lambda: pause_schedule(NUL), ScheduleNotFound),
        (lambda: run_schedule(NUL), ScheduleNotFound),
    ],
)
@pytest.mark.django_db
def test_text_with_a_nul_is_not_looked_for(
    look: Callable[[], object], error: type[TriggerError]
) -> None:
    with pytest.raises(error, match="x00"):
        look()


@pytest.mark.django_db
def test_no_schedule_has_a_key_with_a_nul() -> None:
    assert delete_schedule(NUL) is False
