"""The tables of what failed for good and waits for a person."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from trigger_celery.vocabulary.states import DeadLetterState, GroupState
from trigger_celery_django.models.base import KEY_LENGTH, NAME_LENGTH, choices
from trigger_celery_django.models.fields import IdentityField, PartialIndex, PayloadField
from trigger_celery_django.models.querysets import DeadLetterQuerySet
from trigger_celery_django.models.runs import Run


class DeadLetter(models.Model):
    """A run that failed for good and waits for a person; a later failure opens it again.

    ``tallied`` is false while its group does not know how it changed; the ``counted_`` columns
    say in which group and state it counts, and how many failures of it.
    """

    run = models.OneToOneField(
        Run, models.CASCADE, primary_key=True, related_name="dead_letter", db_constraint=False
    )
    task = IdentityField(max_length=NAME_LENGTH)
    queue = IdentityField(max_length=NAME_LENGTH, blank=True)
    state = IdentityField(max_length=16, choices=choices(DeadLetterState))
    fingerprint = IdentityField(max_length=16, blank=True)
    kind = IdentityField(max_length=NAME_LENGTH, blank=True)
    message = PayloadField(blank=True)
    step = IdentityField(max_length=KEY_LENGTH, blank=True)
    place = IdentityField(max_length=NAME_LENGTH, blank=True)
    error = PayloadField(blank=True)
    attempts = models.PositiveIntegerField(default=1)
    crashes = models.PositiveIntegerField(default=0)
    returns = models.PositiveIntegerField(default=0)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True)
    by = IdentityField(max_length=NAME_LENGTH, blank=True)
    reason = PayloadField(blank=True)
    tallied = models.BooleanField(default=False)
    counted_group = IdentityField(max_length=16, blank=True)
    counted_state = IdentityField(max_length=16, blank=True)
    counted_seen = models.PositiveIntegerField(default=0)

    objects = DeadLetterQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=[state.value for state in DeadLetterState]),
                name="trigger_letter_state",
            ),
        ]
        indexes = [
            # Lists, by what they filter most: the last seen first, a page at a time. Each asks
            # for one state at a time.
            models.Index(fields=["state", "last_seen_at"], name="trigger_letter_seen"),
            models.Index(
                fields=["fingerprint", "state", "last_seen_at"], name="trigger_letter_group"
            ),
            models.Index(fields=["task", "state", "last_seen_at"], name="trigger_letter_task"),
            models.Index(fields=["kind", "state", "last_seen_at"], name="trigger_letter_kind"),
            PartialIndex(
                fields=["queue", "state", "last_seen_at"],
                name="trigger_letter_queue",
                condition=~Q(queue=""),
            ),
            PartialIndex(
                fields=["tallied", "last_seen_at"],
                name="trigger_letter_tally",
                condition=Q(tallied=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.run_id} {self.state}"


class DeadLetterGroup(models.Model):
    """Dead letters of one cause, as the last pass of a sweep has counted them.

    ``tasks`` and ``recent`` are lists in JSON. The ``ignore_`` columns say until when a group is
    ignored; without any of them it is for good.
    """

    fingerprint = IdentityField(max_length=16, primary_key=True)
    state = IdentityField(max_length=16, choices=choices(GroupState))
    kind = IdentityField(max_length=NAME_LENGTH, blank=True)
    message = PayloadField(blank=True)
    place = IdentityField(max_length=NAME_LENGTH, blank=True)
    tasks = PayloadField(default="[]")
    open = models.IntegerField(default=0)
    retried = models.IntegerField(default=0)
    settled = models.IntegerField(default=0)
    seen = models.BigIntegerField(default=0)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    recent = PayloadField(default="[]")
    regressed_at = models.DateTimeField(null=True)
    regressions = models.PositiveIntegerField(default=0)
    ignore_until = models.DateTimeField(null=True)
    ignore_seen = models.BigIntegerField(null=True)
    ignore_rate = models.BigIntegerField(null=True)
    by = IdentityField(max_length=NAME_LENGTH, blank=True)
    reason = PayloadField(blank=True)

    class Meta:
        permissions = [("manage_dead_letters", "Can ignore groups of dead letters")]
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=[state.value for state in GroupState]),
                name="trigger_group_state",
            ),
        ]
        indexes = [
            models.Index(fields=["state", "last_seen_at"], name="trigger_group_seen"),
            PartialIndex(
                fields=["ignore_until"],
                name="trigger_group_ignored",
                condition=~Q(ignore_until=None),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.fingerprint}"
