"""The tables of durable queues."""

from __future__ import annotations

from django.db import models

from trigger_celery_django.models.base import NAME_LENGTH
from trigger_celery_django.models.fields import IdentityField, PartialIndex, PayloadField
from trigger_celery_django.models.runs import Run


class DurableQueue(models.Model):
    """What may execute at a time, and how often it may start; ``*`` is the whole deployment.

    ``declared`` and ``overrides`` are limits as JSON. ``limited`` says that runs have to ask
    for a slot; it changes with them. ``due_at`` is when the next start is due by the rate,
    None if there was none to count, ``last_key`` the key whose turn it was last.
    """

    name = IdentityField(max_length=NAME_LENGTH, primary_key=True)
    declared = PayloadField(default="{}")
    overrides = PayloadField(default="{}")
    limited = models.BooleanField(default=False)
    due_at = models.DateTimeField(null=True)
    last_key = IdentityField(max_length=NAME_LENGTH, blank=True)
    paused_at = models.DateTimeField(null=True)
    paused_by = IdentityField(max_length=NAME_LENGTH, blank=True)
    pause_reason = PayloadField(blank=True)

    class Meta:
        permissions = [("manage_queue", "Can pause and resume durable queues")]

    def __str__(self) -> str:
        return str(self.name)


class Slot(models.Model):
    """The slot that a run holds, or its place in line for one.

    A slot counts while its run executes under ``fence``; in line ``fence`` is None, and
    ``promised_at`` is when the run got the promise of a slot.
    """

    run = models.OneToOneField(
        Run, models.CASCADE, primary_key=True, related_name="slot", db_constraint=False
    )
    queue = IdentityField(max_length=NAME_LENGTH)
    key = IdentityField(max_length=NAME_LENGTH, blank=True)
    task = IdentityField(max_length=NAME_LENGTH)
    line_at = models.DateTimeField()
    fence = models.BigIntegerField(null=True)
    promised_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            PartialIndex(
                fields=["queue", "key", "task", "line_at", "run"],
                name="trigger_slot_line",
                condition=models.Q(fence=None, promised_at=None),
            ),
            # Where it cannot be partial, those in line are all at one end of it.
            PartialIndex(
                fields=["fence", "promised_at", "queue", "task"],
                name="trigger_slot_held",
                condition=models.Q(fence__isnull=False) | models.Q(promised_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.queue} {self.run_id}"


class KeyRate(models.Model):
    """When the next start is due by the rate of one concurrency key; kept while it matters."""

    id = models.BigAutoField(primary_key=True)
    queue = IdentityField(max_length=NAME_LENGTH)
    key = IdentityField(max_length=NAME_LENGTH)
    due_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["queue", "key"], name="trigger_key_rate"),
        ]
        indexes = [models.Index(fields=["due_at"], name="trigger_key_rate_due")]

    def __str__(self) -> str:
        return f"{self.queue} {self.key}"
