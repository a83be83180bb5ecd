"""The Django project that the tests run in."""

from __future__ import annotations

from testproject.celery import app

__all__ = ["app"]
