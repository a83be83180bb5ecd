"""How often API keys, webhook sources and tokens' URLs may be used: more is 429 with a time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.db import connections, transaction
from django.test import Client

from support.databases import alias_of, every_database
from trigger_celery import cancel_token, create_token
from trigger_celery.client.tokens import get_token
from trigger_celery.vocabulary.records import Rate
from trigger_celery_django.apikeys import create_key
from trigger_celery_django.models import Event, KeyRate
from trigger_celery_django.store import DjangoStore

JSON = "application/json"
SECRET = "plain-secret-of-github"
TWO = [2, 3600, 2]
WITHIN = range(1700, 1801)
"""Seconds: two an hour are one each half hour."""
Settings = Callable[..., None]

database = pytest.mark.django_db(transaction=True)


@pytest.fixture
def rates(settings: Any) -> Settings:
    def set_rates(**rates: object) -> None:
        sources = {"github": {"scheme": "github", "secrets": [SECRET]}}
        settings.TRIGGER_CELERY = {**settings.TRIGGER_CELERY, "WEBHOOKS": sources, **rates}

    return set_rates


def ask(key: str, path: str = "runs/", method: str = "GET") -> Any:
    headers = {"Authorization": f"Bearer {key}"}
    return Client().generic(method, f"/durable/api/{path}", headers=headers)


def deliver(body: bytes, secret: str = SECRET) -> Any:
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {"X-Hub-Signature-256": f"sha256={signature}", "X-GitHub-Event": "push"}
    url = "/durable/webhooks/github/"
    return Client().post(url, body, content_type=JSON, headers=headers)


def answer(url: str, body: str = "{}", **headers: str) -> Any:
    return Client().generic("POST", url, body, content_type=JSON, headers=headers)


def refused(response: Any) -> bool:
    """Whether it is a 429 whose time is that of the rate ``TWO``."""
    return response.status_code == 429 and int(response["Retry-After"]) in WITHIN


@database
def test_each_api_key_has_its_rate(rates: Settings) -> None:
    rates(API_KEY_RATE=TWO)
    (row, key), (_, other) = create_key("a", ["read"]), create_key("a", ["read"])
    assert [ask(key).status_code for _ in range(2)] == [200, 200]
    response = ask(key)
    assert refused(response)
    assert "2 in 3600 s, of them 2 at once" in response.json()["error"]
    assert ask(other).status_code == 200
    assert ask("tc_" + "x" * 43).status_code == 401
    assert {(rate.queue, rate.key) for rate in KeyRate.objects.all()} >= {
        ("*api", f"api:{row.prefix}")
    }


@database
def test_a_request_that_is_refused_for_its_rate_does_nothing(rates: Settings) -> None:
    rates(API_KEY_RATE=[1, 3600, 1])
    _, key = create_key("a", ["send_event", "read"])
    assert ask(key).status_code == 200
    response = Client().post(
        "/durable/api/events/",
        '{"name": "paid"}',
        content_type=JSON,
        headers={"Authorization": f"Bearer {key}"},
    )
    assert (response.status_code, Event.objects.count()) == (429, 0)


@database
def test_requests_without_permission_count_too(rates: Settings) -> None:
    rates(API_KEY_RATE=TWO)
    _, key = create_key("a", ["send_event"])
    assert [ask(key).status_code for _ in range(3)] == [403, 403, 429]


@database
def test_a_webhook_source_has_a_rate_that_a_forger_cannot_use_up(rates: Settings) -> None:
    rates(WEBHOOK_RATE=TWO)
    assert [deliver(b"{}", "not the secret").status_code for _ in range(4)] == [401] * 4
    assert not KeyRate.objects.exists()
    assert [deliver(b'{"n": %d}' % number).status_code for number in range(2)] == [202, 202]
    assert refused(deliver(b'{"n": 2}'))
    assert Event.objects.count() == 2


@database
def test_an_open_token_has_a_rate_of_answers(rates: Settings) -> None:
    rates(TOKEN_RATE=TWO)
    token, other = create_token(), create_token()
    forged = token.url.replace(token.url.rstrip("/").rpartition("/")[2], "forged")
    assert {answer(forged).status_code for _ in range(3)} == {404}
    assert {Client().get(token.url).status_code for _ in range(3)} == {200}
    assert not KeyRate.objects.exists()
    assert [answer(token.url, "no json").status_code for _ in range(2)] == [400, 400]
    assert refused(answer(token.url))
    page = Client().generic("POST", token.url, "a=1", "application/x-www-form-urlencoded")
    assert refused(page)
    assert b"<form" in page.content
    assert get_token(token).is_open
    assert answer(other.url).status_code == 200
    cancel_token(token)
    assert answer(token.url).status_code == 410


@database
def test_nothing_is_counted_without_a_rate(rates: Settings) -> None:
    rates(API_KEY_RATE=None, WEBHOOK_RATE=None, TOKEN_RATE=None)
    _, key = create_key("a", ["read"])
    assert ask(key).status_code == 200
    assert deliver(b"{}").status_code == 202
    assert answer(create_token().url).status_code == 200
    assert not KeyRate.objects.exists()


@pytest.mark.parametrize("name", every_database(transaction=True))
def test_of_two_requests_at_once_one_takes_the_last_that_a_rate_allows(name: str) -> None:
    store, line = DjangoStore(alias_of(name)), Barrier(2)
    rate = Rate(interval=timedelta(hours=1))

    def take(number: int) -> timedelta:
        line.wait()
        return store.queues.count_request("api", str(number), rate)

    def side() -> list[bool]:
        try:
            return [take(number) == timedelta(0) for number in range(25)]
        finally:
            connections[store.alias].close()

    with ThreadPoolExecutor(2) as pool:
        one, two = (pool.submit(side) for _ in range(2))
        assert [a + b for a, b in zip(one.result(), two.result(), strict=True)] == [1] * 25


@pytest.mark.parametrize("name", every_database(transaction=True))
def test_a_request_that_its_rate_allows_is_one_statement(
    name: str, django_assert_num_queries: Any
) -> None:
    store, rate = DjangoStore(alias_of(name)), Rate(interval=timedelta(hours=1), burst=3)
    store.queues.count_request("api", "a", rate)
    with django_assert_num_queries(1, connection=connections[store.alias]):
        assert store.queues.count_request("api", "a", rate) == timedelta(0)


@pytest.mark.parametrize("name", [each for each in every_database() if "postgres" in str(each)])
def test_what_user_code_commits_with_a_count_still_waits_for_the_disk(name: str) -> None:
    store, rate = DjangoStore(alias_of(name)), Rate(interval=timedelta(hours=1), burst=3)
    store.queues.count_request("api", "a", rate)  # by itself, in the transaction of the test case
    with connections[store.alias].cursor() as cursor:
        cursor.execute("SHOW synchronous_commit")
        assert cursor.fetchone() == ("off",)
        cursor.execute("SET LOCAL synchronous_commit TO on")
        with transaction.atomic(using=store.alias):
            store.queues.count_request("api", "a", rate)
            cursor.execute("SHOW synchronous_commit")
            assert cursor.fetchone() == ("on",)
