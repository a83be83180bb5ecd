"""Lets Celery carry arguments and results through our codec: the serializer ``trigger-json``."""

from __future__ import annotations

from celery.canvas import Signature
from celery.utils.functional import regen
from kombu.serialization import register

from trigger_celery.values import JsonCodec, Registry
from trigger_celery.values.refusal import refuse
from trigger_celery.values.registry import registry

NAME = "trigger-json"
CONTENT_TYPE = "application/x-trigger-json"

# Celery makes the class of lazy chord headers known only through its factory.
_LAZY_LIST = type(regen(iter(())))


def register_serializer(
    limit: int = 1_000_000, max_depth: int = 64, *, classes: Registry = registry
) -> None:
    """Make ``trigger-json`` known to kombu; calling it again replaces the codec.

    The arguments are those of ``JsonCodec``. Select it with ``task_serializer`` and
    ``result_serializer``, and let workers accept it with
    ``accept_content = ["json", "trigger-json"]`` (and ``result_accept_content``).
    What the codec refuses reaches the caller as kombu's ``EncodeError`` or ``DecodeError``.
    """
    codec = JsonCodec(limit, max_depth, classes=classes, stand_in=_plain)
    register(
        NAME,
        lambda data: codec.encode(data, what="message"),
        lambda body: codec.decode(_text(body)),
        content_type=CONTENT_TYPE,
        content_encoding="utf-8",
    )


def _plain(value: object) -> object:
    """Celery's own dict and list classes as plain ones; it builds them again itself."""
    if isinstance(value, Signature):
        return dict(value)
    if isinstance(value, _LAZY_LIST):
        return list(value)
    return refuse(value)


def _text(body: str | bytes | memoryview) -> str:
    return body if isinstance(body, str) else bytes(body).decode("utf-8")
