"""The Celery app of the bench."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bench.bench_settings")

app = Celery("bench", include=["bench.bench_tasks"])
app.config_from_object("django.conf:settings", namespace="CELERY")
