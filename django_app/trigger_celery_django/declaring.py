"""After migrations: stores what starts the project's tasks and what limits them.

Otherwise an event that is sent before any worker has started would start nothing.
"""

from __future__ import annotations

import logging
from typing import Any

from django.apps import AppConfig
from django.apps import apps as installed
from django.db.models.signals import post_migrate

from trigger_celery.celery.install import discover
from trigger_celery.client.access import installed_engine
from trigger_celery.engine.upkeep.declarations import sync_declared
from trigger_celery_django.store import DjangoStore

logger = logging.getLogger("trigger_celery.store")


def connect(config: AppConfig) -> None:
    """Do it whenever the migrations of our app were applied."""
    post_migrate.connect(_declare, sender=config, dispatch_uid="trigger_celery.declared")


def _declare(using: str, apps: Any = installed, **kwargs: object) -> None:
    engine = installed_engine()
    store = engine.store
    if not isinstance(store, DjangoStore) or store.alias != using or not _has_tables(apps):
        return
    try:
        discover()
        # The rows may be gone since this process stored them: tests flush whole databases.
        engine.subscribed.clear()
        engine.scheduled.clear()
        engine.stored_queues.forget()
        engine.known_queues.clear()
        sync_declared(engine)
    except Exception:  # a task that cannot be imported now must not stop a migration
        logger.exception(
            "subscriptions, schedules and limits of tasks were not stored; the first sweep does it"
        )


def _has_tables(apps: Any) -> bool:
    """Whether the migrations that were applied go so far."""
    names = {
        model._meta.object_name
        for model in apps.get_models()
        if model._meta.app_label == "trigger_celery"
    }
    return {"Subscription", "Schedule", "DurableQueue"} <= names
