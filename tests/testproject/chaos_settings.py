"""The settings of the test project with short times: for workers that are killed."""

from __future__ import annotations

import os

from testproject.settings import *  # noqa: F403
from testproject.settings import DATABASES

TRIGGER_CELERY = {
    "HEARTBEAT_TIMEOUT": 2,
    # Only the poison runs are to end for their crashes; they say so themselves.
    "MAX_CRASHES": 1000,
    "SWEEP_INTERVAL": 0.25,
    "NUDGE_INTERVAL": 1,
    "DATABASE_PATIENCE": 60,
}

if os.environ.get("TC_QUORUM_URL"):
    CELERY_BROKER_URL = os.environ["TC_QUORUM_URL"]
    CELERY_BROKER_TRANSPORT_OPTIONS = {"confirm_publish": True}
    CELERY_BROKER_CONNECTION_MAX_RETRIES = None
    CELERY_TASK_DEFAULT_QUEUE_TYPE = "quorum"
    CELERY_TASK_QUEUES = []

if os.environ.get("TC_DJANGO_POOL"):
    DATABASES["default"]["OPTIONS"] = {"pool": True}

if os.environ.get("TC_KEEP_CONNECTIONS"):  # Django and Celery open one for each message otherwise
    DATABASES["default"]["CONN_MAX_AGE"] = None
    CELERY_DB_REUSE_MAX = 1_000
