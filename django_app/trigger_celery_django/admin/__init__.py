"""The admin: what runs did. It never saves a row by itself."""

from __future__ import annotations

from trigger_celery_django.admin.runs import RunAdmin

__all__ = ["RunAdmin"]
