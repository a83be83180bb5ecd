"""What a key of the API may send, start and see: its own, and nothing in the name of others."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from testproject.shop.tasks import linear, sleeper
from trigger_celery import create_token, reset_idempotency_key, send_event
from trigger_celery.errors import EventConflict, InvalidName
from trigger_celery_django.apikeys import PERMISSIONS, create_key
from trigger_celery_django.models import Event, Run, Token

pytestmark = pytest.mark.django_db(transaction=True)


def key(name: str = "shop", **scope: Any) -> str:
    return create_key(name, PERMISSIONS, **scope)[1]


def call(method: str, path: str, body: object = None, *, by: str) -> Any:
    return Client().generic(
        method,
        f"/durable/api/{path}",
        json.dumps({} if body is None else body) if method == "POST" else "",
        content_type="application/json",
        headers={"Authorization": f"Bearer {by}"},
    )


def started(by: str, task: str = linear.name, **options: Any) -> Any:
    return call("POST", f"tasks/{task}/trigger/", {"args": [1], "options": options}, by=by)


def test_events_of_a_key_are_from_that_key_and_take_no_id_of_the_application() -> None:
    body = {"name": "order.paid", "payload": {"total": 0}, "id": "pay-777"}
    assert call("POST", "events/", body, by=key()).status_code == 202
    assert call("POST", "events/", body, by=key("other")).status_code == 202
    assert send_event("order.paid", {"total": 90}, id="pay-777") == "pay-777"
    found = Event.objects.order_by("sequence").values_list("source", "payload")
    assert [(source, json.loads(text)["total"]) for source, text in found] == [
        ("api:shop", 0),
        ("api:other", 0),
        ("", 90),
    ]


def test_keys_of_one_name_are_one_sender_so_that_they_can_be_rotated() -> None:
    body = {"name": "order.paid", "payload": 1, "id": "e-1"}
    answers = [call("POST", "events/", body, by=key()) for _ in range(2)]
    assert [each.status_code for each in answers] == [202, 202]
    assert Event.objects.get().source == "api:shop"


def test_an_id_of_a_key_that_stands_for_another_event_is_a_conflict() -> None:
    by = key()
    sent = {"name": "order.paid", "payload": {"a": 1, "b": 2}, "id": "e-1"}
    assert call("POST", "events/", sent, by=by).status_code == 202
    assert call("POST", "events/", {**sent, "payload": {"b": 2, "a": 1}}, by=by).status_code == 202
    for other in ({**sent, "payload": {"a": 1}}, {**sent, "name": "order.unpaid"}):
        answer = call("POST", "events/", other, by=by)
        assert answer.status_code == 409
        assert "'e-1' of an event from source 'api:shop'" in answer.json()["error"]
    assert Event.objects.count() == 1


def test_an_id_of_the_application_that_stands_for_another_event_is_a_conflict() -> None:
    send_event("order.paid", 1, id="pay-777")
    with pytest.raises(EventConflict, match="'pay-777' of an event from this application"):
        send_event("order.paid", 2, id="pay-777")
    assert Event.objects.get().payload == "1"


def test_a_key_has_idempotency_keys_of_its_own() -> None:
    ours = linear.options(idempotency_key="o-1").trigger(1)
    theirs = started(key(), idempotency_key="o-1")
    assert theirs.status_code == 201
    assert theirs.json()["id"] != str(ours.id)
    assert started(key(), idempotency_key="o-1").json()["id"] == theirs.json()["id"]
    assert started(key("other"), idempotency_key="o-1").status_code == 201
    assert not reset_idempotency_key(linear, "o-1", source="api:else")
    assert reset_idempotency_key(linear, "o-1", source="api:shop")
    assert started(key(), idempotency_key="o-1").status_code == 201
    assert not linear.options(idempotency_key="o-1").trigger(1).created


def test_a_key_may_be_for_some_events_only() -> None:
    by = key(events=["order.*", "ping"])
    for name, status in (
        ("order.paid", 202),
        ("ping", 202),
        ("pings", 403),
        ("orders", 403),
        ("refund", 403),
    ):
        assert call("POST", "events/", {"name": name}, by=by).status_code == status
    assert set(Event.objects.values_list("name", flat=True)) == {"order.paid", "ping"}


def test_a_key_may_be_for_some_tasks_only() -> None:
    by = key(tasks=[linear.name])
    assert started(by).status_code == 201
    for name in (sleeper.name, "no such task"):
        answer = started(by, name)
        assert (answer.status_code, answer.json()) == (
            403,
            {"error": "this API key may start no task of this name"},
        )
    assert set(Run.objects.values_list("task", flat=True)) == {linear.name}


def test_runs_of_other_tasks_are_not_there_for_a_key() -> None:
    by = key(tasks=[linear.name])
    mine, other = linear.trigger(1), sleeper.trigger(1)
    assert call("GET", f"runs/{mine.id}/", by=by).status_code == 200
    for method, path in (("GET", ""), ("POST", "cancel/")):
        answer = call(method, f"runs/{other.id}/{path}", by=by)
        assert (answer.status_code, answer.json()) == (
            404,
            {"error": f"no run has the id {other.id}"},
        )
    assert Run.objects.get(pk=other.id).state == "queued"
    for query in ("", f"?task={linear.name}", f"?task={linear.name}&task={sleeper.name}"):
        page = call("GET", f"runs/{query}", by=by).json()
        assert [each["id"] for each in page["runs"]] == [str(mine.id)]
    page = call("GET", f"runs/?task={sleeper.name}", by=by).json()
    assert page == {"runs": [], "next": None}


def test_tokens_of_other_tasks_are_not_there_for_a_key() -> None:
    by = key(tasks=[linear.name])
    tokens = {task: create_token().id for task in (linear.name, sleeper.name, "")}
    for task, run in (
        (linear.name, linear.trigger(1)),
        (sleeper.name, sleeper.trigger(1)),
    ):
        Token.objects.filter(pk=tokens[task]).update(run=run.id)
    answers = {
        task: call("POST", f"tokens/{token}/complete/", {"value": 1}, by=by)
        for task, token in tokens.items()
    }
    statuses = {task: answer.status_code for task, answer in answers.items()}
    assert statuses == {linear.name: 200, sleeper.name: 404, "": 404}
    assert answers[""].json() == {"error": f"no token has the id {tokens['']}"}


def test_the_command_makes_and_shows_what_a_key_is_for() -> None:
    out = StringIO()
    scope = ["--task", linear.name, "--event", "order.*"]
    call_command("trigger_keys", "create", "shop", "--permission", "trigger", *scope, stderr=out)
    call_command("trigger_keys", "list", "--json", stdout=(shown := StringIO()))
    [listed] = json.loads(shown.getvalue())["keys"]
    assert (listed["tasks"], listed["events"]) == ([linear.name], ["order.*"])
    call_command("trigger_keys", "list", stdout=(shown := StringIO()))
    assert f"trigger, {linear.name}, order.*" in shown.getvalue()
    with pytest.raises(CommandError, match="a name that an API key may use"):
        call_command("trigger_keys", "create", "x", "--permission", "read", "--task", "")


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 197])
def test_a_key_has_a_name_that_its_events_can_carry(name: str) -> None:
    with pytest.raises(InvalidName):
        key(name)
