"""The Django project of the example shop."""

from __future__ import annotations

from config.celery import app as celery_app

__all__ = ["celery_app"]
