"""The tables of runs and of what they recorded."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.db.models import F, Q

from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import Holds, StepKind
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.models.base import KEY_LENGTH, NAME_LENGTH, Measured, choices
from trigger_celery_django.models.fields import IdentityField, PartialIndex, PayloadField
from trigger_celery_django.models.querysets import LISTED, RunQuerySet


class Run(models.Model):
    """One execution of a task with one input; its id is the Celery task id.

    ``lease_length`` is zero while no worker owns the run. Failed attempts made under a fence
    up to ``attempts_after_fence`` belong to a life before the last retry. Events up to the
    sequence ``event_cut`` do not count for it.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    task = IdentityField(max_length=NAME_LENGTH)
    state = IdentityField(max_length=16, choices=choices(RunState))
    input = PayloadField()
    output = PayloadField(null=True)
    error = PayloadField(null=True)
    canvas = PayloadField(blank=True)
    version = IdentityField(max_length=64, blank=True)
    attempt = models.PositiveIntegerField(default=1)
    crashes = models.PositiveIntegerField(default=0)
    max_crashes = models.PositiveIntegerField(default=3)
    fence = models.BigIntegerField(default=0)
    attempts_after_fence = models.BigIntegerField(default=0)
    event_cut = models.BigIntegerField(default=0)
    worker = IdentityField(max_length=NAME_LENGTH, blank=True)
    token = IdentityField(max_length=32, blank=True)
    lease_length = models.DurationField(default=timedelta(0))
    created_at = models.DateTimeField()
    available_at = models.DateTimeField()
    line_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    published_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)
    deadline_at = models.DateTimeField(null=True)
    paused_at = models.DateTimeField(null=True)
    max_duration = models.DurationField(null=True)
    max_attempts = models.PositiveIntegerField(null=True)
    priority = models.IntegerField(default=0)
    queue = IdentityField(max_length=NAME_LENGTH, blank=True)
    concurrency_key = IdentityField(max_length=NAME_LENGTH, blank=True)
    tags = PayloadField(blank=True)
    metadata = PayloadField(blank=True)
    parent = models.ForeignKey(
        "self",
        models.DO_NOTHING,
        null=True,
        related_name="children",
        db_constraint=False,
        db_index=False,
    )
    parent_key = IdentityField(max_length=KEY_LENGTH, blank=True)
    closes_with_parent = models.BooleanField(default=False)
    root = models.ForeignKey(
        "self",
        models.DO_NOTHING,
        null=True,
        related_name="descendants",
        db_constraint=False,
        db_index=False,
    )
    origin = PayloadField(blank=True)
    schedule = IdentityField(max_length=NAME_LENGTH, blank=True)
    copied_from = models.ForeignKey(
        "self",
        models.DO_NOTHING,
        null=True,
        related_name="copies",
        db_constraint=False,
        db_index=False,
    )

    objects = RunQuerySet.as_manager()

    class Meta:
        # What a person may do in the admin, beside Django's own view_run.
        permissions = [
            ("view_payload", "Can view what runs were given and returned"),
            ("cancel_run", "Can cancel runs"),
            ("retry_run", "Can retry runs that failed"),
            ("rerun_run", "Can start runs anew"),
            ("pause_run", "Can pause and resume runs"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=[state.value for state in RunState]),
                name="trigger_run_state",
            ),
        ]
        indexes = [
            # Each kind of due run has its own part of an index: a mass of one hides no other.
            PartialIndex(
                fields=["state", "due_at"],
                name="trigger_run_due",
                condition=~Q(state=RunState.QUEUED.value) & ~Q(due_at=None),
            ),
            PartialIndex(
                fields=["due_at", "available_at"],
                name="trigger_run_start",
                condition=Q(state=RunState.QUEUED.value, due_at__lte=F("available_at")),
            ),
            PartialIndex(
                fields=["task", "due_at"],
                name="trigger_run_unclaimed",
                condition=Q(state=RunState.QUEUED.value, due_at__gt=F("available_at")),
            ),
            PartialIndex(
                fields=["deadline_at"],
                name="trigger_run_deadline",
                condition=~Q(deadline_at=None),
            ),
            # Whether a child of one wait has still to end is asked at the end of each of them.
            PartialIndex(
                fields=["parent", "parent_key", "state"],
                name="trigger_run_children",
                condition=~Q(parent=None),
            ),
            # Lists of runs, by what they filter most: the newest first, a page at a time.
            models.Index(fields=["created_at"], name="trigger_run_created"),
            PartialIndex(fields=["task", "created_at"], name="trigger_run_task", condition=LISTED),
            PartialIndex(
                fields=["state", "created_at"], name="trigger_run_state_time", condition=LISTED
            ),
            PartialIndex(
                fields=["queue", "created_at"],
                name="trigger_run_queue",
                condition=LISTED & ~Q(queue=""),
            ),
            PartialIndex(
                fields=["schedule", "created_at"],
                name="trigger_run_schedule",
                condition=LISTED & ~Q(schedule=""),
            ),
            PartialIndex(
                fields=["root", "created_at"],
                name="trigger_run_root",
                condition=LISTED & ~Q(root=None),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.task} {self.id}"


class History(models.Model):
    """One transition of a run."""

    run = models.ForeignKey(
        Run, models.CASCADE, related_name="history", db_constraint=False, db_index=False
    )
    sequence = models.BigAutoField(primary_key=True)
    at = models.DateTimeField()
    verb = IdentityField(max_length=32)
    state = IdentityField(max_length=16, choices=choices(RunState))
    fence = models.BigIntegerField()
    worker = IdentityField(max_length=NAME_LENGTH, blank=True)
    data = PayloadField(default="{}")

    class Meta:
        verbose_name_plural = "history"
        indexes = [models.Index(fields=["run", "sequence"], name="trigger_history_run")]

    def __str__(self) -> str:
        return f"{self.verb}: {self.state}"


class Checkpoint(Measured):
    """What one step of a run returned."""

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(
        Run, models.CASCADE, related_name="checkpoints", db_constraint=False, db_index=False
    )
    key = IdentityField(max_length=KEY_LENGTH)
    kind = IdentityField(max_length=16, choices=choices(StepKind))
    value = PayloadField()
    position = models.BigIntegerField()
    attempt = models.PositiveIntegerField()
    token = IdentityField(max_length=32)
    fence = models.BigIntegerField()
    recorded_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "key"], name="trigger_checkpoint_key"),
        ]

    def __str__(self) -> str:
        return str(self.key)


