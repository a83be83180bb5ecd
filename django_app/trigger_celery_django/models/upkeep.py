"""The table by which the processes that may sweep agree."""

from __future__ import annotations

from typing import Final

from django.db import models

from trigger_celery_django.models.base import NAME_LENGTH
from trigger_celery_django.models.fields import IdentityField


class SweepTurn(models.Model):
    """Which of the sweepers sweeps, and until when unless it is elected again: the only row."""

    ONLY: Final = 1

    id = models.PositiveSmallIntegerField(primary_key=True, default=ONLY)
    sweeper = IdentityField(max_length=NAME_LENGTH, blank=True)
    until_at = models.DateTimeField()

    def __str__(self) -> str:
        return str(self.sweeper)
