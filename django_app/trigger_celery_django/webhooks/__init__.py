"""Events from other systems: who sent a request is proved by a signature over its raw body."""

from __future__ import annotations

from trigger_celery_django.webhooks.schemes import Delivery
from trigger_celery_django.webhooks.sources import Incoming, Source, source_named, sources

__all__ = ["Delivery", "Incoming", "Source", "source_named", "sources"]
