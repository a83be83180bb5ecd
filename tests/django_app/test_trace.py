"""The trace of a run: its spans as data, and how a terminal shows them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from support.databases import alias_of, every_database
from trigger_celery.errors import RunCanceled
from trigger_celery.testing.contract.tools import (
    checkpoint,
    claim,
    emitted,
    ending,
    event_wait,
    failed_attempt,
    new_run,
    queued,
    sleeping,
    started,
    suspend,
    wait_ids,
)
from trigger_celery.testing.contract.tools import suspension as on
from trigger_celery.values.failures import describe, to_text
from trigger_celery.vocabulary import step_keys
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import StepKind
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.models import Checkpoint, History, Run
from trigger_celery_django.store import DjangoStore
from trigger_celery_django.trace import SpanKind, TraceSpan, as_data, lines, trace_of
from trigger_celery_django.trace.text import duration

pytestmark = pytest.mark.parametrize("database", every_database())
ERROR = to_text(describe(RunCanceled("the gateway\nis away")))


@pytest.fixture
def store(database: str) -> DjangoStore:
    return DjangoStore(alias_of(database))


def traced(store: DjangoStore, run_id: UUID) -> TraceSpan:
    trace = trace_of(run_id, using=store.alias)
    assert trace is not None
    return trace


def drawn(store: DjangoStore, run_id: UUID) -> list[str]:
    return list(lines(traced(store, run_id), now=store.now()))


def kinds(span: TraceSpan) -> list[tuple[str, str, str]]:
    return [(each.kind.value, each.name, each.state) for each in span.spans]


def worked(store: DjangoStore) -> UUID:
    """Return a run that failed a step, waited for an event and a time, and completed."""
    lease = started(store)
    store.checkpoints.record_failure(lease, replace(failed_attempt(store, "pay"), error=ERROR))
    store.checkpoints.record(lease, replace(checkpoint(store, "pay"), attempt=2))
    suspend(store, lease, on(event_wait(), sleeping("late")))
    store.waits.looked(lease.run_id, fence=lease.fence)
    store.waits.resolve(emitted(store).sequence, wait_ids(store))
    lease = claim(store, lease.run_id, worker="w2").lease
    store.checkpoints.record(lease, checkpoint(store, "mail", position=2))
    store.runs.end(lease, ending())
    return lease.run_id


def test_a_trace_has_segments_steps_attempts_and_waits(store: DjangoStore) -> None:
    trace = traced(store, worked(store))
    assert (trace.kind, trace.state, trace.detail) == (SpanKind.RUN, "completed", "")
    found = kinds(trace)
    assert sorted(found) == sorted(
        [
            ("queued", "queued", ""),
            ("segment", "w1", "suspend"),
            ("wait", "approval", "event"),
            ("wait", "late", "canceled"),
            ("queued", "queued", ""),
            ("segment", "w2", "complete"),
        ]
    )
    first, last = (span for span in trace.spans if span.kind is SpanKind.SEGMENT)
    assert [(span.kind.value, span.name, span.attempt) for span in first.spans] == [
        ("failed attempt", "pay", 1),
        ("step", "pay", 2),
    ]
    assert first.spans[0].detail == "RunCanceled: the gateway is away"
    assert [(span.kind.value, span.name) for span in last.spans] == [
        ("recalled", "pay"),
        ("step", "mail"),
    ]
    assert first.ended_at is not None
    assert first.began_at <= first.ended_at <= last.began_at


def test_a_trace_is_plain_data_for_json(store: DjangoStore) -> None:
    run_id = worked(store)
    data = json.loads(json.dumps(as_data(traced(store, run_id))))
    assert (data["kind"], data["run"], data["state"]) == ("run", str(run_id), "completed")
    assert {"began_at", "ended_at", "detail", "attempt", "source", "spans"} < set(data)


def test_a_run_that_is_executing_or_delayed_has_an_open_end(store: DjangoStore) -> None:
    (queue, segment) = traced(store, started(store).run_id).spans
    assert (queue.ended_at is None, segment.ended_at, segment.state) == (False, None, "executing")
    new = new_run(delay=timedelta(hours=1))
    store.runs.create([new])
    (span,) = traced(store, new.id).spans
    assert (span.kind, span.name, span.ended_at) == (SpanKind.QUEUED, "delayed", None)


def test_a_crash_is_a_gap_after_the_last_sign_of_life(store: DjangoStore) -> None:
    lease = started(store)
    done = checkpoint(store, "pay")
    store.checkpoints.record(lease, done)
    store.runs.recover(lease.run_id, "w1")
    _, segment, crash, queue = sorted(
        traced(store, lease.run_id).spans, key=lambda span: span.ended_at or store.now()
    )
    assert (segment.kind, segment.state) == (SpanKind.SEGMENT, "recover")
    assert (crash.kind, crash.began_at) == (SpanKind.CRASH, done.span.ended_at)
    assert crash.began_at == segment.ended_at
    assert "nothing was heard of w1" in crash.detail
    assert queue.ended_at is None


def test_a_failed_attempt_of_the_run_is_drawn_with_its_segment_and_backoff(
    store: DjangoStore,
) -> None:
    lease = started(store)
    failed = replace(failed_attempt(store, ""), error=ERROR)
    backoff = replace(sleeping("~retry/1"), kind=StepKind.RETRY)
    suspend(store, lease, replace(on(backoff, next_attempt=2), failed=failed))
    trace = traced(store, lease.run_id)
    (segment,) = (span for span in trace.spans if span.kind is SpanKind.SEGMENT)
    assert segment.detail == "RunCanceled: the gateway is away"
    (wait,) = (span for span in trace.spans if span.kind is SpanKind.BACKOFF)
    assert (wait.name, wait.ended_at) == ("before the next attempt of the run", None)


def test_a_pause_is_drawn_with_its_caller_and_reason(store: DjangoStore) -> None:
    run_id = queued(store)
    store.managing.pause(run_id, {"by": "ann", "reason": "look"})
    (pause,) = (s for s in traced(store, run_id).spans if s.kind is SpanKind.PAUSED)
    assert (pause.ended_at, pause.detail) == (None, "look by ann")
    store.managing.resume(run_id, {})
    (pause,) = (s for s in traced(store, run_id).spans if s.kind is SpanKind.PAUSED)
    assert pause.ended_at is not None
    store.managing.pause(run_id, {})
    store.runs.cancel(run_id, ERROR)
    trace = traced(store, run_id)
    assert [s.ended_at is None for s in trace.spans if s.kind is SpanKind.PAUSED] == [False, False]
    assert trace.detail == "RunCanceled: the gateway is away"


def test_children_stand_below_the_wait_for_them_or_below_the_run(store: DjangoStore) -> None:
    lease = started(store)
    suspend(store, lease, on(replace(sleeping("all"), kind=StepKind.CHILDREN)))
    awaited = replace(new_run(), parent_id=lease.run_id, parent_key="all")
    loose = replace(new_run(), parent_id=lease.run_id)
    deep = replace(new_run(), parent_id=loose.id)
    store.runs.create([awaited, loose, deep])
    trace = traced(store, lease.run_id)
    (wait,) = (span for span in trace.spans if span.kind is SpanKind.WAIT)
    assert [span.run_id for span in wait.spans] == [awaited.id]
    (child,) = (span for span in trace.spans if span.kind is SpanKind.RUN)
    assert child.run_id == loose.id
    assert [s.run_id for s in child.spans if s.kind is SpanKind.RUN] == [deep.id]


def test_of_very_many_children_some_are_shown_and_the_rest_counted(
    store: DjangoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trigger_celery_django.trace.rows.RUNS_LIMIT", 4)
    parent = queued(store)
    store.runs.create([replace(new_run(), parent_id=parent) for _ in range(7)])
    spans = traced(store, parent).spans
    assert [span.kind for span in spans].count(SpanKind.RUN) == 3
    assert [span.name for span in spans if span.kind is SpanKind.MORE] == ["4 more runs"]


def test_a_fork_names_the_run_and_the_number_of_its_copied_steps(store: DjangoStore) -> None:
    old, new = worked(store), new_run()
    with store.joined():
        store.runs.create([replace(new, copied_from_id=old)])
        store.managing.copy(old, new.id, ["pay", "approval"])
    (copied,) = (s for s in traced(store, new.id).spans if s.kind is SpanKind.COPIED)
    assert (copied.name, copied.detail) == ("2 copied", f"from run {old}")
    assert [s.kind for s in traced(store, new.id).spans].count(SpanKind.WAIT) == 0


def test_there_is_no_trace_of_a_run_that_is_not_there(store: DjangoStore) -> None:
    assert trace_of(new_id(), using=store.alias) is None


def test_a_trace_takes_as_many_queries_for_one_child_as_for_twenty(
    store: DjangoStore, django_assert_max_num_queries: object
) -> None:
    for count in (1, 20):
        parent = queued(store)
        store.runs.create([replace(new_run(), parent_id=parent) for _ in range(count)])
        with django_assert_max_num_queries(11, using=store.alias):  # type: ignore[operator]
            traced(store, parent)


def test_what_is_left_out_of_many_branches_is_counted_by_one_query(
    store: DjangoStore, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: object
) -> None:
    monkeypatch.setattr("trigger_celery_django.trace.rows.RUNS_LIMIT", 12)
    top = queued(store)
    branches = [replace(new_run(), parent_id=top) for _ in range(10)]
    store.runs.create(branches)
    store.runs.create([replace(new_run(), parent_id=each.id) for each in branches for _ in "ab"])
    # One for the top; four for the rows of each of three levels and one for the next level; and
    # one that counts.
    with django_assert_num_queries(17, using=store.alias):  # type: ignore[operator]
        spans = traced(store, top).spans
    more = [each.name for span in spans for each in span.spans if each.kind is SpanKind.MORE]
    assert sorted(more) == ["1 more runs", *["2 more runs"] * 9]


@pytest.fixture
def hours(store: DjangoStore) -> UUID:
    """Return a run that slept for an hour between two minutes of work."""
    run_id = worked(store)
    runs = Run.objects.using(store.alias).filter(pk=run_id)
    born = runs.get().created_at
    entries = History.objects.using(store.alias).filter(run=run_id).order_by("sequence")
    minutes = {"trigger": 0, "claim": 0, "suspend": 1, "wake": 58, "complete": 60}
    for entry in entries:
        late = 59 if entry.verb == "claim" and entry.fence == 2 else minutes[entry.verb]
        entry.at = born + timedelta(minutes=late)
        entry.save(using=store.alias)
    for wait in runs.get().waits.all():
        wait.created_at = born + timedelta(minutes=1)
        wait.resolved_at = born + timedelta(minutes=58)
        wait.save(using=store.alias)
    Checkpoint.objects.using(store.alias).filter(run=run_id, key="mail").update(
        started_at=born + timedelta(minutes=59), ended_at=born + timedelta(minutes=60)
    )
    runs.update(finished_at=born + timedelta(minutes=60))
    return run_id


def test_the_text_shows_a_tree_with_times_and_bars(store: DjangoStore, hours: UUID) -> None:
    title, *body = drawn(store, hours)
    assert title.startswith(f"contract-task  {hours}  completed, took 1h 00m, began 20")
    parts = [line.split("|")[1] for line in body]
    assert {len(part) for part in parts} == {24}
    (sleep,) = (line for line in body if "wait late" in line)
    assert sleep.split("|")[1].strip() == "-" * 23
    assert sleep.startswith("  1m 00s  ├─ wait late")
    assert sleep.endswith("|  canceled")
    (mail,) = (line for line in body if "─ mail" in line)
    assert mail.split("|")[1] == " " * 23 + "#"
    assert any("attempt 1 failed: RunCanceled: the gateway is away" in line for line in body)
    assert any(line.endswith("|  attempt 2") for line in body)


def test_the_text_has_no_colours_and_can_be_plain_ascii(store: DjangoStore, hours: UUID) -> None:
    text = "\n".join(lines(traced(store, hours), now=store.now(), unicode=False))
    assert text.isascii()
    assert "\x1b" not in text
    painted = lines(traced(store, hours), now=store.now(), paint=lambda span, text: f"<{text}>")
    assert any("<wait late>" in line for line in painted)


def test_a_run_without_any_work_is_drawn_too(store: DjangoStore) -> None:
    run_id = queued(store)
    store.runs.cancel(run_id, ERROR)
    assert drawn(store, run_id)[1].strip() == "RunCanceled: the gateway is away"
    assert traced(store, run_id).state == RunState.CANCELED


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (timedelta(seconds=-1), "0.00 s"),
        (timedelta(milliseconds=1250), "1.25 s"),
        (timedelta(minutes=2, seconds=3), "2m 03s"),
        (timedelta(hours=5, minutes=7), "5h 07m"),
        (timedelta(days=7, hours=2), "7d 02h"),
    ],
)
def test_durations_are_short(database: str, length: timedelta, text: str) -> None:
    assert duration(length) == text


def test_the_text_of_strangers_does_not_steer_the_terminal(store: DjangoStore) -> None:
    lease = started(store)
    hostile = to_text(describe(RunCanceled("\x1b[2J\x9b1m\u202egone")))
    store.checkpoints.record_failure(lease, replace(failed_attempt(store, "p\x07"), error=hostile))
    store.runs.end(lease, replace(ending(RunState.FAILED), error=hostile))
    text = "".join(drawn(store, lease.run_id))
    assert text.isprintable()
    assert r"\x1b[2J\x9b1m\u202egone" in text
    assert r"p\x07" in text


def test_what_the_engine_records_for_itself_is_not_drawn(store: DjangoStore) -> None:
    lease = started(store)
    store.checkpoints.record(lease, checkpoint(store, "mail"))
    store.checkpoints.record(lease, checkpoint(store, step_keys.result_chunk(0, "children")))
    store.checkpoints.record(lease, checkpoint(store, step_keys.let_go("children")))
    text = "\n".join(drawn(store, lease.run_id))
    assert "mail" in text
    assert "~" not in text