class FailedAttempt(Measured):
    """A try that raised; of the run itself when ``key`` is empty.

    While one of a step ``holds``, replays raise it, made again from ``raised``.
    """

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(
        Run, models.CASCADE, related_name="failed_attempts", db_constraint=False, db_index=False
    )
    key = IdentityField(max_length=KEY_LENGTH, blank=True)
    run_attempt = models.PositiveIntegerField()
    number = models.PositiveIntegerField()
    error = PayloadField()
    kind = IdentityField(max_length=16, choices=choices(StepKind), default=StepKind.STEP)
    position = models.BigIntegerField(default=0)
    holds = IdentityField(max_length=16, choices=choices(Holds), default=Holds.NOT)
    raised = PayloadField(blank=True)
    fence = models.BigIntegerField()

    class Meta:
        constraints = [
            # Within one claim a number is used once: a write that is repeated finds itself.
            models.UniqueConstraint(
                fields=["run", "fence", "key", "number"], name="trigger_attempt_number"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.key} attempt {self.number}"


class TaskVersion(models.Model):
    """The source of a task as it was, under its digest."""

    digest = IdentityField(max_length=64, primary_key=True)
    task = IdentityField(max_length=NAME_LENGTH)
    source = PayloadField()
    file = PayloadField()
    first_line = models.PositiveIntegerField()
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.task} {self.digest[:12]}"
