"""Where secrets must not come to light: representations, messages, reports of errors, logs."""

from __future__ import annotations

import logging
from datetime import timedelta
from secrets import token_urlsafe
from typing import Any

import pytest
from django.test import Client, RequestFactory
from django.views.debug import ExceptionReporter
from pytest_django import Settings

from trigger_celery import create_token
from trigger_celery.config import Config
from trigger_celery.testing import Harness
from trigger_celery_django import apikeys
from trigger_celery_django.apikeys import create_key, listed_keys
from trigger_celery_django.checks.setup import check_setup
from trigger_celery_django.conf import config
from trigger_celery_django.links import token_url
from trigger_celery_django.models import ApiKey
from trigger_celery_django.views import api
from trigger_celery_django.webhooks import source_named

SECRET = "whsec_c2VjcmV0LW9mLWEtd2ViaG9vaw=="


def test_the_settings_show_no_secret(settings: Settings) -> None:
    settings.TRIGGER_CELERY = {"WEBHOOKS": {"billing": {"secrets": [SECRET]}}}
    assert SECRET not in repr(config())
    assert SECRET not in repr(source_named("billing"))


@pytest.mark.parametrize(
    "given",
    [
        {"WEBHOOKS": [SECRET]},
        {"WEBHOOKS": {"billing": [SECRET]}},
        {"WEBHOOKS": {"billing": {"secrets": SECRET}}},
        {"PUBLIC_URL": f"https://user:{SECRET}@shop.example"},
        {"PUBLIC_URL": ["https://user:" + SECRET]},
    ],
)
def test_a_check_of_wrong_settings_quotes_no_secret(settings: Settings, given: Any) -> None:
    settings.TRIGGER_CELERY = given
    messages = [str(message) for message in check_setup() if message.is_serious()]
    assert messages
    assert [message for message in messages if SECRET in message] == []


@pytest.mark.parametrize(
    "url",
    [
        "ftp://shop.example",
        "https://",
        "https://:443",
        "https://user:word@shop.example",
        "https://shop.example?x=1",
        "https://shop.example#top",
        "https://shop.example/a\nb",
        "https://shop.example /",
        "https://shop.example:port",
        "https://[shop",
    ],
)
def test_a_public_url_that_no_path_can_follow_is_refused(url: str) -> None:
    with pytest.raises(TypeError, match="scheme and host"):
        Config.from_mapping({"PUBLIC_URL": url})


def report(caught: pytest.ExceptionInfo[Exception]) -> str:
    """Return what administrators are sent of an error, but for the frame of the test itself."""
    below = caught.tb.tb_next
    reporter = ExceptionReporter(RequestFactory().get("/"), caught.type, caught.value, below)
    return str(reporter.get_traceback_html())


def test_a_report_of_an_error_below_a_key_shows_no_key(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.DEBUG = False

    def fails() -> Any:
        raise RuntimeError("the database is odd")

    monkeypatch.setattr(apikeys, "_valid", fails)
    key = token_urlsafe()
    request = RequestFactory().get("/", headers={"Authorization": f"Bearer {key}"})
    with pytest.raises(RuntimeError) as caught:
        api._caller(request)
    assert "the database is odd" in report(caught)
    assert key not in report(caught)


def test_a_report_of_wrong_settings_shows_no_secret(settings: Settings) -> None:
    settings.DEBUG = False
    secret = token_urlsafe()
    settings.TRIGGER_CELERY = {"WEBHOOKS": {"billing": {"secrets": [secret]}}, "SWEEPER": "none"}
    with pytest.raises(TypeError) as caught:
        config()
    assert secret not in report(caught)


@pytest.mark.parametrize("slash", ["/", ""])
@pytest.mark.parametrize(
    ("method", "body", "kind"),
    [
        ("POST", "{", "application/json"),
        ("POST", "x", "text/plain"),
        ("PUT", "{}", "application/json"),
    ],
)
def test_a_refused_request_writes_no_secret_of_a_token_into_a_log(
    caplog: pytest.LogCaptureFixture, method: str, body: str, kind: str, slash: str
) -> None:
    with Harness() as harness, caplog.at_level(logging.DEBUG):
        harness.engine.token_url = token_url
        token = create_token(timeout=60)
        secret = token.url.rstrip("/").rpartition("/")[2]
        url = token.url.rstrip("/") + slash
        answer = Client().generic(method, url, body, content_type=kind)
        assert answer.status_code in (400, 405, 415)
        assert [record for record in caplog.records if record.name == "django.request"]
        assert secret not in caplog.text
        assert str(token.id) in caplog.text


@pytest.mark.django_db(transaction=True)
def test_the_last_use_of_a_key_is_noted_once_a_minute(
    django_assert_num_queries: Any,
) -> None:
    row, key = create_key("a test", ["read"])
    assert listed_keys()[0]["last_used_at"] is None
    apikeys.caller_of(key)
    first = ApiKey.objects.get(pk=row.pk).last_used_at
    assert first is not None
    with django_assert_num_queries(1):
        apikeys.caller_of(key)
    ApiKey.objects.filter(pk=row.pk).update(last_used_at=first - timedelta(minutes=2))
    apikeys.caller_of(key)
    again = ApiKey.objects.get(pk=row.pk).last_used_at
    assert again is not None
    assert again >= first
    assert listed_keys()[0]["last_used_at"] == again.isoformat()
