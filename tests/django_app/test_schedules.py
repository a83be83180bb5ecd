"""Schedules in databases: fired once by ten sweeps, from an index, by rows that people wrote."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from celery import Celery
from celery.beat import ScheduleEntry, Scheduler
from celery.schedules import schedule as beat_schedule
from django.db import IntegrityError, connections, transaction
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext

from support.databases import alias_of, every_database
from testproject.celery import app
from trigger_celery.celery.dispatcher import NUDGE_HEADER
from trigger_celery.declare.definition import TaskRegistry, define
from trigger_celery.declare.schedule import timetable
from trigger_celery.engine.core import Engine
from trigger_celery.engine.schedules import control as schedule_control
from trigger_celery.engine.schedules import firing
from trigger_celery.engine.upkeep.sweep import sweep
from trigger_celery.testing.contract.triggers import schedule
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import Schedule as ScheduleRecord
from trigger_celery_django.models import Run, Schedule
from trigger_celery_django.store import DjangoStore

SWEEPS = 10
TICKS = 5
SERVERS = [param for param in every_database(transaction=True) if "sqlite" not in str(param)]
HOUR = timedelta(hours=1)


def report() -> None:
    """Do nothing: no worker executes it here."""


def engine_on(alias: str) -> Engine:
    """Return an engine of a process of its own, as far as it remembers anything."""
    tasks = TaskRegistry()
    tasks.add(define(report, name="report"))
    return Engine(store=DjangoStore(alias), tasks=tasks)


def scheduled(engine: Engine, key: str, overlap: str = "allow") -> None:
    """Store an hourly schedule."""
    definition = engine.tasks.get("report")
    assert definition is not None
    table = timetable(every=HOUR, overlap=overlap, catch_up=timedelta(days=1))
    schedule_control.put(engine, schedule_control.build(engine, definition, key, table))


def set_back(alias: str, hours: int) -> None:
    """Make the schedules due at so many whole hours up to now."""
    this_hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    first = this_hour - (hours - 1) * HOUR
    Schedule.objects.using(alias).update(next_at=first, due_at=first)


@pytest.mark.parametrize("database", SERVERS)
def test_ten_sweeps_at_once_start_one_run_for_each_nominal_time(database: str) -> None:
    alias = alias_of(database)
    engines = [engine_on(alias) for _ in range(SWEEPS)]
    line = Barrier(SWEEPS)
    for overlap in ("allow", "cancel", "skip", "buffer"):
        scheduled(engines[0], overlap, overlap)

    def tick(engine: Engine) -> None:
        try:
            for _ in range(TICKS):
                line.wait(timeout=60)
                sweep(engine)
                line.wait(timeout=60)
        finally:
            connections[alias].close()

    set_back(alias, hours=3)
    with ThreadPoolExecutor(SWEEPS) as pool:
        for done in [pool.submit(tick, engine) for engine in engines]:
            done.result(timeout=100)
    codec = engines[0].codec
    runs = Run.objects.using(alias)
    found = [codec.decode(origin) for origin in runs.values_list("origin", flat=True)]
    started = sorted((each["schedule"], each["nominal_at"]) for each in found)  # type: ignore[index]
    assert len(started) == len(set(started))
    by_key = [key for key, _ in started]
    assert {key: by_key.count(key) for key in by_key} == {
        "allow": 3,
        "cancel": 1,
        "skip": 1,
        "buffer": 1,
    }
    buffered = Schedule.objects.using(alias).get(key="buffer")
    assert buffered.buffered_at is not None
    assert buffered.last_at == buffered.buffered_at - HOUR


@pytest.mark.parametrize("database", every_database(transaction=True))
def test_ten_processes_that_store_one_schedule_leave_one_row(database: str) -> None:
    alias = alias_of(database)
    line = Barrier(SWEEPS)

    def put() -> bool:
        try:
            line.wait(timeout=60)
            return DjangoStore(alias).schedules.add(schedule("nightly"))
        finally:
            connections[alias].close()

    with ThreadPoolExecutor(SWEEPS) as pool:
        added = [done.result(timeout=60) for done in [pool.submit(put) for _ in range(SWEEPS)]]
    assert sum(added) == 1
    assert Schedule.objects.using(alias).count() == 1


@pytest.mark.parametrize("database", every_database())
def test_an_idle_sweep_asks_for_schedules_once_and_outside_of_a_transaction(database: str) -> None:
    store = DjangoStore(alias_of(database))
    store.schedules.add(schedule("later", due_at=datetime.now(UTC) + HOUR))
    with CaptureQueriesContext(connections[store.alias]) as sent:
        assert store.schedules.due(limit=100) == []
    assert len(sent) == 1


@pytest.mark.parametrize("database", every_database())
def test_firing_a_schedule_takes_a_handful_of_statements(database: str) -> None:
    engine = engine_on(alias_of(database))
    scheduled(engine, "hourly")
    set_back(alias_of(database), hours=12)
    sweep(engine)
    set_back(alias_of(database), hours=1)
    [due] = engine.store.schedules.due(limit=9)
    with CaptureQueriesContext(connections[alias_of(database)]) as sent:
        firing.fire(engine, due)
    assert len(sent) <= 9, [each["sql"] for each in sent]


@pytest.mark.requires("postgres")
@pytest.mark.django_db(databases=[alias_of("postgres")])
def test_schedules_that_are_due_are_found_by_an_index() -> None:
    alias = alias_of("postgres")
    later = datetime.now(UTC) + timedelta(days=30)
    Schedule.objects.using(alias).bulk_create(
        Schedule(task="report", key=f"k{number}", every=HOUR, due_at=later)
        for number in range(5_000)
    )
    store = DjangoStore(alias)
    with connections[alias].cursor() as cursor:
        cursor.execute("ANALYZE trigger_celery_schedule")
        with CaptureQueriesContext(connections[alias]) as sent:
            store.schedules.due(limit=100)
        cursor.execute(f"EXPLAIN {sent[-1]['sql']}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "trigger_schedule_due" in plan


@pytest.mark.parametrize("database", every_database())
def test_a_row_that_a_person_wrote_gets_its_next_time_from_the_sweep(database: str) -> None:
    engine = engine_on(alias_of(database))
    rows = Schedule.objects.using(alias_of(database))
    row = rows.create(task="report", key="by hand", cron="0 9 * * *", timezone="Europe/Paris")
    rows.filter(pk=row.pk).update(due_at=datetime.now(UTC) - HOUR)  # clocks may differ
    sweep(engine)
    row.refresh_from_db()
    assert row.next_at is not None
    assert row.next_at == row.due_at
    assert row.next_at > datetime.now(UTC)
    rows.update(next_at=datetime.now(UTC), due_at=datetime.now(UTC) - HOUR)
    sweep(engine)
    run = Run.objects.using(alias_of(database)).get()
    assert (run.task, run.input) == ("report", "[[],{}]")


@pytest.mark.parametrize("database", every_database(transaction=True))
def test_a_transaction_that_fails_leaves_neither_run_nor_progress(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_on(alias_of(database))
    scheduled(engine, "hourly")
    set_back(alias_of(database), hours=1)
    [before] = engine.store.schedules.due(limit=9)

    def broken(rows: QuerySet[Schedule], **columns: object) -> int:
        """Fail where the schedule moves on: its runs are inserted by then."""
        raise ZeroDivisionError(rows.model)

    with monkeypatch.context() as patch:
        patch.setattr(QuerySet, "update", broken)
        with pytest.raises(ZeroDivisionError):
            firing.fire(engine, before)
    assert not Run.objects.using(alias_of(database)).exists()
    assert engine.store.schedules.get("hourly") == before
    firing.fire(engine, before)
    assert Run.objects.using(alias_of(database)).count() == 1


@pytest.mark.django_db(transaction=True)
def test_an_entry_of_celery_beat_that_names_a_durable_task_starts_one_run() -> None:
    entry = ScheduleEntry(
        name="every minute", task="linear", schedule=beat_schedule(60.0), args=(4,), app=app
    )
    Scheduler(app, schedule={}, lazy=True).apply_entry(entry)
    run = Run.objects.get()
    assert (run.task, run.input, run.state) == ("linear", "[[4],{}]", "queued")


def test_a_beat_that_does_not_know_the_task_publishes_what_a_worker_adopts() -> None:
    stranger = Celery("stranger", broker="memory://", set_as_current=False)
    entry = ScheduleEntry(
        name="every minute", task="elsewhere", schedule=beat_schedule(60.0), args=(4,), app=stranger
    )
    Scheduler(stranger, schedule={}, lazy=True).apply_entry(entry)
    with stranger.connection_for_read() as connection:
        message = connection.SimpleQueue("celery").get(timeout=5)
        message.ack()
    assert message.headers["task"] == "elsewhere"
    assert NUDGE_HEADER not in message.headers  # so the worker creates the run, under this id:
    assert message.properties["correlation_id"] == message.headers["id"]
    assert message.payload[0] == [4]


def test_a_record_has_a_field_for_each_column_that_matters() -> None:
    columns = {field.attname for field in Schedule._meta.concrete_fields}
    fields = set(ScheduleRecord.__dataclass_fields__)
    assert columns - fields == {"created_at", "updated_at"}
    assert fields <= columns
    assert Schedule(key="k").id != new_id()


@pytest.mark.parametrize("database", every_database())
def test_an_unknown_overlap_is_refused_by_the_database(database: str) -> None:
    rows = Schedule.objects.using(alias_of(database))
    with pytest.raises(IntegrityError), transaction.atomic(using=alias_of(database)):
        rows.create(key="by hand", task="report", cron="* * * * *", overlap="both")
    assert not rows.exists()
