"""What the tables have in common."""

from __future__ import annotations

from enum import StrEnum

from django.db import models

from trigger_celery_django.models.fields import IdentityField, PayloadField

NAME_LENGTH = 255
KEY_LENGTH = 500


def choices(values: type[StrEnum]) -> list[tuple[str, str]]:
    """Return the values of an enumeration as Django wants them."""
    return [(item.value, item.value.replace("_", " ")) for item in values]


class Measured(models.Model):
    """When and where something ran and what it used: the columns of a span."""

    started_at = models.DateTimeField()
    ended_at = models.DateTimeField()
    cpu_us = models.BigIntegerField()
    peak_memory = models.BigIntegerField()
    queries = models.PositiveIntegerField()
    worker = IdentityField(max_length=NAME_LENGTH, blank=True)
    source = PayloadField(blank=True)

    class Meta:
        abstract = True
