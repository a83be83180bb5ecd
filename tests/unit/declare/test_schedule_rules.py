"""Which times a rule names: across time zones, leap days and the ends of years."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim

from trigger_celery import cron, every
from trigger_celery.declare.schedule import Rule, instants, rule, upcoming
from trigger_celery.errors import InvalidSchedule

PARIS, NEW_YORK = "Europe/Paris", "America/New_York"


def local_times(expression: str, zone: str, start: str, count: int) -> list[str]:
    found = rule(cron=expression, timezone=zone)
    begin = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone))
    times = [each.astimezone(ZoneInfo(zone)) for each in upcoming(found, begin, count)]
    return [each.isoformat(timespec="minutes") for each in times]


@pytest.mark.parametrize(
    ("expression", "zone", "start", "times"),
    [
        # 02:00 to 03:00 does not exist on 29 March 2026 in Paris, on 8 March in New York.
        (
            "30 2 * * *",
            PARIS,
            "2026-03-28T03:00",
            ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"],
        ),
        (
            "30 2 * * *",
            NEW_YORK,
            "2026-03-07T03:00",
            ["2026-03-08T03:00-04:00", "2026-03-09T02:30-04:00"],
        ),
        (
            "*/30 * * * *",
            PARIS,
            "2026-03-29T01:00",
            ["2026-03-29T01:30+01:00", "2026-03-29T03:00+02:00"],
        ),
        # 02:00 to 03:00 comes twice on 25 October 2026 in Paris, 01:00 to 02:00 on 1 November
        # in New York: a job of a certain hour runs in the first pass only.
        (
            "30 2 * * *",
            PARIS,
            "2026-10-24T03:00",
            ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"],
        ),
        (
            "30 1 * * *",
            NEW_YORK,
            "2026-10-31T03:00",
            ["2026-11-01T01:30-04:00", "2026-11-02T01:30-05:00"],
        ),
        # One of every hour runs in both.
        (
            "30 * * * *",
            PARIS,
            "2026-10-25T01:45",
            ["2026-10-25T02:30+02:00", "2026-10-25T02:30+01:00", "2026-10-25T03:30+01:00"],
        ),
        ("0 9 29 2 *", PARIS, "2026-01-01T00:00", ["2028-02-29T09:00+01:00"]),
        ("0 0 1 1 *", NEW_YORK, "2026-12-31T23:59", ["2027-01-01T00:00-05:00"]),
        ("59 23 31 12 *", PARIS, "2026-12-31T23:59", ["2027-12-31T23:59+01:00"]),
        (
            "0 9 * * MON-FRI",
            PARIS,
            "2026-11-20T10:00",
            ["2026-11-23T09:00+01:00", "2026-11-24T09:00+01:00"],
        ),
        ("0 12 L * *", PARIS, "2026-02-01T00:00", ["2026-02-28T12:00+01:00"]),
    ],
)
def test_a_cron_rule_names_local_times(
    expression: str, zone: str, start: str, times: list[str]
) -> None:
    assert local_times(expression, zone, start, len(times)) == times


@pytest.mark.parametrize("zone", [PARIS, NEW_YORK, "Australia/Lord_Howe", "UTC"])
@pytest.mark.parametrize(
    "expression", ["30 2 * * *", "*/20 1-3 * * *", "0 */2 * * *", "15 1,2,3 * * SUN", "7 * * * *"]
)
def test_going_on_from_any_time_gives_the_times_of_one_walk(expression: str, zone: str) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    walk = CronSim(expression, start.astimezone(ZoneInfo(zone)))
    wanted: list[datetime] = []
    while not wanted or wanted[-1] < start + timedelta(days=365):
        instant = next(walk).astimezone(UTC)
        if not wanted or instant > wanted[-1]:  # two nominal times may fall on one instant
            wanted.append(instant)
    found = rule(cron=expression, timezone=zone)
    assert list(upcoming(found, start, len(wanted))) == wanted


@pytest.mark.parametrize(
    ("zone", "around"),
    [(PARIS, datetime(2026, 10, 25, tzinfo=UTC)), (NEW_YORK, datetime(2026, 11, 1, 5, tzinfo=UTC))],
)
@pytest.mark.parametrize("expression", ["30 2 * * *", "30 1 * * *", "*/10 * * * *", "0 1,2 * * *"])
def test_the_next_time_is_always_later_though_an_hour_comes_twice(
    expression: str, zone: str, around: datetime
) -> None:
    found = rule(cron=expression, timezone=zone)
    for minutes in range(-60, 240, 5):
        moment = around + timedelta(minutes=minutes, microseconds=1)
        following = found.after(moment)
        assert following is not None
        assert following > moment
        assert found.after(following - timedelta(microseconds=1)) == following


def test_an_interval_fires_at_its_multiples_whenever_asked() -> None:
    found = rule(every=timedelta(minutes=5))
    moment = datetime(2026, 12, 31, 23, 57, 3, 7, tzinfo=UTC)
    assert [each.isoformat() for each in upcoming(found, moment, 2)] == [
        "2027-01-01T00:00:00+00:00",
        "2027-01-01T00:05:00+00:00",
    ]
    assert found.after(datetime(2027, 1, 1, tzinfo=UTC)) == datetime(2027, 1, 1, 0, 5, tzinfo=UTC)
    assert found.after(datetime(1960, 1, 1, 0, 1, tzinfo=UTC)) == datetime(
        1960, 1, 1, 0, 5, tzinfo=UTC
    )


def test_times_end_where_a_rule_ends() -> None:
    once = rule(every=timedelta(days=1))
    assert (
        len(list(zip(range(3), instants(once, datetime(2026, 1, 1, tzinfo=UTC)), strict=False)))
        == 3
    )


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("0 0 30 2 *", "fires some day"),
        ("0 0 31 4,6,9,11 *", "fires some day"),
        ("0 9 * *", "five fields"),
        ("61 * * * *", "Bad minute"),
        ("0 9 * * 1-5 *", "five fields"),  # seconds first, to the library
        ("0 0 9 * * 1-5 *", "five fields"),
        ("@reboot", "five fields"),
        ("@Daily", "five fields"),
        ("@daily 0", "five fields"),
        ("@daily 0 0 0 0", "minute"),
        ("5/15 * * * *", "minute"),  # cron ignores this step
        ("*/90 * * * *", "minute"),  # would be each hour
        ("*/0 * * * *", "minute"),
        ("0 1-5/24 * * *", "hour"),
        ("0 0 L/2 * *", "day of month"),
        ("0 0 LW/2 * *", "day of month"),
        ("0 0 15W * *", "day of month"),
        ("0 0 L-3 * *", "day of month"),
        ("0 0 ? * 1", "day of month"),
        ("0 0 * 1/2 *", "month"),
        ("0 0 * * 5#6", "day of week"),
        ("0 0 * * 5#0", "day of week"),
        ("0 0 * * MON#1/2", "day of week"),
        ("0 0 * * 1-5#2", "day of week"),
        ("0 0 * * L", "day of week"),
        ("0 0 * * MONL", "day of week"),
        ("0 0 * * 8", "day of week"),
        ("0 0 * * FRI-SUN", "day-of-week"),
        ("0 0 * * \N{LATIN SMALL LETTER LONG S}un", "day of week"),
        ("\N{ARABIC-INDIC DIGIT FIVE} 0 * * *", "minute"),
        ("0 0 ,1 * *", "day of month"),
        ("0 0 * * *,", "day of week"),
        ("", "either cron or every"),
        ("0 0 * * *" + " " * 250 + ",", "at most 255"),
    ],
)
def test_a_cron_that_never_fires_or_cannot_be_read_is_refused(expression: str, says: str) -> None:
    with pytest.raises(InvalidSchedule, match=says):
        cron(expression)


@pytest.mark.parametrize(
    ("nickname", "fields"),
    [
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("@monthly", "0 0 1 * *"),
        ("@weekly", "0 0 * * 0"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@hourly", "0 * * * *"),
    ],
)
def test_a_nickname_fires_as_its_five_fields_do(nickname: str, fields: str) -> None:
    start = datetime(2026, 10, 24, 22, 30, tzinfo=UTC)
    found = rule(cron=nickname, timezone=PARIS)
    assert upcoming(found, start, 4) == upcoming(rule(cron=fields, timezone=PARIS), start, 4)
    assert cron(f" {nickname} ").cron == nickname


@pytest.mark.parametrize(
    ("expression", "start", "days"),
    [
        ("0 0 L * *", "2026-02-01", ["2026-02-28", "2026-03-31"]),
        ("0 0 LW * *", "2026-05-01", ["2026-05-29", "2026-06-30"]),
        ("0 0 15,L * *", "2026-02-01", ["2026-02-15", "2026-02-28"]),
        ("0 0 * * 5L", "2026-02-01", ["2026-02-27", "2026-03-27"]),
        ("0 0 * * mon#2", "2026-02-01", ["2026-02-09", "2026-03-09"]),
        ("0 0 * * 1#1,1#3", "2026-02-01", ["2026-02-02", "2026-02-16"]),
        ("0 0 * * 7", "2026-02-02", ["2026-02-08", "2026-02-15"]),
        ("0 0 1-31/10 jan-feb *", "2026-01-05", ["2026-01-11", "2026-01-21"]),
    ],
)
def test_days_from_the_end_of_a_month_and_of_certain_weeks(
    expression: str, start: str, days: list[str]
) -> None:
    found = local_times(expression, PARIS, f"{start}T12:00", len(days))
    assert [each[:10] for each in found] == days


def test_a_cron_that_never_fires_though_it_reads_well_is_refused() -> None:
    with pytest.raises(InvalidSchedule, match="never fires"):
        cron("0 0 LW * */7")  # the last weekday of a month, and a Sunday


@pytest.mark.parametrize("zone", ["Mars/Olympus", "Europe", "../etc/passwd", "", "x" * 65, None, 3])
def test_an_unknown_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(InvalidSchedule, match="time zone"):
        cron("0 9 * * *", tz=zone)


@pytest.mark.parametrize(
    "interval", [timedelta(0), timedelta(seconds=-5), timedelta(days=99999), 5]
)
def test_an_interval_that_makes_no_sense_is_refused(interval: timedelta) -> None:
    with pytest.raises(InvalidSchedule, match="interval"):
        every(interval)


def test_a_zone_may_be_given_as_an_object() -> None:
    assert cron("0 9 * * *", tz=ZoneInfo(PARIS)).timezone == PARIS


def test_without_the_library_cron_names_the_extra_and_every_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cronsim", None)
    with pytest.raises(InvalidSchedule, match=r"trigger-celery\[schedules\]"):
        cron("0 9 * * *")
    assert every(timedelta(hours=1)).every == timedelta(hours=1)


@pytest.mark.parametrize(
    "daily",
    [
        rule(cron="0 9 * * *"),
        rule(every=timedelta(days=1)),
        rule(cron="0 9 * * *", timezone="Europe/Paris"),
    ],
)
def test_the_time_after_one_that_is_due_now_is_the_next_and_never_the_same(daily: Rule) -> None:
    instant = timedelta(microseconds=1)
    due = daily.after(datetime(2026, 1, 5, 12, tzinfo=UTC))
    assert due is not None
    assert daily.after(due - instant) == due
    assert daily.after(due) == due + timedelta(days=1)
    assert daily.after(due + instant) == due + timedelta(days=1)


def test_the_time_after_the_second_pass_of_an_hour_is_not_that_pass_again() -> None:
    half_past = rule(cron="30 * * * *", timezone=PARIS)
    second = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)  # 02:30 in Paris for the second time
    assert half_past.after(second - timedelta(hours=1)) == second
    assert half_past.after(second) == second + timedelta(hours=1)
