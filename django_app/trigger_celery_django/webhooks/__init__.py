"""Events from other systems: a signature over its raw body proves the sender of a request."""

from __future__ import annotations

from trigger_celery_django.webhooks.schemes import Delivery
from trigger_celery_django.webhooks.sources import Incoming, Source, source_named, sources

__all__ = ["Delivery", "Incoming", "Source", "source_named", "sources"]
