"""``manage.py retry_dead_letters``: the same as ``trigger_dead_letters retry``."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from trigger_celery.errors import TriggerError
from trigger_celery_django.management.command import DurableCommand
from trigger_celery_django.management.commands import trigger_dead_letters
from trigger_celery_django.management.output import add_format


class Command(DurableCommand):
    """Retrys dead letters."""

    help = "The same as trigger_dead_letters retry."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare what the verb takes."""
        add_format(parser)
        trigger_dead_letters.add_retry(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the verb."""
        try:
            trigger_dead_letters.retry(self, options)
        except TriggerError as error:
            raise CommandError(str(error)) from error
