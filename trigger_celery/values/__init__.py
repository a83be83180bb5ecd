"""What happens to a value on its way into storage and back."""

from __future__ import annotations

from trigger_celery.values.codec import JsonCodec
from trigger_celery.values.failures import Failure, describe
from trigger_celery.values.registry import Registry, register

__all__ = ["Failure", "JsonCodec", "Registry", "describe", "register"]
