"""The page of a run: what it shows, draws and lets people do."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4
from xml.etree import ElementTree

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.staticfiles import finders
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from support.admin_pages import LIST, Seen, page_of, person, seen
from testproject.shop.tasks import linear
from trigger_celery.errors import RunCanceled
from trigger_celery.testing.contract.tools import (
    checkpoint,
    claim,
    emitted,
    ending,
    event_wait,
    failed_attempt,
    got,
    new_run,
    queued,
    started,
    suspend,
    suspension,
    wait_ids,
)
from trigger_celery.values.codec import JsonCodec
from trigger_celery.values.failures import describe, to_text
from trigger_celery.values.filters import Filter
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.drawing.badges import BADGES
from trigger_celery_django.models import Checkpoint, FailedAttempt, Run, Wait
from trigger_celery_django.store import DjangoStore

pytestmark = pytest.mark.django_db
ALL = ("view_run", "view_payload", "cancel_run", "retry_run", "rerun_run", "pause_run")
HOSTILE = "<script>alert(1)</script>\u202e\x1b[31m\"'><img src=x onerror=y>"
ERROR = to_text(describe(RunCanceled("the gateway is away")))


@pytest.fixture
def store() -> DjangoStore:
    return DjangoStore()


def look(client: Client, run_id: UUID, query: str = "") -> Seen:
    answer = client.get(f"{page_of(run_id)}?{query}")
    assert answer.status_code == 200
    page = seen(answer.content)
    assert page.refused == []
    return page


def ended(store: DjangoStore, state: RunState = RunState.COMPLETED) -> UUID:
    """Return a run that failed a step, waited for an event, and ended on another worker."""
    lease = started(store)
    store.checkpoints.record_failure(lease, replace(failed_attempt(store, "pay"), error=ERROR))
    store.checkpoints.record(lease, replace(checkpoint(store, "pay"), attempt=2))
    suspend(store, lease, suspension(event_wait()))
    store.waits.looked(lease.run_id, fence=lease.fence)
    store.waits.resolve(emitted(store).sequence, wait_ids(store))
    lease = claim(store, lease.run_id, worker="w2").lease
    store.checkpoints.record(lease, checkpoint(store, "mail", position=2))
    store.runs.end(
        lease,
        replace(ending(), state=state, error=ERROR if state is not RunState.COMPLETED else None),
    )
    return lease.run_id


def test_a_run_is_shown_with_its_segments_steps_attempts_and_waits(store: DjangoStore) -> None:
    page = look(person("view_run"), ended(store))
    for words in ("Completed", "w1", "w2", "pay attempt 1", "pay attempt 2", "approval", "mail"):
        assert words in page.text
    assert "from checkpoint, not run again" in page.text


def test_a_failed_run_says_why_and_shows_what_failed_first(store: DjangoStore) -> None:
    run_id = ended(store, RunState.FAILED)
    page = look(person("view_run", "view_payload"), run_id)
    assert "Failed: RunCanceled the gateway is away" in " ".join(page.text.split())
    assert "A retry goes on from 2 checkpoints." in page.text


def test_messages_and_values_need_a_permission_of_their_own(store: DjangoStore) -> None:
    run_id = ended(store, RunState.FAILED)
    failure = FailedAttempt.objects.get(run=run_id)
    client = person("view_run")
    for query in ("", f"span=run-{run_id.hex}", f"span=failed-{failure.pk}"):
        page = look(client, run_id, query)
        assert "RunCanceled" in page.text
        assert "the gateway is away" not in page.text
        assert "view_payload" in page.text
    shown = client.get(f"{LIST}{run_id}/trace.json").json()
    assert "the gateway is away" not in json.dumps(shown)


def test_each_span_can_be_looked_at(store: DjangoStore) -> None:
    run_id = ended(store)
    client = person("view_run", "view_payload")
    links = [each for each in look(client, run_id).links if each.startswith("?span=")]
    assert len(links) == 10
    for link in links:
        look(client, run_id, link.removeprefix("?").partition("#")[0])
    step = Checkpoint.objects.get(run=run_id, key="pay")
    assert "returned" in look(client, run_id, f"span=step-{step.pk}").text


def test_a_span_of_another_run_is_not_shown(store: DjangoStore) -> None:
    other = Checkpoint.objects.get(run=ended(store), key="pay")
    Checkpoint.objects.filter(pk=other.pk).update(value='"of another run"')
    page = look(person("view_run", "view_payload"), ended(store), f"span=step-{other.pk}")
    assert "of another run" not in page.text


def test_a_waiting_run_says_for_what_and_shows_what_came(store: DjangoStore) -> None:
    lease = started(store)
    suspend(store, lease, suspension(event_wait(delay=timedelta(days=7))))
    Run.objects.update(task=linear.name)  # one that is declared
    wanted = Filter("approved", {"documentId": 42, "of": {"kind": "a"}}, JsonCodec())
    Wait.objects.update(filter=wanted.text)
    emitted(store, payload='{"documentId": 41}')
    page = look(person("view_run", "view_payload"), lease.run_id)
    assert "documentId" not in look(person("view_run", name="bo"), lease.run_id).text
    said = " ".join(page.text.split())
    assert 'for approved with documentId = 42 and of.kind = "a" until' in said
    assert "documentId 41" in said
    assert "deadline" in said


@pytest.mark.parametrize(
    ("state", "verbs"),
    [
        ("queued", ["pause_run"]),
        ("executing", ["pause_run"]),
        ("completed", ["rerun"]),
        ("failed", ["retry_run", "rerun"]),
        ("timed_out", ["retry_run", "rerun"]),
        ("canceled", ["rerun"]),
        ("expired", ["rerun"]),
    ],
)
def test_only_what_is_valid_now_is_offered(
    store: DjangoStore, state: str, verbs: list[str]
) -> None:
    run_id = started(store).run_id if state == "executing" else queued(store)
    Run.objects.filter(pk=run_id).update(state=state)
    page = look(person(*ALL), run_id)
    assert page.buttons == verbs
    assert (f"{LIST}{run_id}/cancel/" in page.links) == (state in ("queued", "executing"))
    assert look(person("view_run", name="bo"), run_id).buttons == []


def test_a_paused_run_names_the_person_and_is_resumed(store: DjangoStore) -> None:
    run_id = queued(store)
    client = person(*ALL)
    act(client, run_id, "pause_run", reason="too fast")
    page = look(client, run_id)
    assert "by user:ada: too fast" in page.text
    assert page.buttons == ["resume_run"]
    act(client, run_id, "resume_run")
    assert got(store, run_id).paused_at is None


def act(client: Client, run_id: UUID, verb: str, **more: str) -> str:
    answer = client.post(f"{LIST}{run_id}/act/", {"verb": verb, **more}, follow=True)
    assert answer.status_code == 200
    return seen(answer.content).text


def test_a_failed_run_is_retried_and_the_act_is_logged(store: DjangoStore) -> None:
    run_id = ended(store, RunState.FAILED)
    assert "goes on from its checkpoints" in act(person(*ALL), run_id, "retry_run")
    assert got(store, run_id).state is RunState.QUEUED
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.change_message) == (str(run_id), "retry_run")


def test_a_rerun_leads_to_the_new_run(store: DjangoStore) -> None:
    new = new_run(input="[[],{}]")
    store.runs.create([new])
    answer = person(*ALL).post(f"{LIST}{new.id}/act/", {"verb": "rerun"})
    [copy] = Run.objects.filter(copied_from=new.id)
    assert answer["Location"] == page_of(copy.pk)
    assert "Copied from" in look(person("view_run", name="bo"), copy.pk).text


def test_a_verb_that_is_not_valid_any_more_is_refused_in_words(store: DjangoStore) -> None:
    run_id = ended(store)
    assert str(run_id) in act(person(*ALL), run_id, "retry_run")
    assert got(store, run_id).state is RunState.COMPLETED
    assert LogEntry.objects.count() == 0


def test_canceling_asks_and_keeps_the_reason(store: DjangoStore) -> None:
    run_id = queued(store)
    client = person(*ALL)
    asked = seen(client.get(f"{LIST}{run_id}/cancel/").content)
    assert asked.refused == []
    assert "This cannot be undone" in asked.text
    act(client, run_id, "cancel_run", reason="a wrong order")
    assert "Canceled by user:ada: a wrong order" in look(client, run_id).text


@pytest.mark.parametrize(
    "verb", ["cancel_run", "retry_run", "pause_run", "rerun", "get_run", "x", ""]
)
def test_a_verb_needs_its_permission_and_a_post(store: DjangoStore, verb: str) -> None:
    run_id = queued(store)
    client = person("view_run", "view_payload")
    assert client.post(f"{LIST}{run_id}/act/", {"verb": verb}).status_code == 403
    assert client.get(f"{LIST}{run_id}/act/").status_code == 405
    forged = Client(enforce_csrf_checks=True)
    forged.cookies = client.cookies
    assert forged.post(f"{LIST}{run_id}/act/", {"verb": "pause_run"}).status_code == 403
    assert got(store, run_id).state is RunState.QUEUED


@pytest.mark.parametrize("route", ["change/", "cancel/", "version/", "trace.json"])
def test_each_view_of_a_run_needs_the_permission(store: DjangoStore, route: str) -> None:
    run_id = queued(store)
    assert person().get(f"{LIST}{run_id}/{route}").status_code == 403
    assert Client().get(f"{LIST}{run_id}/{route}").status_code == 302


def test_a_run_that_is_gone_leads_to_the_list() -> None:
    client = person("view_run", "cancel_run")
    for route in ("change/", "cancel/"):
        answer = client.get(f"{LIST}{uuid4()}/{route}", follow=True)
        assert "There is no run" in seen(answer.content).text
    assert client.get(f"{LIST}{uuid4()}/version/").status_code == 404
    assert client.get(f"{LIST}{uuid4()}/trace.json").status_code == 404
    assert client.get(f"{LIST}nonsense/change/").status_code == 404


def test_hostile_texts_are_only_text(store: DjangoStore) -> None:
    run_id = ended(store, RunState.FAILED)
    error = to_text(describe(RunCanceled(HOSTILE)))
    Run.objects.filter(pk=run_id).update(
        task=HOSTILE, worker=HOSTILE, queue=HOSTILE, error=error, tags=json.dumps([HOSTILE])
    )
    Checkpoint.objects.filter(run=run_id, key="pay").update(
        key=HOSTILE, value=json.dumps({HOSTILE: HOSTILE}), source=HOSTILE
    )
    FailedAttempt.objects.update(error=error, worker=HOSTILE)
    Wait.objects.filter(run=run_id).update(
        key=HOSTILE, name=HOSTILE, filter=json.dumps({HOSTILE: HOSTILE})
    )
    client = person(*ALL)
    links = [each for each in look(client, run_id).links if each.startswith("?span=")]
    for link in links:
        text = look(client, run_id, link.removeprefix("?").partition("#")[0]).text
        assert "<script>alert(1)</script>" in text
        assert "\u202e" not in text
        assert "\x1b" not in text


@pytest.mark.parametrize("stored", ["", "{", "[" * 5000, "null", '"\\ud800"', "9" * 70_000])
def test_a_value_that_cannot_be_read_is_shown_as_that(store: DjangoStore, stored: str) -> None:
    run_id = ended(store)
    Run.objects.filter(pk=run_id).update(output=stored)
    look(person(*ALL), run_id, f"span=run-{run_id.hex}")


def test_a_poll_of_an_unchanged_run_takes_two_statements_beside_the_session(
    store: DjangoStore, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    run_id = ended(store)
    client = person("view_run")
    version = client.get(f"{LIST}{run_id}/version/").json()["version"]
    assert f'data-version="{version}"' in client.get(page_of(run_id)).content.decode()
    with django_assert_num_queries(5):  # session, user and two for permissions among them
        assert client.get(f"{LIST}{run_id}/version/?v={version}").status_code == 204
    Checkpoint.objects.filter(run=run_id).delete()
    assert client.get(f"{LIST}{run_id}/version/?v={version}").status_code == 200


def test_a_thousand_steps_take_few_statements_and_page(
    store: DjangoStore, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    lease = started(store)
    step = checkpoint(store, "pay")
    store.checkpoints.record(lease, step)
    row = Checkpoint.objects.get(run=lease.run_id)
    copies = [
        Checkpoint(**{**_columns(row), "key": f"step-{number}", "position": number + 2})
        for number in range(999)
    ]
    Checkpoint.objects.bulk_create(copies)
    client = person(*ALL)
    with django_assert_max_num_queries(20):
        answer = client.get(page_of(lease.run_id))
    assert len(answer.content) < 400 * 1024
    page = seen(answer.content)
    assert "1–500 of 1003" in page.text
    assert "step-998" in look(client, lease.run_id, "from=1000").text
    look(client, lease.run_id, f"from={'9' * 5_000}")


def _columns(row: Checkpoint) -> dict[str, object]:
    names = [field.attname for field in Checkpoint._meta.fields if field.attname != "id"]
    return {name: getattr(row, name) for name in names}


def test_each_badge_has_an_icon_in_the_sprite() -> None:
    path = finders.find("trigger_celery/icons.svg")
    assert isinstance(path, str)
    sprite = ElementTree.parse(path)
    names = {symbol.get("id") for symbol in sprite.getroot()}
    assert {shown.icon for shown in BADGES.values()} <= names
