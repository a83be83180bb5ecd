"""Stands in for Django's ``flush``, which empties every table and asks every app for its rows."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.management.commands import flush
from django.db import connections
from django.db.models.signals import post_migrate

from support.emptying import empty


class Command(flush.Command):
    """Empties the tables that have rows, and lets our app declare what the code declares."""

    def handle(self, **options: Any) -> None:
        """Empty one database."""
        alias = options["database"]
        empty(connections[alias])
        if not options.get("inhibit_post_migrate"):
            config = apps.get_app_config("trigger_celery")
            post_migrate.send(config, app_config=config, using=alias, apps=apps, verbosity=0)
