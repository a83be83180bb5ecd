"""The JSON API: which callers it admits, what it does, and what it refuses without a trace."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connections
from django.test import Client
from django.utils import timezone

from testproject.shop.tasks import linear
from trigger_celery import create_token
from trigger_celery.client.access import Caller, installed_engine
from trigger_celery.engine.waking import tokens
from trigger_celery_django import urls
from trigger_celery_django.apikeys import PERMISSIONS, create_key
from trigger_celery_django.models import ApiKey, Event, Run
from trigger_celery_django.views import api

pytestmark = pytest.mark.django_db(transaction=True)

MISSING = UUID(int=7)
BEFORE_TIME = "0001-01-01T00:00:00+14:00"
AFTER_TIME = "9999-12-31T23:59:59-14:00"
"""A database keeps these, and no Python process could read the row any more."""


def key(*permissions: str) -> str:
    return create_key("a test", permissions or PERMISSIONS)[1]


def call(method: str, path: str, body: object = None, *, by: str | None = None) -> Any:
    given = key() if by is None else by
    return Client(enforce_csrf_checks=True).generic(
        method,
        f"/durable/api/{path}",
        json.dumps(body) if body is not None else "",
        content_type="application/json",
        headers={"Authorization": f"Bearer {given}"},
    )


def test_a_run_is_started_read_and_canceled() -> None:
    body = {"args": [2], "options": {"tags": ["vip"], "delay": 60, "metadata": {"from": "x"}}}
    answer = call("POST", f"tasks/{linear.name}/trigger/", body)
    assert answer.status_code == 201, answer.content
    started = answer.json()
    assert (started["task"], started["created"]) == (linear.name, True)

    shown = call("GET", f"runs/{started['id']}/").json()
    assert (shown["state"], shown["tags"], shown["metadata"]) == ("queued", ["vip"], {"from": "x"})

    assert call("POST", f"runs/{started['id']}/cancel/", {"reason": "no more"}).json()["canceled"]
    shown = call("GET", f"runs/{started['id']}/").json()
    assert (shown["state"], shown["error"]["message"]) == ("canceled", "no more")
    assert not call("POST", f"runs/{started['id']}/cancel/", {}).json()["canceled"]


def test_runs_are_listed_a_page_at_a_time() -> None:
    bodies = [{"args": [1], "options": {"tags": ["vip"] if number else []}} for number in range(4)]
    ids = [call("POST", f"tasks/{linear.name}/trigger/", body).json()["id"] for body in bodies]
    call("POST", f"runs/{ids[2]}/cancel/", {"reason": "no more"})

    page = call("GET", "runs/?tag=vip&limit=2").json()
    assert [run["id"] for run in page["runs"]] == [ids[3], ids[2]]
    assert page["runs"][1]["error"]["message"] == "no more"
    assert page["runs"][0] == {
        name: value
        for name, value in call("GET", f"runs/{ids[3]}/").json().items()
        if name not in ("metadata", "output")
    }
    last = call("GET", f"runs/?tag=vip&limit=2&cursor={page['next']}").json()
    assert ([run["id"] for run in last["runs"]], last["next"]) == ([ids[1]], None)

    both = f"state=canceled&state=queued&task={linear.name}&since=2026-01-01T00:00Z"
    assert len(call("GET", f"runs/?{both}").json()["runs"]) == 4
    assert call("GET", f"runs/?root={ids[0]}&dead_letters=false").json()["runs"][0]["id"] == ids[0]
    assert call("GET", f"runs/?parent={ids[0]}&schedule=nightly").json()["runs"] == []


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("tags=vip", "no filter 'tags'"),
        ("limit=many", "limit to be a number"),
        ("limit=0", "1 to 1,000"),
        ("since=yesterday", "since to be a time"),
        ("since=2026-01-01", "aware"),
        ("dead_letters=1", "true or false"),
        ("queue=a&queue=b", "'queue' once"),
        ("state=gone", "one of queued"),
        ("cursor=x", "next of a page"),
    ],
)
def test_a_list_that_cannot_be_is_refused(query: str, says: str) -> None:
    answer = call("GET", f"runs/?{query}")
    assert (answer.status_code, says in answer.json()["error"]) == (400, True), answer.json()


def test_an_idempotency_key_gives_the_same_run_and_refuses_another_input() -> None:
    options = {"idempotency_key": "order-1"}
    first = call("POST", f"tasks/{linear.name}/trigger/", {"args": [1], "options": options})
    again = call("POST", f"tasks/{linear.name}/trigger/", {"args": [1], "options": options})
    other = call("POST", f"tasks/{linear.name}/trigger/", {"args": [9], "options": options})
    assert [first.status_code, again.status_code, other.status_code] == [201, 200, 409]
    assert again.json() == {**first.json(), "created": False}
    assert Run.objects.count() == 1


def test_an_event_is_sent_once() -> None:
    body = {"name": "order.paid", "payload": {"id": 7}, "id": "e-1"}
    assert [call("POST", "events/", body).status_code for _ in range(2)] == [202, 202]
    event = Event.objects.get()
    assert (event.event_id, json.loads(event.payload)) == ("e-1", {"id": 7})


def test_a_token_is_completed_once() -> None:
    token = create_token(timeout=timedelta(minutes=5)).id
    answers = [call("POST", f"tokens/{token}/complete/", {"value": "yes"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 409]
    assert tokens.get_token(installed_engine(), token).value == '"yes"'


@pytest.mark.parametrize("given", ["", "tc_wrong", "é"])
def test_without_a_valid_key_nothing_is_shown(given: str) -> None:
    answer = call("GET", f"runs/{MISSING}/", by=given)
    assert (answer.status_code, list(answer.json())) == (401, ["error"])


def test_every_error_is_json_of_one_shape() -> None:
    answers = {
        401: call("GET", "runs/", by="tc_wrong"),
        403: call("GET", "runs/", by=key("trigger")),
        404: call("GET", "nowhere/"),
        405: call("PUT", "runs/"),
        413: call("POST", "events/", "x" * 1_000_001),
    }
    assert {status: each.status_code for status, each in answers.items()} == {
        status: status for status in answers
    }
    assert [list(each.json()) for each in answers.values()] == [["error"]] * len(answers)
    assert answers[401]["WWW-Authenticate"] == 'Bearer realm="trigger-celery"'
    assert answers[405]["Allow"] == "GET"
    assert call("GET", "runs").json()["error"].endswith("end with a slash")


def test_an_error_that_is_not_foreseen_is_logged_and_no_page(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(run_id: UUID) -> Any:
        raise RuntimeError("a thing of ours")

    monkeypatch.setattr("trigger_celery.client.runs.stored_run", fails)
    client = Client(raise_request_exception=False)
    headers = {"Authorization": f"Bearer {key()}"}
    answer = client.get(f"/durable/api/runs/{MISSING}/", headers=headers)
    assert (answer.status_code, "a thing" in answer.json()["error"]) == (500, False)
    assert "a thing of ours" in caplog.text


def test_what_a_request_says_is_cut_in_answers_and_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "trigger_celery.http")
    name = "x\n" * 50_000
    answer = call("POST", "events/", {"name": name})
    assert (answer.status_code, len(answer.json()["error"]) < 2_000) == (400, True)
    said = [each.getMessage() for each in caplog.records if each.name == "trigger_celery.http"]
    assert [len(each) < 2_000 and each.isprintable() for each in said] == [True]


def test_a_key_that_may_not_read_learns_nothing_of_the_first_completion() -> None:
    token = create_token(timeout=timedelta(minutes=5)).id
    call("POST", f"tokens/{token}/complete/", {"value": 1})
    blind = call("POST", f"tokens/{token}/complete/", {"value": 1}, by=key("complete_token"))
    assert blind.json() == {
        "error": "The token was completed before, was canceled, or its time is over."
    }
    sees = call("POST", f"tokens/{token}/complete/", {"value": 1})
    assert str(token) in sees.json()["error"]


def test_a_session_gives_no_right(admin_client: Client) -> None:
    assert admin_client.get(f"/durable/api/runs/{MISSING}/").status_code == 401


def test_an_expired_or_revoked_key_is_none() -> None:
    row, old = create_key("old", ["read"], expires_in=timedelta(days=1))
    ApiKey.objects.filter(pk=row.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    row, gone = create_key("gone", ["read"])
    call_command("trigger_keys", "revoke", row.prefix, stdout=StringIO())
    assert {call("GET", f"runs/{MISSING}/", by=each).status_code for each in (old, gone)} == {401}


@pytest.mark.parametrize("permission", PERMISSIONS)
def test_a_key_may_do_what_it_was_made_for_and_nothing_else(permission: str) -> None:
    calls = {
        "trigger": ("POST", "tasks/none/trigger/"),
        "read": ("GET", f"runs/{MISSING}/"),
        "cancel": ("POST", f"runs/{MISSING}/cancel/"),
        "send_event": ("POST", "events/"),
        "complete_token": ("POST", f"tokens/{MISSING}/complete/"),
    }
    mine = key(permission)
    refused = {name for name, each in calls.items() if call(*each, by=mine).status_code == 403}
    assert refused == set(PERMISSIONS) - {permission}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("tasks/no.such.task/trigger/", {}, 404),
        (f"tasks/{linear.name}/trigger/", {"args": []}, 400),
        (f"tasks/{linear.name}/trigger/", {"arg": [1]}, 400),
        (f"tasks/{linear.name}/trigger/", {"args": "12"}, 400),
        (f"tasks/{linear.name}/trigger/", {"args": [1], "options": {"delays": 1}}, 400),
        (f"tasks/{linear.name}/trigger/", {"args": [1], "options": {"delay": -1}}, 400),
        (f"tasks/{linear.name}/trigger/", {"args": [1], "options": {"delay": "soon"}}, 400),
        (f"tasks/{linear.name}/trigger/", {"args": [1], "options": {"delay": 10**400}}, 400),
        (f"tasks/{linear.name}/trigger/", {"args": [1], "options": {"delay": BEFORE_TIME}}, 400),
        (f"tasks/{linear.name}/trigger/", {"args": [1], "options": {"delay": AFTER_TIME}}, 400),
        (f"tasks/{linear.name}/trigger/", {"args": [1], "options": {"tags": ["x" * 129]}}, 400),
        (f"tasks/{linear.name}/trigger/", {"args": [1], "options": {"debounce": {"k": 1}}}, 400),
        (f"tasks/{linear.name}/trigger/", {"args": [1], "options": {"queue": ""}}, 400),
        (f"tasks/{linear.name}/trigger/", {"args": [1], "options": {"queue": "nope"}}, 404),
        (f"tasks/{linear.name}/trigger/", [1, 2], 400),
        (f"runs/{MISSING}/cancel/", {}, 404),
        (f"tokens/{MISSING}/complete/", {}, 400),
        (f"tokens/{MISSING}/complete/", {"value": None}, 404),
        ("events/", {}, 400),
        ("events/", {"name": "x" * 201}, 400),
        ("events/", {"name": "a", "data": 1}, 400),
        (f"tokens/{MISSING}/complete/", {"value": 1}, 404),
        (f"tokens/{MISSING}/complete/", {"data": 1}, 400),
    ],
)
def test_a_wrong_request_is_refused_and_nothing_is_written(
    path: str, body: object, status: int
) -> None:
    answer = call("POST", path, body)
    assert (answer.status_code, list(answer.json())) == (status, ["error"]), answer.content
    assert not Run.objects.exists()
    assert not Event.objects.exists()


def test_malformed_oversized_and_other_bodies_are_refused(settings: Any) -> None:
    settings.TRIGGER_CELERY = {**settings.TRIGGER_CELERY, "REQUEST_LIMIT": 1_000}
    headers = {"Authorization": f"Bearer {key()}"}

    def send(body: bytes, content_type: str = "application/json") -> int:
        path = "/durable/api/events/"
        return Client().post(path, body, content_type=content_type, headers=headers).status_code

    assert send(b"{") == 400
    assert send(b"") == 400
    assert send(b'{"name": "a"}', "text/plain") == 415
    assert send(b'{"name": "a", "payload": "' + b"x" * 1_000 + b'"}') == 413
    assert send(b"[" * 200 + b"]" * 200) == 400
    assert Client().get("/durable/api/events/", headers=headers).status_code == 405


def test_keys_are_made_listed_and_revoked_from_the_command_line() -> None:
    out, note = StringIO(), StringIO()
    call_command(
        "trigger_keys",
        "create",
        "ci",
        "--permission",
        "read",
        "--days",
        "3",
        stdout=out,
        stderr=note,
    )
    made = out.getvalue().strip()
    assert call("GET", f"runs/{MISSING}/", by=made).status_code == 404
    assert not ApiKey.objects.filter(digest=made).exists()

    out = StringIO()
    call_command("trigger_keys", "list", "--json", stdout=out)
    (listed,) = (each for each in json.loads(out.getvalue())["keys"] if each["name"] == "ci")
    assert (listed["prefix"], listed["permissions"]) == (made[:9], ["read"])
    assert made not in out.getvalue()

    call_command("trigger_keys", "revoke", made[:9], stdout=StringIO())
    with pytest.raises(CommandError, match="no valid key"):
        call_command("trigger_keys", "revoke", made[:9])


def test_a_database_that_is_away_is_503_also_for_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(given: str) -> Caller:
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(api, "caller_of", away)
    answer = call("GET", f"runs/{MISSING}/")
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert answer.json() == {"error": "try again later"}


@pytest.mark.parametrize("days", ["0", "-1", "1000000000", "10000000000000"])
def test_a_key_ends_in_a_day_or_in_a_hundred_years(days: str) -> None:
    with pytest.raises(CommandError, match="at least 1 and at most 36,600"):
        call_command("trigger_keys", "create", "ci", "--permission", "read", f"--days={days}")
    assert not ApiKey.objects.exists()


def test_no_view_is_in_a_transaction_of_its_request_whichever_database_has_them() -> None:
    # Those of tokens may be in one.
    others = ("token", "token-without-slash", "api-unknown")
    ours = [each for each in urls.urlpatterns if each.name not in others]
    assert len(ours) == 8
    for pattern in ours:
        exempt: set[str] = pattern.callback.__dict__["_non_atomic_requests"]
        # Tests of chaos, in the same process, add a database while they last.
        assert exempt == set(connections) - {"chaos"}, pattern.name
