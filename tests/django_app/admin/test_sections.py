"""The admin's pages of waits, events, queues and schedules: what they show and let people do."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from support.admin_pages import Seen, person, seen
from trigger_celery.errors import RunCanceled
from trigger_celery.testing.contract.tools import (
    CAUSE,
    emitted,
    ending,
    enter_all,
    event_wait,
    got,
    limit,
    sleeping,
    started,
    stored,
    suspend,
    suspension,
)
from trigger_celery.values.failures import describe, to_text
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.models import (
    BulkOperation,
    DeadLetterGroup,
    DurableQueue,
    Event,
    Schedule,
    Wait,
)
from trigger_celery_django.store import DjangoStore

pytestmark = pytest.mark.django_db
HOSTILE = "<script>alert(1)</script>\u202e\x1b[31m\"'><img src=x onerror=y>"
PAGES = {
    "deadlettergroup": "view_deadlettergroup",
    "wait": "view_wait",
    "event": "view_event",
    "durablequeue": "view_durablequeue",
    "schedule": "view_schedule",
}


@pytest.fixture
def store() -> DjangoStore:
    return DjangoStore()


def look(client: Client, model: str, query: str = "") -> Seen:
    answer = client.get(f"/admin/trigger_celery/{model}/?{query}")
    assert answer.status_code == 200
    page = seen(answer.content)
    assert page.refused == []
    return page


def act(client: Client, model: str, key: object, verb: str, value: str = "") -> str:
    answer = client.post(
        f"/admin/trigger_celery/{model}/act/",
        {"key": str(key), "verb": verb, "value": value},
        follow=True,
    )
    assert answer.status_code == 200
    return seen(answer.content).text


def waiting(store: DjangoStore) -> tuple[UUID, int]:
    lease = started(store)
    suspend(store, lease, suspension(event_wait(delay=timedelta(days=7))))
    return lease.run_id, Wait.objects.get(run=lease.run_id).pk


@pytest.mark.parametrize(("model", "permission"), PAGES.items())
def test_each_page_needs_its_permission(model: str, permission: str) -> None:
    path = f"/admin/trigger_celery/{model}/"
    assert person().get(path).status_code == 403
    assert Client().get(path).status_code == 302
    page = look(person(permission, name="bo"), model)
    assert path in page.links
    assert "/admin/trigger_celery/run/" not in page.links


@pytest.mark.parametrize("model", PAGES)
def test_an_act_needs_its_permission_and_a_post(store: DjangoStore, model: str) -> None:
    path = f"/admin/trigger_celery/{model}/act/"
    client = person(*PAGES.values(), "view_run")
    for verb in ("complete_wait", "pause_queue", "run_schedule", "send_event", ""):
        assert client.post(path, {"verb": verb, "key": "1"}).status_code == 403
    assert client.get(path).status_code == 405


def test_a_wait_is_completed_with_the_json_that_was_typed(store: DjangoStore) -> None:
    run_id, wait = waiting(store)
    client = person("view_wait", "complete_wait", "view_run")
    page = look(client, "wait")
    assert page.buttons == ["complete_wait", "skip_wait", "extend_wait"]
    assert f"/admin/trigger_celery/run/{run_id}/change/" in page.links
    assert "6 d 23 h left" in page.text or "7 d 0 h left" in page.text
    assert "type JSON" in act(client, "wait", wait, "complete_wait")
    assert "Not JSON" in act(client, "wait", wait, "complete_wait", "{")
    assert got(store, run_id).state is RunState.SUSPENDED
    assert "its run goes on" in act(client, "wait", wait, "complete_wait", '{"ok": true}')
    assert got(store, run_id).state is RunState.QUEUED
    assert LogEntry.objects.get().change_message == "complete_wait"
    assert "may have ended" in act(client, "wait", wait, "complete_wait", "1")


def test_a_wait_times_out_now_or_a_day_later(store: DjangoStore) -> None:
    run_id, wait = waiting(store)
    due = Wait.objects.get(pk=wait).due_at
    client = person("view_wait", "complete_wait")
    act(client, "wait", wait, "extend_wait")
    assert due is not None
    assert Wait.objects.get(pk=wait).due_at == due + timedelta(days=1)
    act(client, "wait", wait, "skip_wait")
    assert got(store, run_id).state is RunState.QUEUED


def test_a_sleep_takes_no_value(store: DjangoStore) -> None:
    lease = started(store)
    suspend(store, lease, suspension(sleeping()))
    page = look(person("view_wait", "complete_wait"), "wait")
    assert page.buttons == ["skip_wait", "extend_wait"]


def test_a_queue_is_paused_with_a_reason_and_resumed(store: DjangoStore) -> None:
    limit(store, concurrency=1)
    name = stored(store).name
    enter_all(store, 2)
    client = person("view_durablequeue", "manage_queue")
    assert "Idle" in look(client, "durablequeue").text
    act(client, "durablequeue", name, "pause_queue", "too fast")
    assert "Paused user:ada too fast" in " ".join(look(client, "durablequeue").text.split())
    act(client, "durablequeue", name, "resume_queue")
    assert DurableQueue.objects.get(pk=name).paused_at is None
    assert "no durable queue" in act(client, "durablequeue", "nothing", "pause_queue").lower()


def test_a_schedule_is_paused_and_resumed(store: DjangoStore) -> None:
    Schedule.objects.create(key="nightly", task="any", every=timedelta(days=1))
    client = person("view_schedule", "manage_schedule")
    assert "nightly" in look(client, "schedule").text
    act(client, "schedule", "nightly", "pause_schedule")
    assert "Paused" in look(client, "schedule").text
    act(client, "schedule", "nightly", "resume_schedule")
    assert Schedule.objects.get(key="nightly").paused_at is None
    assert LogEntry.objects.count() == 2


def failed(store: DjangoStore) -> UUID:
    lease, error = started(store), describe(RunCanceled("no paper"))
    store.runs.end(lease, ending(RunState.FAILED, error=to_text(error)))
    return lease.run_id


def test_all_runs_of_a_group_of_dead_letters_are_retried_by_a_bulk_operation(
    store: DjangoStore,
) -> None:
    runs = [failed(store), failed(store)]
    client = person("view_deadlettergroup", "retry_run", "view_payload", "manage_dead_letters")
    page = look(client, "deadlettergroup")
    assert "ValueError no paper" in " ".join(page.text.split())
    assert page.buttons == ["start_bulk", "ignore_dead_letter_group"]
    said = act(client, "deadlettergroup", CAUSE.fingerprint, "start_bulk", "gateway is back")
    assert "2 runs are retried by bulk operation" in said
    operation = BulkOperation.objects.get()
    assert (operation.by, operation.reason) == ("user:ada", "gateway is back")
    assert {got(store, run_id).state for run_id in runs} == {RunState.FAILED}  # a worker does it
    act(client, "deadlettergroup", "", "start_bulk")
    assert BulkOperation.objects.count() == 1


def test_a_group_of_dead_letters_is_ignored_and_shown_again(store: DjangoStore) -> None:
    failed(store)
    client = person("view_deadlettergroup", "manage_dead_letters")
    page = look(client, "deadlettergroup")
    assert "no paper" not in page.text
    act(client, "deadlettergroup", CAUSE.fingerprint, "ignore_dead_letter_group")
    page = look(client, "deadlettergroup")
    assert "Ignored, by user:ada" in page.text
    assert page.buttons == ["show_dead_letter_group"]
    act(client, "deadlettergroup", CAUSE.fingerprint, "show_dead_letter_group")
    assert "Open" in look(client, "deadlettergroup").text


def test_payloads_of_events_are_for_a_permission_of_their_own(store: DjangoStore) -> None:
    emitted(store, payload='{"card": 4711}')
    assert "4711" not in look(person("view_event"), "event").text
    assert "4711" in look(person("view_event", "view_payload", name="bo"), "event").text


def test_an_edited_cursor_is_said(store: DjangoStore) -> None:
    assert "Expected cursor" in look(person("view_event"), "event", "cursor=x").text
    look(person("view_wait", name="bo"), "wait", "after=99999999999999999999999")


def test_hostile_texts_are_only_text(store: DjangoStore) -> None:
    waiting(store)
    Wait.objects.update(name=HOSTILE, source=HOSTILE)
    failed(store)
    look(person("view_deadlettergroup", name="bo"), "deadlettergroup")
    DeadLetterGroup.objects.update(kind=HOSTILE, message=HOSTILE, place=HOSTILE, by=HOSTILE)
    emitted(store)
    Event.objects.update(name=HOSTILE, event_id=HOSTILE, payload=HOSTILE, source=HOSTILE)
    Schedule.objects.create(key=HOSTILE, task=HOSTILE, every=timedelta(days=1))
    limit(store, concurrency=1)
    DurableQueue.objects.update(paused_by=HOSTILE, pause_reason=HOSTILE, paused_at=store.now())
    client = person(*PAGES.values(), "view_payload", "complete_wait", "manage_queue")
    for model in PAGES:
        text = look(client, model).text
        assert "<script>alert(1)</script>" in text
        assert "\u202e" not in text
        assert "\x1b" not in text


def test_a_page_of_waits_takes_few_statements(
    store: DjangoStore, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(5):
        waiting(store)
    client = person("view_wait", "complete_wait")
    with django_assert_max_num_queries(6):
        look(client, "wait")
