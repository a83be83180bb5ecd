"""The table of bulk operations."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import BulkKind, BulkState
from trigger_celery_django.models.base import NAME_LENGTH, choices
from trigger_celery_django.models.fields import IdentityField, PayloadField
from trigger_celery_django.models.runs import Run


class BulkOperation(models.Model):
    """One act of a person on many runs: what was asked for, and how far it came.

    ``wanted`` is the filter as canonical JSON; runs that were created or ended after ``until`` are
    left alone. ``run`` carries it out, ``cursor_at`` and ``cursor_id`` say where it goes on.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = IdentityField(max_length=16, choices=choices(BulkKind))
    state = IdentityField(max_length=16, choices=choices(BulkState))
    wanted = PayloadField()
    until = models.DateTimeField()
    planned = models.PositiveBigIntegerField()
    at_most = models.PositiveBigIntegerField(null=True)
    priority = models.IntegerField(null=True)
    to_queue = IdentityField(max_length=NAME_LENGTH, null=True)
    interval = models.DurationField(null=True)
    batch_size = models.PositiveIntegerField()
    run = models.ForeignKey(
        Run, models.DO_NOTHING, related_name="carries", db_constraint=False, db_index=False
    )
    cursor_at = models.DateTimeField(null=True)
    cursor_id = models.UUIDField(null=True)
    done = models.PositiveBigIntegerField(default=0)
    skipped = PayloadField(default="{}")
    failed = PayloadField(default="{}")
    by = IdentityField(max_length=NAME_LENGTH, blank=True)
    reason = PayloadField(blank=True)
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=[state.value for state in BulkState]),
                name="trigger_bulk_state",
            ),
        ]
        indexes = [
            models.Index(fields=["created_at"], name="trigger_bulk_created"),
            models.Index(fields=["state", "created_at"], name="trigger_bulk_state_time"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"
