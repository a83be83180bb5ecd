"""The admin's list of runs: the newest first, whatever their ids."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from django.contrib import admin
from django.test import RequestFactory
from django.utils import timezone

from trigger_celery.testing.contract.tools import queued
from trigger_celery_django.models import Run
from trigger_celery_django.store import DjangoStore

pytestmark = pytest.mark.django_db


def test_a_member_of_a_group_does_not_stay_on_top() -> None:
    store = DjangoStore()
    old, new = queued(store), queued(store)
    chosen = UUID("ffffffff-ffff-4fff-bfff-ffffffffffff")  # as Celery makes ids: by chance
    Run.objects.filter(pk=old).update(id=chosen, created_at=timezone.now() - timedelta(days=9))
    listing = admin.site.get_model_admin(Run)
    shown = listing.get_queryset(RequestFactory().get("/"))
    assert shown.query.order_by == ("-created_at", "-id")
    assert [run.pk for run in shown] == [new, chosen]
