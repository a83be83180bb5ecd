"""Settings of the bench: a database, Redis keys and queues of its own; no process reconnects.

The parent of each process of the bench sets the three variables; see ``environment.py``.
"""

from __future__ import annotations

import os

from support.services import SERVICES

NAME = os.environ["TC_BENCH_NAME"]
"""The database, and the prefix of every key in Redis."""
REDIS_URL = (
    f"redis://{SERVICES['redis'].host}:{SERVICES['redis'].port}/"
    f"{os.environ.get('TC_BENCH_REDIS_DB', '9')}"
)

DEBUG = False
SECRET_KEY = "only-for-the-bench"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["trigger_celery_django"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": SERVICES["postgres"].host,
        "PORT": SERVICES["postgres"].port,
        "USER": "root",
        "NAME": NAME,
        "CONN_MAX_AGE": None,
    }
}

CELERY_BROKER_URL = REDIS_URL
CELERY_BROKER_TRANSPORT_OPTIONS = {"global_keyprefix": f"{NAME}:"}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_IGNORE_RESULT = True
# Celery's default closes the database connection around every task.
CELERY_DB_REUSE_MAX = 10_000_000
