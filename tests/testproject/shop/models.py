"""What a step did, one row each time it did it."""

from __future__ import annotations

from django.db import models


class Effect(models.Model):
    """One execution of a step's body; a second row of the same step is a repetition."""

    run = models.CharField(max_length=64, db_index=True)
    step = models.CharField(max_length=200)
    n = models.IntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.run} {self.step} {self.n}"
