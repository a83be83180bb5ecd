"""System checks; importing them registers them."""

from __future__ import annotations

from trigger_celery_django.checks.setup import check_migrations, check_setup

__all__ = ["check_migrations", "check_setup"]
