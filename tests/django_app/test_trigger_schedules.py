"""``manage.py trigger_schedules``: what it shows and does, as text and as JSON, and exit codes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from testproject.shop.tasks import linear
from trigger_celery import create_schedule
from trigger_celery_django.models import Run, Schedule

pytestmark = pytest.mark.django_db(transaction=True)


def called(*args: str) -> tuple[str, str]:
    """Return what the command wrote to stdout and stderr."""
    out, err = StringIO(), StringIO()
    call_command("trigger_schedules", *args, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


@pytest.fixture(autouse=True)
def nightly() -> None:
    create_schedule(linear, key="nightly", cron="0 2 * * *", tz="Europe/Paris", args=[1])


def test_list_shows_the_rules_and_the_next_times() -> None:
    create_schedule(linear, key="often", every=timedelta(minutes=5), args=[1], overlap="allow")
    out, _ = called("list", "--next", "2")
    titles, first, second = out.splitlines()
    assert titles.split() == ["KEY", "TASK", "RULE", "OVERLAP", "STATE", "LAST", "NEXT"]
    assert first.split()[:2] == ["nightly", "linear"]
    assert "0 2 * * * Europe/Paris" in first
    assert "every 0:05:00" in second
    assert second.count("+00:00") == 2


def test_list_as_json_has_a_schema_and_times_in_utc() -> None:
    listed = json.loads(called("list", "--json", "--next", "3")[0])
    assert listed["schema"] == 1
    [row] = listed["schedules"]
    assert (row["key"], row["task"], row["state"], row["last"]) == (
        "nightly",
        "linear",
        "active",
        None,
    )
    times = [datetime.fromisoformat(text) for text in row["next"]]
    assert len(times) == 3
    assert all(time.utcoffset() == timedelta(0) and time > datetime.now(UTC) for time in times)


def test_list_says_when_there_is_none_and_which_is_invalid() -> None:
    Schedule.objects.update(cron="never")
    assert "invalid" in called("list")[0]
    Schedule.objects.all().delete()
    assert called("list")[0] == "no schedules\n"


def test_pause_and_resume() -> None:
    assert called("pause", "nightly")[0] == "nightly: paused\n"
    assert called("pause", "nightly")[0] == "nightly: was paused already\n"
    assert json.loads(called("list", "--json")[0])["schedules"][0]["state"] == "paused"
    assert called("resume", "nightly")[0] == "nightly: resumed\n"
    assert called("resume", "nightly")[0] == "nightly: was not paused\n"
    assert Schedule.objects.get().due_at is not None


def test_run_starts_a_run_now_and_prints_its_id() -> None:
    out, _ = called("run", "nightly", "--json")
    assert json.loads(out)["done"] == {"nightly": str(Run.objects.get().pk)}


def test_an_unknown_schedule_is_named_and_the_others_are_paused() -> None:
    with pytest.raises(CommandError, match="no schedule has the key 'weekly'") as some:
        called("pause", "weekly", "nightly")
    assert some.value.returncode == 3
    assert Schedule.objects.get().paused_at is not None
    with pytest.raises(CommandError) as all_of_them:
        called("run", "weekly")
    assert all_of_them.value.returncode == 1
    assert not Run.objects.exists()


def test_a_backfill_shows_its_plan_and_then_does_it_once() -> None:
    # A time without an offset is one of the schedule's zone.
    asked = ("backfill", "nightly", "--from", "2026-03-28", "--to", "2026-03-31")
    out, err = called(*asked, "--dry-run")
    plan = [
        "2026-03-28T02:00:00+01:00",
        "2026-03-29T03:00:00+02:00",  # there was no two o'clock
        "2026-03-30T02:00:00+02:00",
    ]
    assert out.splitlines() == plan
    assert err == "3 runs of nightly would be started\n"
    assert not Run.objects.exists()
    assert called(*asked)[0].splitlines() == plan
    assert Run.objects.count() == 3
    printed = json.loads(called(*asked, "--json")[0])
    assert printed == {"schema": 1, "key": "nightly", "dry_run": False, "times": []}


@pytest.mark.parametrize(
    "args",
    [
        ("backfill", "weekly", "--from", "2026-03-28", "--to", "2026-03-31"),
        ("backfill", "nightly", "--from", "yesterday", "--to", "2026-03-31"),
        ("backfill", "nightly", "--from", "2026-03-28", "--to", "2999-01-01"),
        ("backfill", "nightly", "--from", "2026-03-28"),
        ("explain",),
        (),
    ],
)
def test_arguments_that_make_no_sense_are_refused(args: Any) -> None:
    with pytest.raises(CommandError):
        called(*args)
    assert not Run.objects.exists()


@pytest.mark.parametrize("given", ["0", "-1", "some"])
def test_a_list_of_no_times_is_refused(given: str) -> None:
    with pytest.raises(CommandError, match="--next: expected a whole number of at least 1"):
        called("list", "--next", given)


def test_the_text_of_a_row_does_not_steer_the_terminal() -> None:
    Schedule.objects.update(task="\x1b[2Jtask")
    out, _ = called("list")
    assert "\x1b" not in out
    assert r"\x1b[2Jtask" in out
