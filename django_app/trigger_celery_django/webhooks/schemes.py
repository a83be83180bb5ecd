"""How the senders of webhooks sign: each scheme proves a request and reads its id and type.

A scheme never parses the body before its signature is proved. Where the signature covers no
id, the digest of the body stands in for one: a header that anybody can change must not decide
whether a delivery is a new one.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from trigger_celery.errors import DeclarationError, RequestRefused

TOLERANCE = 300
"""Seconds that a signed timestamp may be off, into the past and into the future."""

Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A proved request: the sender's ``id`` of it, and its ``type`` ("" if it has none)."""

    id: str
    type: str
    payload: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """``prove`` raises ``RequestRefused`` (401); ``id_of`` and ``type_of`` read a proved request.

    ``check`` raises ``DeclarationError`` if what the scheme needs is not installed, or if a
    secret is none of this scheme.
    """

    prove: Callable[[Headers, bytes, Sequence[str]], None]
    id_of: Callable[[Headers, bytes, Any], str]
    type_of: Callable[[Headers, Any], str]
    check: Callable[[Sequence[str]], None] = lambda secrets: None


def _standard(headers: Headers, body: bytes, secrets: Sequence[str]) -> None:
    library = _standardwebhooks()
    for secret in secrets:
        try:
            library.Webhook(secret).verify(body, dict(headers), json_parse=False)
        # The library lets a header that is not even two parts raise ValueError.
        except (library.WebhookVerificationError, ValueError):
            continue
        return
    raise _unproved("standard webhooks")


def _check_standard(secrets: Sequence[str]) -> None:
    library = _standardwebhooks()
    for number, secret in enumerate(secrets, start=1):
        try:
            library.Webhook(secret)
        except Exception:  # what it raises differs; from None, as no message may quote a secret
            raise DeclarationError(
                f"secret number {number} proves nothing: the scheme 'standard' takes Base64, "
                "mostly with 'whsec_' before it"
            ) from None


def _standardwebhooks() -> Any:
    try:
        return import_module("standardwebhooks")
    except ModuleNotFoundError:
        raise DeclarationError(
            "webhooks of the scheme 'standard' need the library standardwebhooks: "
            "pip install 'trigger-celery[webhooks]'"
        ) from None


def _github(headers: Headers, body: bytes, secrets: Sequence[str]) -> None:
    kind, _, signature = headers.get("x-hub-signature-256", "").partition("=")
    if kind != "sha256" or not _signed(body, [signature], secrets):
        raise _unproved("X-Hub-Signature-256")


def _stripe(headers: Headers, body: bytes, secrets: Sequence[str]) -> None:
    pairs = [part.strip().partition("=") for part in headers.get("stripe-signature", "").split(",")]
    signatures = [value for name, _, value in pairs if name == "v1"]
    stamp = next((value for name, _, value in pairs if name == "t"), "")
    _check_stamp(stamp)
    if not _signed(stamp.encode() + b"." + body, signatures, secrets):
        raise _unproved("Stripe-Signature")


def _check_stamp(stamp: str) -> None:
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) < 16):
        raise _unproved("its timestamp")
    if abs(time.time() - int(stamp)) > TOLERANCE:
        raise RequestRefused(401, "the timestamp of the signature is too old, or not come yet")


def _signed(message: bytes, signatures: Sequence[str], secrets: Sequence[str]) -> bool:
    """Whether one of the secrets made one of the signatures; time does not reveal which.

    The message is hashed once for each secret, however many signatures a stranger sends.
    """
    digests = [hmac.digest(secret.encode(), message, "sha256").hex() for secret in secrets]
    equal = [
        hmac.compare_digest(digest.encode(), signature.encode())
        for digest in digests
        for signature in signatures
    ]
    return sum(equal) > 0


def _unproved(what: str) -> RequestRefused:
    return RequestRefused(401, f"the signature of the request is missing or wrong ({what})")


def _digest(headers: Headers, body: bytes, payload: Any) -> str:
    return hashlib.sha256(body).hexdigest()


def _body_id(headers: Headers, body: bytes, payload: Any) -> str:
    found = payload.get("id") if isinstance(payload, dict) else None
    return found if isinstance(found, str) and found else _digest(headers, body, payload)


def _body_type(headers: Headers, payload: Any) -> str:
    found = payload.get("type") if isinstance(payload, dict) else None
    return found if isinstance(found, str) else ""


SCHEMES = {
    "standard": Scheme(
        prove=_standard,
        id_of=lambda headers, body, payload: headers["webhook-id"],
        type_of=_body_type,
        check=_check_standard,
    ),
    "github": Scheme(
        prove=_github,
        id_of=_digest,
        type_of=lambda headers, payload: headers.get("x-github-event", ""),
    ),
    "stripe": Scheme(prove=_stripe, id_of=_body_id, type_of=_body_type),
}
"""The schemes by the names that settings give them."""
