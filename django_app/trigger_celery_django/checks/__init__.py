"""System checks; importing them registers them."""

from __future__ import annotations

from trigger_celery_django.checks.clocks import check_clocks
from trigger_celery_django.checks.setup import check_migrations, check_setup
from trigger_celery_django.checks.unknown_tasks import check_unknown_tasks

__all__ = ["check_clocks", "check_migrations", "check_setup", "check_unknown_tasks"]
