"""The URL of a token: GET shows a form and completes nothing, POST completes it once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client, override_settings

from trigger_celery import Token, cancel_token, create_token
from trigger_celery.errors import DeclarationError, UsageError
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.records import StoredToken
from trigger_celery.vocabulary.states import TokenState
from trigger_celery_django.conf import config
from trigger_celery_django.links import token_url

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
PAGES = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def harness() -> Iterator[Harness]:
    with Harness() as harness:
        harness.engine.token_url = token_url
        yield harness


@pytest.fixture
def token(harness: Harness) -> Token:
    token: Token = create_token(timeout=3600)
    return token


@pytest.fixture
def client() -> Client:
    return Client(enforce_csrf_checks=True)


def stored(harness: Harness, token: Token) -> StoredToken:
    found = harness.memory.tokens.get(token.id)
    assert found is not None
    return found


def value(harness: Harness, token: Token) -> Any:
    text = stored(harness, token).value
    assert text is not None
    return harness.engine.codec.decode(text)


def post(
    client: Client, url: str, body: Any, kind: str = JSON, headers: dict[str, str] | None = None
) -> Any:
    return client.generic("POST", url, body, content_type=kind, headers=headers)


def test_a_json_body_completes_the_token(harness: Harness, token: Token, client: Client) -> None:
    response = post(client, token.url, '{"approved": true, "$": "x"}')
    assert (response.status_code, response.json()) == (200, {"state": "completed"})
    assert value(harness, token) == {"approved": True, "$": "x"}
    assert stored(harness, token).closed_by == "url"


def test_get_and_head_complete_nothing(harness: Harness, token: Token, client: Client) -> None:
    page = client.get(token.url, headers=PAGES)
    assert page.status_code == 200
    assert "<form" in page.text
    assert client.head(token.url, headers=PAGES).status_code == 200
    answer = client.get(token.url, headers={"Accept": JSON})
    assert answer.json()["state"] == "waiting"
    assert stored(harness, token).is_open
    assert client.put(token.url).status_code == 405
    assert client.options(token.url).status_code == 405
    assert stored(harness, token).is_open


def test_the_form_of_the_page_completes_the_token(
    harness: Harness, token: Token, client: Client
) -> None:
    response = post(client, token.url, "json=%7B%22approved%22%3A%20true%7D", FORM, PAGES)
    assert response.status_code == 200
    assert "has been received" in response.text
    assert "<form" not in response.text
    assert value(harness, token) == {"approved": True}


def test_the_fields_of_any_form_become_an_object(
    harness: Harness, token: Token, client: Client
) -> None:
    post(client, token.url, "a=1&b=x&b=%C3%A4&c=", FORM)
    assert value(harness, token) == {"a": "1", "b": ["x", "\u00e4"], "c": ""}


def test_a_wrong_secret_is_as_unknown_as_a_wrong_token(
    harness: Harness, token: Token, client: Client
) -> None:
    other: Token = create_token()
    secret = token.url.rstrip("/").rpartition("/")[2]
    wrong = [
        token.url.replace(secret, secret[:-1]),
        token.url.replace(secret, "x" * len(secret)),
        token.url.replace(secret, "\u00e4"),
        other.url.replace(str(other.id), str(token.id)),
    ]
    with Harness() as elsewhere:
        elsewhere.engine.token_url = token_url
        wrong.append(create_token().url)
    for url in wrong:
        answers = [client.get(url), post(client, url, "{}"), post(client, url, "x", "text/x")]
        assert [answer.status_code for answer in answers] == [404] * 3
        assert answers[1].json() == {"error": "There is no such token."}
    assert stored(harness, token).is_open
    assert len(secret) * 6 >= 256


def test_a_token_is_completed_once(harness: Harness, token: Token, client: Client) -> None:
    assert post(client, token.url, "1").status_code == 200
    again = post(client, token.url, "2")
    assert (again.status_code, again.json()) == (
        409,
        {"error": "This has been answered already."},
    )
    page = client.get(token.url, headers=PAGES)
    assert (page.status_code, "<form" in page.text) == (409, False)
    assert value(harness, token) == 1


def test_a_token_that_is_over_or_canceled_is_gone(
    harness: Harness, token: Token, client: Client
) -> None:
    canceled: Token = create_token()
    cancel_token(canceled)
    harness.advance(timedelta(hours=1))
    for each, outcome in ((token, "is over"), (canceled, "was canceled")):
        assert post(client, each.url, "1").status_code == 410
        page = client.get(each.url, headers=PAGES)
        assert (page.status_code, "<form" in page.text) == (410, False)
        assert outcome in page.text
    assert stored(harness, token).state is TokenState.WAITING


@pytest.mark.parametrize(
    ("body", "kind", "status", "message"),
    [
        ("{", JSON, 400, "not JSON"),
        (" ", JSON, 400, "not JSON"),
        (b"\xff", JSON, 400, "not JSON"),
        ("NaN", JSON, 400, ""),
        ('{"a": 1, "a": 2}', JSON, 400, "same key twice"),
        ("[" * 5_000 + "]" * 5_000, JSON, 400, "levels deep"),
        ("json=%7B", FORM, 400, "not JSON"),
        ("&".join(f"f{n}=1" for n in range(2_000)), FORM, 400, "too many fields"),
        ('"' + "x" * 2_000 + '"', JSON, 413, "is over 1,000 bytes"),
        ("a=" + "x" * 2_000, FORM, 413, "is over 1,000 bytes"),
        ("1", "text/plain", 415, "text/plain"),
        ("1", "", 415, "send application/json"),
        ("x", "multipart/form-data; boundary=x", 415, "multipart"),
    ],
)
def test_a_bad_body_is_refused_and_the_token_stays_open(
    harness: Harness, token: Token, client: Client, body: Any, kind: str, status: int, message: str
) -> None:
    limit = {"TRIGGER_CELERY": {"REQUEST_LIMIT": 1_000 if status == 413 else 100_000}}
    with override_settings(**limit):
        response = post(client, token.url, body, kind, {"Accept": JSON})
    assert (response.status_code, message in response.json()["error"]) == (status, True), (
        response.text
    )
    assert stored(harness, token).is_open


def test_a_value_over_the_payload_limit_is_too_large(harness: Harness, client: Client) -> None:
    token: Token = create_token()
    response = post(client, token.url, '"' + "\u00e4" * 400_000 + '"')  # six bytes each as stored
    assert response.status_code == 413
    assert stored(harness, token).is_open


def test_a_body_that_its_schema_does_not_allow_is_refused(harness: Harness, client: Client) -> None:
    token: Token = create_token(schema={"type": "object", "required": ["approved"]})
    response = post(client, token.url, "{}")
    assert (response.status_code, "'approved' is a required" in response.json()["error"]) == (
        400,
        True,
    )
    page = post(client, token.url, "json=[7]", FORM, PAGES)
    assert page.status_code == 400
    assert "<form" in page.text
    assert post(client, token.url, '{"approved": false}').status_code == 200


def test_what_a_stranger_wrote_is_escaped_in_the_page(
    harness: Harness, token: Token, client: Client
) -> None:
    strict: Token = create_token(schema={"type": "object"})
    page = post(client, strict.url, 'json="<script>alert(1)</script>"', FORM, PAGES)
    assert page.status_code == 400
    assert "<script" not in page.text
    assert "<script>alert(1)</script>" in unescape(page.text)


def test_no_answer_is_cached_indexed_or_sends_its_url_to_others(
    harness: Harness, token: Token, client: Client
) -> None:
    answers = [
        client.get(token.url, headers=PAGES),
        post(client, token.url, "{"),
        post(client, token.url, "1"),
        client.get(token.url),
        client.get(token.url.replace(str(token.id)[:8], "00000000")),
    ]
    assert [answer.status_code for answer in answers] == [200, 400, 200, 409, 404]
    for answer in answers:
        assert answer["Referrer-Policy"] == "no-referrer"
        assert answer["Cache-Control"] == "no-store"
        assert "noindex" in answer["X-Robots-Tag"]
        assert "script-src" not in answer["Content-Security-Policy"]
        assert "default-src 'none'" in answer["Content-Security-Policy"]


def test_the_page_has_no_inline_script_or_style(token: Token, client: Client) -> None:
    page = client.get(token.url, headers=PAGES).text
    assert not re.search(r"<script|<style|style=|\son\w+=", page)


def test_old_urls_stay_valid_under_the_fallback_keys(
    harness: Harness, token: Token, client: Client
) -> None:
    old = token.url
    with override_settings(SECRET_KEY="new"):
        assert token.url != old
        assert client.get(old).status_code == 404
    with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["other", "only-for-tests"]):
        assert client.get(old, headers=PAGES).status_code == 200
        assert client.get(token.url, headers=PAGES).status_code == 200
        assert post(client, old, "1").status_code == 200


def test_public_url_is_what_the_url_begins_with(harness: Harness, token: Token) -> None:
    assert token.url.startswith(f"/durable/tokens/{token.id}/")
    with override_settings(TRIGGER_CELERY={"PUBLIC_URL": "https://shop.example/"}):
        assert token.url.startswith(f"https://shop.example/durable/tokens/{token.id}/")
    for wrong in ("shop.example", "ftp://shop.example", 7):
        with (
            override_settings(TRIGGER_CELERY={"PUBLIC_URL": wrong}),
            pytest.raises(DeclarationError, match="scheme and host"),
        ):
            config()


def test_a_project_that_does_not_serve_the_urls_gets_an_error_with_the_remedy(
    harness: Harness, token: Token
) -> None:
    with (
        override_settings(ROOT_URLCONF="trigger_celery_django.urls"),
        pytest.raises(UsageError, match=r"include\('trigger_celery_django.urls'\)"),
    ):
        token.url  # noqa: B018  # computed where it is asked for
