"""The tables: what runs, steps, waits and events are made of.

Payloads are text exactly as the codec wrote it: JSON columns reorder keys and reject
values that others take. Foreign keys on the hot path have no constraint in the
database: its check would lock and read the run's row again for each recorded step.
"""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.db.models import Q

from trigger_celery.identity import new_id
from trigger_celery.records import StepKind
from trigger_celery.states import RunState, WaitState
from trigger_celery_django.fields import IdentityField, PartialIndex, PayloadField
from trigger_celery_django.querysets import (
    DeadLetterQuerySet,
    EventQuerySet,
    RunQuerySet,
    WaitQuerySet,
)

NAME_LENGTH = 255
KEY_LENGTH = 500


def _choices(values: type[RunState] | type[WaitState] | type[StepKind]) -> list[tuple[str, str]]:
    return [(item.value, item.value.replace("_", " ")) for item in values]


class Run(models.Model):
    """One execution of a task with one input; its id is the Celery task id.

    ``lease_length`` is zero while nobody owns the run. Failed attempts made under a fence
    up to ``attempts_after_fence`` belong to a life before the last retry.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    task = IdentityField(max_length=NAME_LENGTH)
    state = models.CharField(max_length=16, choices=_choices(RunState))
    input = PayloadField()
    output = PayloadField(null=True)
    error = PayloadField(null=True)
    canvas = PayloadField(blank=True)
    version = models.CharField(max_length=64, blank=True)
    attempt = models.PositiveIntegerField(default=1)
    crashes = models.PositiveIntegerField(default=0)
    max_crashes = models.PositiveIntegerField(default=3)
    fence = models.BigIntegerField(default=0)
    attempts_after_fence = models.BigIntegerField(default=0)
    worker = IdentityField(max_length=NAME_LENGTH, blank=True)
    token = models.CharField(max_length=32, blank=True)
    lease_length = models.DurationField(default=timedelta(0))
    created_at = models.DateTimeField()
    available_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    published_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)

    objects = RunQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=[state.value for state in RunState]),
                name="trigger_run_state",
            ),
        ]
        indexes = [
            PartialIndex(fields=["due_at"], name="trigger_run_due", condition=~Q(due_at=None)),
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
    verb = models.CharField(max_length=32)
    state = models.CharField(max_length=16, choices=_choices(RunState))
    fence = models.BigIntegerField()
    worker = models.CharField(max_length=NAME_LENGTH, blank=True)
    data = PayloadField(default="{}")

    class Meta:
        verbose_name_plural = "history"
        indexes = [models.Index(fields=["run", "sequence"], name="trigger_history_run")]

    def __str__(self) -> str:
        return f"{self.verb}: {self.state}"


class Measured(models.Model):
    """When and where something ran and what it used: the columns of a span."""

    started_at = models.DateTimeField()
    ended_at = models.DateTimeField()
    cpu_us = models.BigIntegerField()
    peak_memory = models.BigIntegerField()
    queries = models.PositiveIntegerField()
    worker = models.CharField(max_length=NAME_LENGTH, blank=True)
    source = PayloadField(blank=True)

    class Meta:
        abstract = True


class Checkpoint(Measured):
    """What one step of a run returned."""

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(
        Run, models.CASCADE, related_name="checkpoints", db_constraint=False, db_index=False
    )
    key = IdentityField(max_length=KEY_LENGTH)
    kind = models.CharField(max_length=16, choices=_choices(StepKind))
    value = PayloadField()
    position = models.PositiveIntegerField()
    attempt = models.PositiveIntegerField()
    token = models.CharField(max_length=32)
    fence = models.BigIntegerField()
    recorded_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "key"], name="trigger_checkpoint_key"),
        ]

    def __str__(self) -> str:
        return str(self.key)


class FailedAttempt(Measured):
    """A try that raised; of the run itself when ``key`` is empty."""

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(
        Run, models.CASCADE, related_name="failed_attempts", db_constraint=False, db_index=False
    )
    key = IdentityField(max_length=KEY_LENGTH, blank=True)
    run_attempt = models.PositiveIntegerField()
    number = models.PositiveIntegerField()
    error = PayloadField()
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


class Event(models.Model):
    """A named payload that was received; matched once all waits of its time have seen it."""

    sequence = models.BigAutoField(primary_key=True)
    event_id = IdentityField(max_length=NAME_LENGTH, unique=True)
    name = IdentityField(max_length=NAME_LENGTH)
    payload = PayloadField()
    received_at = models.DateTimeField()
    matched_at = models.DateTimeField(null=True)

    objects = EventQuerySet.as_manager()

    class Meta:
        indexes = [
            # A look-back reads by sequence when much came since the run began ...
            models.Index(fields=["name", "sequence"], name="trigger_event_order"),
            # ... and by time when little did, however many events lie before.
            models.Index(fields=["name", "matched_at"], name="trigger_event_recent"),
            PartialIndex(
                fields=["matched_at", "received_at"],
                name="trigger_event_unmatched",
                condition=Q(matched_at=None),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.event_id}"


class Wait(models.Model):
    """Something a run waits for, or waited for.

    ``looked`` is false until the events stored before it were compared with it.
    """

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(
        Run, models.CASCADE, related_name="waits", db_constraint=False, db_index=False
    )
    key = IdentityField(max_length=KEY_LENGTH)
    kind = models.CharField(max_length=16, choices=_choices(StepKind))
    state = models.CharField(max_length=16, choices=_choices(WaitState))
    position = models.PositiveIntegerField()
    name = IdentityField(max_length=NAME_LENGTH, blank=True)
    filter = PayloadField(blank=True)
    paths = PayloadField(blank=True)
    match_hash = models.BigIntegerField(null=True)
    due_at = models.DateTimeField(null=True)
    # An event that ended a wait must stay: replays read it.
    event = models.ForeignKey(Event, models.PROTECT, null=True, db_constraint=False)
    created_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True)
    source = PayloadField(blank=True)
    looked = models.BooleanField(default=True)

    objects = WaitQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "key"], name="trigger_wait_key"),
            models.UniqueConstraint(fields=["run", "event"], name="trigger_wait_event"),
            models.CheckConstraint(
                condition=Q(state__in=[state.value for state in WaitState]),
                name="trigger_wait_state",
            ),
        ]
        indexes = [
            PartialIndex(
                fields=["match_hash", "id"],
                name="trigger_wait_match",
                condition=Q(state=WaitState.WAITING.value),
            ),
        ]

    def __str__(self) -> str:
        return str(self.key)


class WaitShape(models.Model):
    """A set of key paths that the filters of some waits on an event name look at."""

    digest = models.CharField(max_length=64, primary_key=True)
    name = IdentityField(max_length=NAME_LENGTH, db_index=True)
    paths = PayloadField()

    def __str__(self) -> str:
        return f"{self.name} {self.paths}"


class DeadLetter(models.Model):
    """A run that failed for good and waits for a person; a later failure opens it again."""

    class State(models.TextChoices):
        """What became of it."""

        OPEN = "open"
        RETRIED = "retried"
        DISCARDED = "discarded"

    run = models.OneToOneField(
        Run, models.CASCADE, primary_key=True, related_name="dead_letter", db_constraint=False
    )
    state = models.CharField(max_length=16, choices=State.choices)
    fingerprint = models.CharField(max_length=NAME_LENGTH, blank=True)
    created_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True)

    objects = DeadLetterQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=["open", "retried", "discarded"]),
                name="trigger_letter_state",
            ),
        ]
        indexes = [models.Index(fields=["state", "fingerprint"], name="trigger_letter_group")]

    def __str__(self) -> str:
        return f"{self.run_id} {self.state}"


class TaskVersion(models.Model):
    """The source of a task as it was, under its digest."""

    digest = models.CharField(max_length=64, primary_key=True)
    task = IdentityField(max_length=NAME_LENGTH)
    source = PayloadField()
    file = PayloadField()
    first_line = models.PositiveIntegerField()
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.task} {self.digest[:12]}"
