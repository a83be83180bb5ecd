"""The tables of what the outside world holds: tokens to complete and keys of the API."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.states import TokenState
from trigger_celery_django.models.base import NAME_LENGTH, choices
from trigger_celery_django.models.fields import IdentityField, PartialIndex, PayloadField
from trigger_celery_django.models.runs import Run


class Token(models.Model):
    """A wait that one outside party completes, until ``expires_at``. Its secret is not kept.

    ``settled_at`` is when all waits that its end concerns had ended too.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    state = IdentityField(max_length=16, choices=choices(TokenState))
    schema = PayloadField(blank=True)
    tags = PayloadField(blank=True)
    value = PayloadField(null=True)
    run = models.ForeignKey(
        Run, models.DO_NOTHING, null=True, related_name="tokens", db_constraint=False
    )
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)
    closed_by = IdentityField(max_length=NAME_LENGTH, blank=True)
    settled_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=[state.value for state in TokenState]),
                name="trigger_token_state",
            ),
        ]
        indexes = [
            PartialIndex(
                fields=["settled_at", "closed_at"],
                name="trigger_token_unsettled",
                condition=Q(settled_at=None, closed_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.id} {self.state}"


class ApiKey(models.Model):
    """A secret that may call the HTTP API; kept as a digest, shown once when it is made.

    ``tasks`` and ``events`` are JSON lists of the names that it may use, "" for all names.
    ``last_used_at`` may be a minute behind.
    """

    id = models.BigAutoField(primary_key=True)
    name = IdentityField(max_length=NAME_LENGTH)
    prefix = IdentityField(max_length=16)
    digest = IdentityField(max_length=64, unique=True)
    permissions = PayloadField()
    tasks = PayloadField(blank=True)
    events = PayloadField(blank=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}...)"
