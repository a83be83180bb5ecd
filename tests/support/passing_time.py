"""Lets a database's time pass: what is stored moves into the past instead."""

from __future__ import annotations

from datetime import timedelta

from django.apps import apps
from django.db import transaction
from django.db.models import DateTimeField, F


def advance(alias: str, delta: timedelta) -> None:
    """Make everything that the store on this alias keeps older by ``delta``."""
    with transaction.atomic(using=alias):
        for model in apps.get_app_config("trigger_celery").get_models():
            names = [f.name for f in model._meta.fields if isinstance(f, DateTimeField)]
            if names:
                model._default_manager.using(alias).update(
                    **{name: F(name) - delta for name in names}
                )
