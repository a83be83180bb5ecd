"""The webhook sources of a deployment, as ``TRIGGER_CELERY["WEBHOOKS"]`` declares them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils.module_loading import import_string
from django.views.decorators.debug import sensitive_variables

from trigger_celery.client.access import API_SOURCE
from trigger_celery.config import suggest
from trigger_celery.errors import DeclarationError, DecodeError, InvalidName, RequestRefused
from trigger_celery.values.strict import parse
from trigger_celery.vocabulary.checks import valid_name
from trigger_celery_django.conf import config
from trigger_celery_django.webhooks.schemes import SCHEMES, Delivery, Headers

_KEYS = {"scheme", "secrets", "event"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """The event that a delivery becomes."""

    name: str
    payload: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where webhooks come from. Any of ``secrets`` proves a request: so they can be rotated."""

    name: str
    scheme: str
    secrets: tuple[str, ...] = field(repr=False)
    event: Callable[[Delivery], Incoming | None]

    @sensitive_variables()
    def check(self) -> None:
        """Raise :exc:`DeclarationError` if nothing could ever be proved to come from here."""
        try:
            SCHEMES[self.scheme].check(self.secrets)
        except DeclarationError as error:
            raise DeclarationError(f"{_where(self.name)}: {error}") from None

    @sensitive_variables()
    def receive(self, headers: Headers, body: bytes) -> Delivery:
        """Prove a request and read it.

        Raises :exc:`RequestRefused`: 401 unless the body is signed, 400 unless it is JSON.
        """
        scheme = SCHEMES[self.scheme]
        scheme.prove(headers, body, self.secrets)
        try:
            payload = parse(body)
        except DecodeError as error:
            raise RequestRefused(400, f"the body cannot be read: {error}") from error
        return Delivery(
            id=_id(scheme.id_of(headers, body, payload)),
            type=scheme.type_of(headers, payload),
            payload=payload,
        )

    def incoming(self, delivery: Delivery) -> Incoming | None:
        """Return the event that a delivery becomes, None for one that is not wanted.

        Raises :exc:`DeclarationError` if the function of the settings returns anything else.
        """
        found: object = self.event(delivery)
        if found is None or isinstance(found, Incoming):
            return found
        raise DeclarationError(
            f"expected the event of webhook source {self.name!r} to return an Incoming or None, "
            f"got: {type(found).__name__}"
        )


def _id(given: str) -> str:
    """Return the id of an event: the sender's, or its digest where no event could have it."""
    try:
        return valid_name(given, "the id of a delivery")
    except InvalidName:
        return hashlib.sha256(given.encode(errors="surrogatepass")).hexdigest()


def sources() -> Iterator[Source]:
    """Yield all declared sources. Raises :exc:`DeclarationError` for what makes no sense."""
    for name in config().webhooks:
        yield source_of(name, config().webhooks[name])


def source_named(name: str) -> Source | None:
    """Return the source, or None. Raises :exc:`DeclarationError` if it makes no sense."""
    known = config().webhooks.get(name) is not None
    return source_of(name, config().webhooks[name]) if known else None


@sensitive_variables()
def source_of(name: object, given: object) -> Source:
    """Return the source that settings declare so. Raises :exc:`DeclarationError`."""
    where = _where(name)
    valid_name(name, f"the name of {where}")
    if str(name).startswith(API_SOURCE):
        raise DeclarationError(
            f"expected the name of {where} not to begin with {API_SOURCE!r}: sources of API keys do"
        )
    if not isinstance(name, str) or not isinstance(given, Mapping):
        raise DeclarationError(f"expected {where} to be a mapping, got: {type(given).__name__}")
    for key in given:
        if key not in _KEYS:
            raise DeclarationError(f"{where} has no key {key!r}{suggest(str(key), _known())}")
    scheme = given.get("scheme", "standard")
    if scheme not in SCHEMES:
        known = dict.fromkeys(SCHEMES)
        raise DeclarationError(f"{where} has no scheme {scheme!r}{suggest(str(scheme), known)}")
    return Source(
        name=name,
        scheme=scheme,
        secrets=_secrets(where, given.get("secrets")),
        event=_event(where, name, given.get("event")),
    )


def _where(name: object) -> str:
    return f"TRIGGER_CELERY['WEBHOOKS'][{name!r}]"


def _known() -> dict[str, object]:
    return dict.fromkeys(_KEYS)


def _secrets(where: str, given: Any) -> tuple[str, ...]:
    # The message must not quote them.
    if not isinstance(given, (list, tuple)) or not given:
        raise DeclarationError(f"expected the secrets of {where} to be a list of at least one")
    if not all(isinstance(secret, str) and len(secret) >= 16 for secret in given):
        raise DeclarationError(
            f"expected each secret of {where} to be text of at least 16 characters: an empty "
            "or short one proves nothing"
        )
    return tuple(given)


def _event(where: str, name: str, given: Any) -> Callable[[Delivery], Incoming | None]:
    if given is None:
        return lambda delivery: Incoming(
            name=f"{name}.{delivery.type}" if delivery.type else name, payload=delivery.payload
        )
    if isinstance(given, str):
        try:
            given = import_string(given)
        except ImportError as error:
            raise DeclarationError(f"the event of {where} cannot be imported: {error}") from error
    if not callable(given):
        raise DeclarationError(
            f"expected the event of {where} to be a function, or the path of one, got: {given!r}"
        )
    found: Callable[[Delivery], Incoming | None] = given
    return found
