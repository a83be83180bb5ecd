"""Runs from the views people write: Django's, Django REST framework's and async ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path
from rest_framework import serializers
from rest_framework.decorators import api_view
from rest_framework.response import Response

import trigger_celery
from testproject.shop.tasks import linear
from trigger_celery import (
    acancel_run,
    aget_run,
    alist_runs,
    asend_event,
    cancel_run,
    send_event,
)
from trigger_celery.errors import BlocksEventLoop
from trigger_celery_django.models import Event, Run

pytestmark = pytest.mark.django_db(transaction=True)


class Order(serializers.Serializer):  # type: ignore[misc]  # it has no types
    """What the REST framework's view takes."""

    amount = serializers.IntegerField(min_value=1)


@api_view(["POST"])  # type: ignore[untyped-decorator]  # it has no types
def rest(request: Any) -> Response:
    order = Order(data=request.data)
    order.is_valid(raise_exception=True)
    handle = linear.options(tags=["rest"]).trigger(order.validated_data["amount"])
    return Response({"run": str(handle.id)}, status=201)


def atomic(request: HttpRequest) -> HttpResponse:
    User.objects.create(username="ann")
    run = linear.delay(2).id
    send_event("ordered", {"by": "ann"})
    if "fail" in request.GET:
        raise LookupError("after all of it")
    return JsonResponse({"run": run, "in_transaction": connection.in_atomic_block})


async def started(request: HttpRequest) -> HttpResponse:
    handle = await linear.options(tags=["async"]).atrigger(3)
    result = await linear.adelay(4)
    await asend_event("ordered", {"amount": 3})
    page = await alist_runs(tag="async")
    canceled = await acancel_run(handle.id, reason="changed my mind")
    return JsonResponse(
        {
            "runs": [str(handle.id), result.id],
            "listed": [str(run.id) for run in page.runs],
            "canceled": canceled,
            "state": (await aget_run(handle.id)).state,
        }
    )


async def blocked(request: HttpRequest) -> HttpResponse:
    run_id = (await linear.atrigger(1)).id
    calls: dict[str, Callable[[], object]] = {
        "delay": lambda: linear.delay(1),
        "trigger": lambda: linear.trigger(1),
        "send_event": lambda: send_event("ordered"),
        "cancel_run": lambda: cancel_run(run_id),
    }
    said: dict[str, str] = {}
    for name, call in calls.items():
        try:
            call()
        except BlocksEventLoop as error:
            said[name] = str(error)
    return JsonResponse(said)


urlpatterns = [
    path("rest/", rest),
    path("atomic/", atomic),
    path("started/", started),
    path("blocked/", blocked),
]

with_views = override_settings(ROOT_URLCONF=__name__)


@with_views
def test_a_view_of_the_rest_framework_starts_a_run_with_validated_input() -> None:
    answer = Client().post("/rest/", {"amount": 2}, content_type="application/json")
    assert answer.status_code == 201, answer.content
    info = trigger_celery.get_run(answer.json()["run"])
    assert (info.args, info.tags) == ((2,), ("rest",))
    assert Client().post("/rest/", {"amount": 0}).status_code == 400
    assert Run.objects.count() == 1


@with_views
def test_with_atomic_requests_run_and_rows_appear_or_vanish_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    client = Client(raise_request_exception=False)
    assert client.get("/atomic/?fail=1").status_code == 500
    assert not Run.objects.exists()
    assert not User.objects.exists()
    assert not Event.objects.exists()
    answer = client.get("/atomic/").json()
    assert answer["in_transaction"]
    assert [run.pk for run in Run.objects.all()] == [UUID(answer["run"])]
    assert User.objects.count() == 1
    assert Event.objects.get().matched_at is not None


@with_views
def test_an_async_view_awaits_the_twins() -> None:
    answer = asyncio.run(_get("/started/"))
    first, second = answer["runs"]
    assert {str(run.pk) for run in Run.objects.all()} == {first, second}
    assert answer["listed"] == [first]
    assert (answer["canceled"], answer["state"]) == (True, "canceled")
    assert Event.objects.get().name == "ordered"


@with_views
def test_a_plain_call_in_an_async_view_names_its_twin() -> None:
    said = asyncio.run(_get("/blocked/"))
    assert "`await task.adelay(...)`" in said["delay"]
    assert "`await task.atrigger(...)`" in said["trigger"]
    assert "`await asend_event(...)`" in said["send_event"]
    assert "`await acancel_run(...)`" in said["cancel_run"]
    assert Run.objects.count() == 1
    assert not Event.objects.exists()


def test_a_handle_is_awaited_without_a_thread_that_waits() -> None:
    async def play() -> tuple[str, bool, bool]:
        handle = await linear.atrigger(1)
        with pytest.raises(trigger_celery.WaitTimeout):
            await handle.aresult(timeout=0.05)
        state = await handle.astate()
        return state, await handle.acancel("late"), await handle.acancel()

    assert asyncio.run(play()) == ("queued", True, False)


def test_a_twin_refuses_what_its_verb_refuses_and_rolls_back_alike() -> None:
    def order() -> UUID:
        with transaction.atomic():
            run_id = linear.trigger(1).id
            transaction.set_rollback(True)
        return run_id

    async def play() -> None:
        run_id = await sync_to_async(order)()
        with pytest.raises(trigger_celery.errors.RunNotFound):
            await aget_run(run_id)

    asyncio.run(play())


async def _get(url: str) -> Any:
    answer = await AsyncClient().get(url)
    assert answer.status_code == 200, answer.content
    return answer.json()
