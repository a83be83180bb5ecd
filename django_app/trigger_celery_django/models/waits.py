"""The tables of events and of what waits for them."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from trigger_celery.vocabulary.records import StepKind
from trigger_celery.vocabulary.states import WaitState
from trigger_celery_django.models.base import KEY_LENGTH, NAME_LENGTH, choices
from trigger_celery_django.models.fields import IdentityField, PartialIndex, PayloadField
from trigger_celery_django.models.querysets import WaitQuerySet
from trigger_celery_django.models.runs import Run


class Event(models.Model):
    """A named payload that was received; matched once all waits of its time have seen it."""

    sequence = models.BigAutoField(primary_key=True)
    source = IdentityField(max_length=NAME_LENGTH, blank=True)
    event_id = IdentityField(max_length=NAME_LENGTH)
    name = IdentityField(max_length=NAME_LENGTH)
    payload = PayloadField()
    received_at = models.DateTimeField()
    matched_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["source", "event_id"], name="trigger_event_id"),
        ]
        indexes = [
            # A look-back reads what came since the run began, in its order.
            models.Index(fields=["name", "sequence"], name="trigger_event_order"),
            # The sweep asks for all that are still to be matched, a sender for those of a name
            # that come before its own. Of two indexes PostgreSQL would choose by how many
            # there were a while ago.
            PartialIndex(
                fields=["matched_at", "name", "sequence"],
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
    kind = IdentityField(max_length=16, choices=choices(StepKind))
    state = IdentityField(max_length=16, choices=choices(WaitState))
    position = models.BigIntegerField()
    name = IdentityField(max_length=NAME_LENGTH, blank=True)
    filter = PayloadField(blank=True)
    paths = PayloadField(blank=True)
    match_hash = models.BigIntegerField(null=True)
    due_at = models.DateTimeField(null=True)
    # An event that ended a wait must stay: replays read it.
    event = models.ForeignKey(Event, models.PROTECT, null=True, db_constraint=False)
    token = models.ForeignKey(
        "Token",
        models.PROTECT,
        null=True,
        related_name="waits",
        db_constraint=False,
        db_index=False,
    )
    value = PayloadField(null=True)
    created_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True)
    source = PayloadField(blank=True)
    looked = models.BooleanField(default=True)

    objects = WaitQuerySet.as_manager()

    class Meta:
        permissions = [("complete_wait", "Can complete, skip and extend waits")]
        constraints = [
            models.UniqueConstraint(fields=["run", "key"], name="trigger_wait_key"),
            models.UniqueConstraint(fields=["run", "event"], name="trigger_wait_event"),
            models.CheckConstraint(
                condition=Q(state__in=[state.value for state in WaitState]),
                name="trigger_wait_state",
            ),
        ]
        indexes = [
            # Of waits on events only: of all open ones it would also serve a question for those of
            # one run, and if few waits were open a while ago PostgreSQL would read all of it.
            PartialIndex(
                fields=["match_hash", "id"],
                name="trigger_wait_match",
                condition=Q(state=WaitState.WAITING.value) & ~Q(match_hash=None),
            ),
            PartialIndex(
                fields=["token", "id"], name="trigger_wait_token", condition=~Q(token=None)
            ),
        ]

    def __str__(self) -> str:
        return str(self.key)


class WaitShape(models.Model):
    """A set of key paths that the filters of some waits on an event name look at."""

    digest = IdentityField(max_length=64, primary_key=True)
    name = IdentityField(max_length=NAME_LENGTH, db_index=True)
    paths = PayloadField()

    def __str__(self) -> str:
        return f"{self.name} {self.paths}"
