"""Webhooks become stored events if their signature proves the sender, and nothing otherwise."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.checks import run_checks
from django.test import Client
from standardwebhooks import Webhook

from trigger_celery.errors import DeclarationError, StoreUnavailable
from trigger_celery_django.models import Event
from trigger_celery_django.views import webhooks
from trigger_celery_django.webhooks import Delivery, Incoming
from trigger_celery_django.webhooks import sources as declared
from trigger_celery_django.webhooks.sources import source_of

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
OLD_SECRET = "whsec_" + base64.b64encode(b"o" * 32).decode()
PLAIN = "plain-secret-of-github-and-stripe"


def only_paid(delivery: Delivery) -> Incoming | None:
    if delivery.type != "charge.paid":
        return None
    return Incoming(name="order.paid", payload={"charge": delivery.payload["data"]})


@pytest.fixture(autouse=True)
def sources(settings: Any) -> None:
    settings.TRIGGER_CELERY = {
        **settings.TRIGGER_CELERY,
        "REQUEST_LIMIT": 2_000,
        "WEBHOOKS": {
            "billing": {"scheme": "standard", "secrets": [SECRET, OLD_SECRET]},
            "github": {"scheme": "github", "secrets": [PLAIN]},
            "stripe": {"scheme": "stripe", "secrets": [PLAIN], "event": only_paid},
        },
    }


def standard(
    body: bytes,
    *,
    secret: str = SECRET,
    id: str = "msg-1",
    at: float | None = None,
    signed: bytes | None = None,
) -> Any:
    moment = datetime.fromtimestamp(time.time() if at is None else at, tz=UTC)
    signature = Webhook(secret).sign(id, moment, (body if signed is None else signed).decode())
    return post(
        "billing",
        body,
        {
            "webhook-id": id,
            "webhook-timestamp": str(int(moment.timestamp())),
            "webhook-signature": signature,
        },
    )


def post(source: str, body: bytes, headers: dict[str, str]) -> Any:
    return Client(enforce_csrf_checks=True).post(
        f"/durable/webhooks/{source}/", body, content_type="application/json", headers=headers
    )


def digest(message: bytes) -> str:
    return hmac.new(PLAIN.encode(), message, hashlib.sha256).hexdigest()


def test_a_standard_webhook_becomes_an_event_named_after_source_and_type() -> None:
    answer = standard(b'{"type": "invoice.paid", "data": {"id": 7}}')
    assert (answer.status_code, answer.json()) == (202, {"event": "msg-1"})
    event = Event.objects.get()
    assert (event.source, event.event_id, event.name) == (
        "billing",
        "msg-1",
        "billing.invoice.paid",
    )
    assert json.loads(event.payload) == {"type": "invoice.paid", "data": {"id": 7}}


def test_a_repeated_delivery_is_answered_alike_and_stored_once() -> None:
    answers = [standard(b'{"type": "invoice.paid"}') for _ in range(3)]
    assert {(answer.status_code, answer.content) for answer in answers} == {
        (202, b'{"event": "msg-1"}')
    }
    assert Event.objects.count() == 1


def test_a_delivery_whose_body_changed_under_its_id_is_answered_as_the_first_which_stands(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert standard(b'{"type": "invoice.paid", "pending": 2}').status_code == 202
    again = standard(b'{"type": "invoice.paid", "pending": 1}')
    assert (again.status_code, again.json()) == (202, {"event": "msg-1"})
    assert json.loads(Event.objects.get().payload)["pending"] == 2
    assert "webhook source billing: the id 'msg-1'" in caplog.text


def test_no_webhook_source_is_called_as_those_of_api_keys_are() -> None:
    with pytest.raises(DeclarationError, match="not to begin with 'api:'"):
        source_of("api:shop", {"secrets": [SECRET]})


def stripe(body: bytes, seconds: int) -> dict[str, str]:
    """Return the header of a body that was signed so many seconds from now."""
    stamp = str(int(time.time()) + seconds)
    return {"stripe-signature": f"t={stamp},v1={digest(stamp.encode() + b'.' + body)}"}


def test_each_live_secret_proves_a_request() -> None:
    assert standard(b"{}", secret=OLD_SECRET).status_code == 202


@pytest.mark.parametrize(
    ("what", "refused"),
    [
        ("wrong secret", lambda: standard(b"{}", secret=SECRET[:-8] + "AAAAAAA=")),
        ("altered body", lambda: standard(b'{"a": 2}', signed=b'{"a": 1}')),
        ("too old", lambda: standard(b"{}", at=time.time() - 301)),
        ("not come yet", lambda: standard(b"{}", at=time.time() + 301)),
        ("no headers", lambda: post("billing", b"{}", {})),
        (
            "header that is no pair",
            lambda: post(
                "billing",
                b"{}",
                {
                    "webhook-id": "m",
                    "webhook-timestamp": str(int(time.time())),
                    "webhook-signature": "nonsense",
                },
            ),
        ),
        ("body that is not UTF-8", lambda: post("billing", b"\xff", {"webhook-id": "m"})),
        ("github without a header", lambda: post("github", b"{}", {})),
        ("github with sha1", lambda: post("github", b"{}", {"x-hub-signature-256": "sha1=0"})),
        ("stripe without a header", lambda: post("stripe", b"{}", {})),
        ("stripe with a bad time", lambda: post("stripe", b"{}", {"stripe-signature": "t=x,v1=0"})),
        (
            "stripe too old",
            lambda: post(
                "stripe", b"{}", {"stripe-signature": f"t=1000000000,v1={digest(b'1000000000.{}')}"}
            ),
        ),
        ("stripe five minutes old", lambda: post("stripe", b"{}", stripe(b"{}", -305))),
        ("stripe not come yet", lambda: post("stripe", b"{}", stripe(b"{}", 305))),
        ("stripe of next year", lambda: post("stripe", b"{}", stripe(b"{}", 365 * 86_400))),
    ],
)
def test_a_request_without_a_valid_signature_is_401_and_stores_nothing(
    what: str, refused: Any
) -> None:
    answer = refused()
    assert (answer.status_code, list(answer.json())) == (401, ["error"]), what
    assert not Event.objects.exists()


@pytest.mark.parametrize("seconds", [-290, 290])
def test_a_clock_that_is_a_little_off_refuses_no_stripe_signature(seconds: int) -> None:
    assert post("stripe", b"{}", stripe(b"{}", seconds)).status_code == 202


def test_github_is_known_by_its_signature_and_the_digest_of_the_body() -> None:
    body = b'{"action": "opened"}'
    headers = {"x-hub-signature-256": f"sha256={digest(body)}", "x-github-event": "issues"}
    # A header that is not signed must not make an old delivery a new one.
    ids = [post("github", body, {**headers, "x-github-delivery": d}).json() for d in ("1", "2")]
    assert ids == [{"event": hashlib.sha256(body).hexdigest()}] * 2
    assert Event.objects.get().name == "github.issues"


def test_a_source_maps_a_delivery_to_an_event_of_its_own_or_to_none() -> None:
    for number, kind in enumerate(("charge.paid", "charge.failed")):
        body = json.dumps({"id": f"evt_{number}", "type": kind, "data": {"sum": 5}}).encode()
        stamp = str(int(time.time()))
        signature = f"t={stamp},v1=00,v1={digest(stamp.encode() + b'.' + body)}"
        answer = post("stripe", body, {"stripe-signature": signature})
        assert answer.json() == {"event": ["evt_0", None][number]}
    event = Event.objects.get()
    assert (event.name, json.loads(event.payload)) == ("order.paid", {"charge": {"sum": 5}})


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b'{"a": NaN}', 400),
        (b'{"a": 1, "a": 2}', 400),
        (b"[" * 61 + b"]" * 61, 400),
        (b'{"a": "' + b"x" * 2_000 + b'"}', 413),
    ],
)
def test_a_malformed_deep_or_oversized_body_is_refused(body: bytes, status: int) -> None:
    assert standard(body).status_code == status
    assert not Event.objects.exists()


def test_an_oversized_body_is_refused_without_a_content_length() -> None:
    client = Client()
    request = client.generic("POST", "/durable/webhooks/billing/", b"x" * 3_000)
    assert request.status_code == 413
    assert client.post("/durable/webhooks/billing/", CONTENT_LENGTH="many").status_code == 400


def test_an_unknown_source_is_404_and_a_get_405() -> None:
    assert post("unknown", b"{}", {}).status_code == 404
    assert Client().get("/durable/webhooks/billing/").status_code == 405


def test_nothing_is_answered_before_the_event_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*args: object, **kwargs: object) -> str:
        raise StoreUnavailable("the database is away")

    monkeypatch.setattr(webhooks, "send_event", away)
    answer = standard(b"{}")
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")


def test_an_id_that_no_event_can_have_stands_as_its_digest_and_loses_no_delivery() -> None:
    long = "m" * 201
    assert [standard(b"{}", id=long).status_code for _ in range(2)] == [202, 202]
    assert Event.objects.get().event_id == hashlib.sha256(long.encode()).hexdigest()

    body = json.dumps({"id": "line\nbreak", "type": "charge.paid", "data": 1}).encode()
    stamp = str(int(time.time()))
    signature = f"t={stamp},v1={digest(stamp.encode() + b'.' + body)}"
    assert post("stripe", body, {"stripe-signature": signature}).status_code == 202


def test_many_signatures_do_not_make_a_body_be_hashed_many_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hashed = []
    real = hmac.digest

    def digest_of(key: bytes, message: bytes, kind: str) -> bytes:
        hashed.append(message)
        return real(key, message, kind)

    monkeypatch.setattr(hmac, "digest", digest_of)
    header = f"t={int(time.time())}," + ",".join(["v1=00"] * 1_000)
    assert post("stripe", b"{}", {"stripe-signature": header}).status_code == 401
    assert len(hashed) == 1


@pytest.mark.parametrize("wrong", [{"name": "a", "payload": 1}, "order.paid", 7])
def test_what_an_event_function_returns_must_be_an_incoming(settings: Any, wrong: Any) -> None:
    source = {"scheme": "github", "secrets": [PLAIN], "event": lambda delivery: wrong}
    settings.TRIGGER_CELERY = {**settings.TRIGGER_CELERY, "WEBHOOKS": {"github": source}}
    headers = {"x-hub-signature-256": f"sha256={digest(b'{}')}"}
    with pytest.raises(DeclarationError, match="'github' to return an Incoming or None"):
        post("github", b"{}", headers)
    assert not Event.objects.exists()


def test_a_source_shows_no_secret() -> None:
    assert PLAIN not in repr(list(declared()))


@pytest.mark.parametrize("secret", ["whsec_!!!!!!!!!!!!", "whsec_abcdefghijklm"])
def test_a_standard_secret_that_is_not_base64_is_refused_and_not_quoted(
    settings: Any, secret: str
) -> None:
    source = {"secrets": [SECRET, secret]}
    settings.TRIGGER_CELERY = {**settings.TRIGGER_CELERY, "WEBHOOKS": {"billing": source}}
    (found,) = (each for each in run_checks(databases=[]) if each.id == "trigger_celery.E009")
    assert "['billing']: secret number 2 proves nothing" in found.msg
    assert secret not in found.msg
