"""The settings dict ``TRIGGER_CELERY`` as the typed record the engine reads, live."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from django.conf import settings
from django.views.decorators.debug import sensitive_variables

from trigger_celery.config import Config


@dataclass(frozen=True, slots=True)
class _Reading:
    given: Mapping[str, object] = field(repr=False)  # it has the secrets of webhooks
    config: Config


_last = _Reading({}, Config())


@sensitive_variables()
def config() -> Config:
    """Return the configuration in force; it is parsed again only when the dict has changed.

    Raises ``UnknownOption`` or ``DeclarationError`` for a dict that makes no sense.
    """
    global _last
    given: Mapping[str, object] = getattr(settings, "TRIGGER_CELERY", {})
    last = _last
    if given != last.given:
        # A copy, so that a dict that is changed in place is noticed too.
        last = _last = _Reading(dict(given), Config.from_mapping(given))
    return last.config


def publish_timeout() -> timedelta:
    """Return how long a nudge may take to reach the broker."""
    return config().publish_timeout
