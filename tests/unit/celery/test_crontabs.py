"""A ``crontab()`` is taken where ``cron()`` is, and means what it means to beat."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from celery.schedules import crontab, schedule

from trigger_celery import create_schedule, cron, every
from trigger_celery.celery.crontabs import as_schedules
from trigger_celery.celery.options import for_definition
from trigger_celery.declare.schedule import Timetable, rule, timetables
from trigger_celery.errors import DeclarationError, InvalidSchedule


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("zoned", set_as_current=False)
    app.conf.update(timezone="Europe/Paris")
    yield app
    app.close()


def converted(given: object) -> Timetable:
    [found] = timetables("t", as_schedules(given)).values()
    return found


@pytest.mark.parametrize(
    ("fields", "expression"),
    [
        ({}, "* * * * *"),
        ({"minute": 0, "hour": 9}, "0 9 * * *"),
        ({"minute": "*/15"}, "*/15 * * * *"),
        ({"minute": "*/90"}, "0 * * * *"),  # as Celery reads it
        ({"minute": 0, "hour": "*/2,17"}, "0 0,2,4,6,8,10,12,14,16,17,18,20,22 * * *"),
        ({"minute": "30", "hour": [8, 12], "day_of_week": "mon-fri"}, "30 8,12 * * 1,2,3,4,5"),
        ({"minute": 0, "hour": 0, "day_of_week": "sun"}, "0 0 * * 0"),
        ({"minute": 0, "hour": 0, "day_of_week": "fri-sun"}, "0 0 * * 0,5,6"),
        ({"minute": 0, "hour": 0, "day_of_month": "2-31/3"}, "0 0 2,5,8,11,14,17,20,23,26,29 * *"),
        ({"minute": 0, "hour": 0, "day_of_month": 1, "month_of_year": "*/3"}, "0 0 1 */3 *"),
        ({"minute": 0, "hour": 0, "day_of_month": "*/2", "day_of_week": 1}, "0 0 */2 * 1"),
    ],
)
def test_a_crontab_becomes_the_expression_that_says_the_same(
    app: Celery, fields: dict[str, Any], expression: str
) -> None:
    found = converted(crontab(app=app, **fields))
    assert (found.cron, found.timezone) == (expression, "Europe/Paris")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (crontab(day_of_month=13, day_of_week="fri"), "days that are both"),
        (crontab(nowfun=lambda: datetime.now(UTC)), "nowfun"),
        (crontab(minute=0, hour=0, day_of_month=31, month_of_year="1-2", day_of_week=1), "both"),
    ],
)
def test_a_crontab_that_no_expression_says_is_refused(given: object, says: str) -> None:
    with pytest.raises(InvalidSchedule, match=says):
        converted(given)


@pytest.mark.parametrize("given", [schedule(60.0), 60.0])
def test_other_schedules_of_celery_are_refused(given: object) -> None:
    with pytest.raises(DeclarationError, match="expected schedule of task 't' to be cron"):
        converted(given)


def test_a_declaration_takes_both_kinds_in_a_list() -> None:
    both = [crontab(minute=5), cron("0 9 * * *"), every(timedelta(hours=1))]
    said = for_definition({"schedule": both})
    found = timetables("t", said["schedule"])
    assert [each.cron for each in found.values()] == ["5 * * * *", "0 9 * * *", ""]
    assert found["t"].timezone == "UTC"


def test_beat_and_the_schedule_fire_at_the_same_times(app: Celery) -> None:
    times = {"minute": "10,40", "hour": "8-10", "day_of_week": "mon,wed"}
    found = timetables("t", as_schedules(crontab(app=app, **times)))["t"]
    moment = datetime(2026, 11, 20, tzinfo=UTC)
    of_beat = crontab(app=app, nowfun=lambda: moment.astimezone(app.timezone), **times)
    for _ in range(10):
        # Beat asks in the zone of the app, and Celery 5.5 depends on that.
        following = moment + of_beat.remaining_estimate(moment.astimezone(app.timezone))
        from_rule = next_of(found, moment)
        assert following.replace(second=0, microsecond=0) == from_rule
        moment = from_rule


def next_of(table: Timetable, moment: datetime) -> datetime:
    found = rule(cron=table.cron, timezone=table.timezone).after(moment)
    assert found is not None
    return found


def test_where_a_text_is_meant_a_crontab_is_refused_with_the_text() -> None:
    given: Any = crontab(minute="*/15", hour="9-17", day_of_week="mon")
    with pytest.raises(InvalidSchedule, match=r"Write '\*/15 9-17 \* \* mon', and its time zone"):
        cron(given)
    with pytest.raises(InvalidSchedule, match="expected cron to be a text"):
        create_schedule("any", key="nightly", cron=given)
