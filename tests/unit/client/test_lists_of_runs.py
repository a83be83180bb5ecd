"""``list_runs``: what plain code, commands and later the admin list runs with."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from trigger_celery import list_runs
from trigger_celery.declare.options import TriggerOptions
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.errors import InvalidOption, InvalidTime, RunNotFound
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.states import RunState


@pytest.fixture
def harness() -> Iterator[Harness]:
    with Harness() as harness:
        yield harness


def mail(to: str) -> None:
    if to == "nobody":
        raise LookupError("no such address")


def test_a_list_says_what_became_of_runs_and_why(harness: Harness) -> None:
    task = harness.task(mail)
    failed, done = harness.trigger(task, "nobody"), harness.trigger(task, "ann")
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
        ({"cursor": "x"}, InvalidOption, "next of a page"),
        ({"limit": 0}, InvalidOption, "1 to 1,000"),
        ({"limit": 1_001}, InvalidOption, "1 to 1,000"),
        ({"limit": True}, InvalidOption, "1 to 1,000"),
        ({"since": datetime(2026, 1, 1)}, InvalidTime, "aware"),  # on purpose
        ({"parent": "x"}, RunNotFound, "UUID"),
    ],
)
def test_what_cannot_be_listed_is_refused(
    harness: Harness, wanted: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        list_runs(**wanted)
