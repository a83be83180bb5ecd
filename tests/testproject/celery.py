"""The Celery app of the test project."""

from __future__ import annotations

import os
from pathlib import Path

from celery import Celery, signals

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.settings")

app = Celery("testproject")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@signals.worker_ready.connect
def tell_ready(**kwargs: object) -> None:
    """Create the file that the test which started this worker waits for."""
    if path := os.environ.get("TC_READY"):
        Path(path).touch()
