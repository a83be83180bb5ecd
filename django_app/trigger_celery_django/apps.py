"""The Django application: adding it to INSTALLED_APPS is all the set-up there is."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig


class TriggerCeleryConfig(AppConfig):
    """Durable execution for Celery and Django."""

    name = "trigger_celery_django"
    label = "trigger_celery"
    verbose_name = "Durable execution"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Install the engine and the system checks, now that models can be imported."""
        import_module("trigger_celery_django.checks")
        import_module("trigger_celery_django.wiring").wire()
        import_module("trigger_celery_django.declaring").connect(self)
