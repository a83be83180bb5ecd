"""The tables of what starts runs: keys, tags, subscriptions to events, schedules."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.utils.timezone import now

from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import Overlap
from trigger_celery_django.models.base import NAME_LENGTH, choices
from trigger_celery_django.models.fields import IdentityField, PartialIndex, PayloadField
from trigger_celery_django.models.runs import Run


class RunKey(models.Model):
    """Which run holds an idempotency or debounce key of a task.

    Keys may be long: the digest is compared, the key itself is kept for people. A key whose
    run has failed, or whose time is over, is free although its row is still there.
    """

    class Purpose(models.TextChoices):
        """What the key is for; one key may serve both."""

        IDEMPOTENCY = "idempotency"
        DEBOUNCE = "debounce"

    id = models.BigAutoField(primary_key=True)
    purpose = IdentityField(max_length=16, choices=Purpose.choices)
    task = IdentityField(max_length=NAME_LENGTH)
    digest = IdentityField(max_length=64)
    key = PayloadField()
    run = models.ForeignKey(Run, models.CASCADE, related_name="keys", db_constraint=False)
    input_digest = IdentityField(max_length=64, blank=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["purpose", "task", "digest"], name="trigger_key"),
        ]

    def __str__(self) -> str:
        return f"{self.task} {self.key}"


class RunTag(models.Model):
    """One tag of a run; the run's own column has all of them, this table finds runs by tag."""

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(
        Run, models.CASCADE, related_name="tag_rows", db_constraint=False, db_index=False
    )
    tag = IdentityField(max_length=128)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "tag"], name="trigger_tag_run")]
        indexes = [models.Index(fields=["tag", "run"], name="trigger_tag")]

    def __str__(self) -> str:
        return str(self.tag)


class Subscription(models.Model):
    """A task that each matching event starts one run of."""

    id = models.BigAutoField(primary_key=True)
    task = IdentityField(max_length=NAME_LENGTH, unique=True)
    name = IdentityField(max_length=NAME_LENGTH, db_index=True)
    filter = PayloadField(blank=True)
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name} starts {self.task}"


class Schedule(models.Model):
    """When a task is to be started again and again.

    ``next_at``, ``last_at`` and ``buffered_at`` are nominal times: those that the rule names,
    whenever the sweep came to them. ``due_at`` is when it comes next: a row without
    ``next_at`` is taken up by then. ``declared`` says that it comes from the code of the task.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    task = IdentityField(max_length=NAME_LENGTH)
    key = IdentityField(max_length=NAME_LENGTH, unique=True)
    declared = models.BooleanField(default=False)
    cron = IdentityField(max_length=NAME_LENGTH, blank=True)
    every = models.DurationField(null=True)
    timezone = IdentityField(max_length=64, default="UTC")
    input = PayloadField(default="[[],{}]")
    overlap = IdentityField(max_length=16, choices=choices(Overlap), default=Overlap.SKIP.value)
    catch_up = models.DurationField(default=timedelta(0))
    next_at = models.DateTimeField(null=True)
    last_at = models.DateTimeField(null=True)
    last_run = models.ForeignKey(
        Run, models.DO_NOTHING, null=True, related_name="+", db_constraint=False, db_index=False
    )
    buffered_at = models.DateTimeField(null=True)
    paused_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True, default=now)
    created_at = models.DateTimeField(default=now)
    updated_at = models.DateTimeField(default=now)

    class Meta:
        permissions = [("manage_schedule", "Can pause, resume and run schedules")]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(overlap__in=[each.value for each in Overlap]),
                name="trigger_schedule_overlap",
            ),
        ]
        indexes = [
            PartialIndex(
                fields=["due_at"],
                name="trigger_schedule_due",
                condition=models.Q(due_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return str(self.key)
