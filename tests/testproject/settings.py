"""Settings of the test project; ``TC_DB`` and ``TC_BROKER`` choose what it runs on."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from pathlib import Path

import pymysql
from kombu import Exchange, Queue

from support import brokers, databases

pymysql.install_as_MySQLdb()

# Child processes inherit the folder of the process that made it, and leave it alone.
if "TC_TMP" not in os.environ:
    os.environ["TC_TMP"] = tempfile.mkdtemp(prefix="trigger-celery-")
    atexit.register(shutil.rmtree, os.environ["TC_TMP"], ignore_errors=True)
# Each process of pytest-xdist has a folder and a name of its own within those of its test run.
part = os.environ.get("PYTEST_XDIST_WORKER", "")
if part and Path(os.environ["TC_TMP"]).name != part:
    os.environ["TC_PREFIX"] = f"{Path(os.environ['TC_TMP']).name}-{part}"
    os.environ["TC_TMP"] = str(Path(os.environ["TC_TMP"], part))
    Path(os.environ["TC_TMP"]).mkdir(exist_ok=True)
TMP = Path(os.environ["TC_TMP"])
# This test run's own name: what several runs keep on one server does not meet.
PREFIX = os.environ.setdefault("TC_PREFIX", TMP.name)

DEBUG = False
SECRET_KEY = "only-for-tests"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "testproject.urls"
STATIC_URL = "/static/"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

DATABASES = databases.settings_for_django(TMP)

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_celery_results",
    "trigger_celery_django",
    "testproject.shop",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
# Passwords in tests protect nothing, and a slow hash costs a second a login.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

CELERY_BROKER_URL = brokers.url()
CELERY_BROKER_TRANSPORT_OPTIONS = brokers.transport_options(TMP)
if brokers.CHOSEN == "filesystem":  # kombu's own reads messages that are half written
    CELERY_BROKER_TRANSPORT = "trigger_celery.celery.file_transport:Transport"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_DEFAULT_QUEUE = f"{PREFIX}.default"
CELERY_TASK_QUEUES = [
    Queue(name, Exchange(name), routing_key=name, expires=600, max_priority=9)
    for name in (f"{PREFIX}.default", f"{PREFIX}.other")
]
CELERY_CONTROL_EXCHANGE = f"{PREFIX}.control"
CELERY_EVENT_EXCHANGE = f"{PREFIX}.events"
CELERY_RESULT_BACKEND = brokers.result_backend()
CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS = {"global_keyprefix": f"{PREFIX}."}
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = float(os.environ.get("TC_SOFT_SHUTDOWN", "0"))
TRIGGER_CELERY = json.loads(os.environ.get("TC_SETTINGS", "{}"))
