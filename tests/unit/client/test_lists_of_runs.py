"""``list_runs`` and ``list_events``: what plain code, commands and HTTP list with."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from trigger_celery import (
    create_schedule,
    durable_task,
    list_events,
    list_runs,
    run_schedule,
    send_event,
)
from trigger_celery import trigger as trigger_by_name
from trigger_celery.declare.options import TriggerOptions
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.errors import InvalidOption, InvalidTime, RunNotFound, UnknownOption
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.states import RunState


@pytest.fixture
def harness() -> Iterator[Harness]:
    with Harness() as harness:
        yield harness


def mail(to: str) -> None:
    if to == "unknown":
        raise LookupError("no such address")


def test_a_list_says_what_became_of_runs_and_why(harness: Harness) -> None:
    task = harness.task(mail)
    failed, done = harness.trigger(task, "unknown"), harness.trigger(task, "ann")
    harness.run_until_idle()
    page = list_runs(task="mail")
    assert {run.id: run.state for run in page.runs} == {
        failed: RunState.FAILED,
        done: RunState.COMPLETED,
    }
    [run] = list_runs(state="failed").runs
    assert run.error is not None
    assert (run.error.kind, run.error.message) == ("LookupError", "no such address")
    assert [each.id for each in list_runs(dead_letters=True).runs] == [failed]


def test_filters_are_one_name_or_several(harness: Harness) -> None:
    task, other = harness.task(mail), harness.task(mail, name="letter")
    vip = trigger(harness.engine, task, ("ann",), options=TriggerOptions(tags=["vip", "eu"]))
    plain = harness.trigger(other, "bob")
    assert found(tag="vip") == found(tag=["eu", "vip"]) == {vip}
    assert found(task=["mail", "letter"]) == found() == {vip, plain}
    assert found(state=["queued", RunState.FAILED]) == {vip, plain}
    assert found(since=harness.clock.now, until=harness.clock.now) == set()
    assert found(until=harness.clock.now + timedelta(seconds=1)) == {vip, plain}


def test_runs_are_found_by_their_tree_their_schedule_and_their_failure(harness: Harness) -> None:
    @durable_task(name="list-between")
    def between() -> None:
        trigger_by_name("list-below", "unknown")

    @durable_task(name="list-top")
    def top() -> None:
        between.trigger_and_wait()

    harness.task(mail, name="list-below")
    root, other = harness.trigger(top), harness.trigger(harness.task(mail), "unknown")
    harness.run_until_idle()
    [below], [child] = list_runs(task="list-below").runs, list_runs(task="list-between").runs
    assert found(root=root) == {root, child.id, below.id}
    assert (below.root_id, below.parent_id, child.root_id) == (root, child.id, root)
    assert below.error is not None
    assert found(error=below.error.fingerprint) == {below.id, other}
    assert found(error=below.error.fingerprint, root=root) == {below.id}


def test_runs_are_found_by_the_schedule_that_started_them(harness: Harness) -> None:
    harness.task(mail)
    create_schedule("mail", key="nightly", every=timedelta(days=1), args=["ann"])
    run_schedule("nightly")
    [run] = list_runs(schedule="nightly").runs
    assert (run.task, run.schedule, run.parent_id) == ("mail", "nightly", None)
    assert found(schedule="hourly") == set()


def test_events_are_listed_in_pages_with_what_they_carry(harness: Harness) -> None:
    for number in range(3):
        send_event("paid", {"number": number}, id=f"e-{number}", source="bank" if number else "")
    first = list_events(name="paid", limit=2)
    last = list_events(name="paid", limit=2, cursor=first.next)
    assert [event.payload["number"] for event in (*first.events, *last.events)] == [2, 1, 0]
    assert last.next is None
    assert [event.id for event in list_events(source="").events] == ["e-0"]
    assert list_events(unmatched=True).events == list_events(name="other").events == ()
    assert first.events[0].matched_at == harness.clock.now


@pytest.mark.parametrize(("wanted", "says"), [({"cursor": "x"}, "next of"), ({"limit": 0}, "1 to")])
def test_what_cannot_be_listed_of_events_is_refused(
    harness: Harness, wanted: Any, says: str
) -> None:
    with pytest.raises(InvalidOption, match=says):
        list_events(**wanted)


def found(**wanted: Any) -> set[UUID]:
    return {run.id for run in list_runs(**wanted).runs}


def test_pages_hold_each_run_once_while_others_are_created(harness: Harness) -> None:
    task = harness.task(mail)
    ids = {harness.trigger(task, "ann") for _ in range(5)}
    pages, cursor = [list_runs(limit=2)], ""
    while (cursor := pages[-1].next or "") and len(pages) < 9:
        harness.trigger(task, "bob")
        pages.append(list_runs(limit=2, cursor=cursor))
    listed = [run.id for page in pages for run in page.runs]
    assert len(listed) == len(set(listed))
    assert ids <= set(listed)
    assert pages[-1].next is None


@pytest.mark.parametrize(
    ("wanted", "error", "says"),
    [
        ({"state": "gone"}, InvalidOption, "one of queued"),
        ({"state": "faild"}, InvalidOption, "did you mean 'failed'"),
        ({"tags": "vip"}, UnknownOption, "did you mean 'tag'"),
        ({"cursor": "x"}, InvalidOption, "next of a page"),
        ({"limit": 0}, InvalidOption, "1 to 1,000"),
        ({"tag": ["vip", "a\x00"]}, InvalidOption, "printable"),
        ({"error": "\x00"}, InvalidOption, "printable"),
        ({"limit": 1_001}, InvalidOption, "1 to 1,000"),
        ({"limit": True}, InvalidOption, "1 to 1,000"),
        ({"since": datetime(2026, 1, 1)}, InvalidTime, "aware"),  # on purpose
        ({"cursor": "-"}, InvalidOption, "next of a page"),
        ({"cursor": f"{10**30}-{UUID(int=1).hex}"}, InvalidOption, "next of a page"),
        ({"parent": "x"}, RunNotFound, "UUID"),
        ({"root": "x"}, RunNotFound, "UUID"),
    ],
)
def test_what_cannot_be_listed_is_refused(
    harness: Harness, wanted: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        list_runs(**wanted)
