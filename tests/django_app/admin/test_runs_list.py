"""The admin's list of runs: what it shows, finds and lets people do with several runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from django.contrib.admin.models import LogEntry
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from support.admin_pages import LIST, person, seen
from trigger_celery.errors import RunCanceled
from trigger_celery.testing.contract.tools import (
    TASK,
    ending,
    event_wait,
    got,
    new_run,
    queued,
    started,
    suspend,
    suspension,
)
from trigger_celery.values.failures import describe, to_text
from trigger_celery.vocabulary.records import NewRun
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.models import Run
from trigger_celery_django.store import DjangoStore

pytestmark = pytest.mark.django_db
HOSTILE = "<script>alert(1)</script>\u202e\x1b[31m\"'><img src=x onerror=y>"


@pytest.fixture(autouse=True)
def _no_counts() -> None:
    cache.clear()


@pytest.fixture
def store() -> DjangoStore:
    return DjangoStore()


def tagged(tag: str) -> NewRun:
    new = new_run()
    return replace(new, tags=(tag,))


def text_of(client: Client, query: str = "") -> str:
    answer = client.get(f"{LIST}?{query}")
    assert answer.status_code == 200
    page = seen(answer.content)
    assert page.refused == []
    return page.text


def test_the_newest_runs_come_first_whatever_their_ids(store: DjangoStore) -> None:
    old, new = queued(store), queued(store)
    chosen = UUID("ffffffff-ffff-4fff-bfff-ffffffffffff")  # as Celery makes ids: by chance
    Run.objects.filter(pk=old).update(id=chosen, created_at=timezone.now() - timedelta(days=9))
    text = text_of(person("view_run"))
    assert text.index(new.hex[-6:]) < text.index(chosen.hex[-6:])


def test_a_waiting_run_says_what_for_and_how_long_still(store: DjangoStore) -> None:
    suspend(store, started(store), suspension(event_wait(delay=timedelta(days=3))))
    text = text_of(person("view_run"))
    assert "Waiting" in text
    assert "for approved, 3 d 0 h left" in text


def test_inputs_need_a_permission_of_their_own(store: DjangoStore) -> None:
    store.runs.create([new_run(input='[["secret"],{}]')])
    assert "secret" not in text_of(person("view_run"))
    assert "secret" in text_of(person("view_run", "view_payload", name="bo"))


def test_messages_of_errors_need_a_permission_of_their_own(store: DjangoStore) -> None:
    error = to_text(describe(RunCanceled("card 4711")))
    store.runs.end(started(store), ending(RunState.FAILED, error=error))
    text = text_of(person("view_run"))
    assert "RunCanceled" in text
    assert "4711" not in text
    assert "4711" in text_of(person("view_run", "view_payload", name="bo"))


def test_the_list_needs_a_permission(store: DjangoStore) -> None:
    assert person().get(LIST).status_code == 403
    assert Client().get(LIST).status_code == 302


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("", 3),
        ("status:queued", 2),
        ("status:running,waiting", 1),
        (f"task:{TASK}", 3),
        ("task:nothing-*", 0),
        ("since:1h", 3),
        ("until:2020-01-01", 0),
        ("tag:vip", 1),
        ("tag:vip status:running", 0),
    ],
)
def test_a_search_narrows_the_list(store: DjangoStore, search: str, expected: int) -> None:
    queued(store)
    started(store)
    store.runs.create([tagged("vip")])
    assert f"{expected} shown" in text_of(person("view_run"), f"q={search}")


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ("stat:queued", "stat:queued is not understood"),
        ("status:done", "status:done is none of"),
        ("since:soon", "since:soon is no time"),
        ("since:999999d", ""),
        ("since:2026-13-45", "is no time"),
        ("hello", "hello is no id"),
        ('task:"open', "a quotation mark is not closed"),
        ("parent:x", "expected the id of a run"),
        ("ffffffff", "no run has an id that begins with ffffffff"),
        (HOSTILE, "is no id"),
        ("%00", ""),
    ],
)
def test_what_is_not_understood_is_said(store: DjangoStore, search: str, said: str) -> None:
    assert said in text_of(person("view_run"), f"q={search}")


def test_an_edited_cursor_is_said(store: DjangoStore) -> None:
    assert "expected cursor to be" in text_of(person("view_run"), "after=nonsense")


def test_the_beginning_of_an_id_leads_to_the_run(store: DjangoStore) -> None:
    run_id = queued(store)
    answer = person("view_run").get(f"{LIST}?q={run_id.hex}")
    assert answer["Location"] == f"{LIST}{run_id}/change/"


def test_pages_follow_one_another(store: DjangoStore) -> None:
    for _ in range(51):
        queued(store)
    client = person("view_run")
    page = seen(client.get(f"{LIST}?status=queued").content)
    [older] = [link for link in page.links if "after=" in link]
    assert "status=queued" in older
    assert "1 shown" in seen(client.get(LIST + older).content).text


def test_a_hostile_task_name_tag_and_error_are_only_text(store: DjangoStore) -> None:
    run_id = queued(store)
    Run.objects.filter(pk=run_id).update(task=HOSTILE, input=f'["{HOSTILE}"]', worker=HOSTILE)
    client = person("view_run", "view_payload", "cancel_run")
    text = text_of(client)
    assert "<script>alert(1)</script>" in text
    assert "\u202e" not in text
    assert "\x1b" not in text


def test_chips_count_each_state(store: DjangoStore) -> None:
    queued(store)
    started(store)
    assert "Queued1" in text_of(person("view_run")).replace("\n", "")
    assert "Running1" in text_of(person("view_run", name="bo"))


def test_the_list_takes_few_statements(
    store: DjangoStore, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(20):
        suspend(store, started(store), suspension(event_wait()))
    client = person("view_run", "view_payload", "cancel_run")
    with django_assert_max_num_queries(12):
        text_of(client)


def test_several_runs_are_paused_and_each_act_is_logged(store: DjangoStore) -> None:
    chosen = [queued(store), queued(store)]
    answer = person("view_run", "pause_run").post(
        f"{LIST}act/", {"verb": "pause_run", "run": [*chosen], "reason": "too fast"}, follow=True
    )
    assert "Pause: 2 runs" in seen(answer.content).text
    assert all(got(store, run_id).paused_at for run_id in chosen)
    assert LogEntry.objects.count() == 2


def test_a_run_that_refuses_keeps_no_other_from_it(store: DjangoStore) -> None:
    over, waiting = started(store), queued(store)
    store.runs.end(over, ending())
    answer = person("view_run", "pause_run").post(
        f"{LIST}act/", {"verb": "pause_run", "run": [over.run_id, waiting]}, follow=True
    )
    text = seen(answer.content).text
    assert "Pause: 1 run" in text
    assert str(over.run_id) in text


def test_canceling_several_runs_asks_first(store: DjangoStore) -> None:
    chosen = [queued(store), queued(store)]
    client = person("view_run", "cancel_run")
    asked = client.post(f"{LIST}act/", {"verb": "cancel_run", "run": [*chosen]})
    page = seen(asked.content)
    assert "2 runs end as canceled" in page.text
    assert page.refused == []
    assert {got(store, run_id).state for run_id in chosen} == {RunState.QUEUED}
    sure = {"verb": "cancel_run", "run": [*chosen], "sure": "1", "reason": "wrong batch"}
    client.post(f"{LIST}act/", sure)
    assert {got(store, run_id).state for run_id in chosen} == {RunState.CANCELED}


def test_several_runs_need_the_permission_of_the_verb(store: DjangoStore) -> None:
    run_id = queued(store)
    for verb in ("cancel_run", "retry_run", "pause_run", "resume_run", "rerun", "nonsense"):
        client = person("view_run", name=verb)
        answer = client.post(f"{LIST}act/", {"verb": verb, "run": [run_id], "sure": "1"})
        assert answer.status_code == 403
    assert got(store, run_id).state is RunState.QUEUED
