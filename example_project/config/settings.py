"""Settings of the example shop: SQLite and a broker of plain files, so that nothing else runs.

Everything that the shop writes lies in one folder, ``SHOP_HOME``.
"""

from __future__ import annotations

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SHOP_HOME = Path(os.environ.get("SHOP_HOME") or BASE_DIR / ".trigger")
BROKER_FOLDERS = (SHOP_HOME / "queue", SHOP_HOME / "control")
for folder in BROKER_FOLDERS:
    folder.mkdir(parents=True, exist_ok=True)  # the filesystem broker does not make them

DEBUG = os.environ.get("SHOP_DEBUG", "1") == "1"
SECRET_KEY = os.environ.get("SHOP_SECRET_KEY", "only-for-the-demo")
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
STATIC_URL = "/static/"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": SHOP_HOME / "shop.sqlite3",
        # What makes SQLite fit for several processes; "manage.py check" insists on it.
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_celery_results",
    "trigger_celery_django",
    "shop",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
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

EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = SHOP_HOME / "mail"
DEFAULT_FROM_EMAIL = "shop@example.com"

CELERY_BROKER_URL = "filesystem://"
# kombu's own may read a message that is half written, and the worker stops.
CELERY_BROKER_TRANSPORT = "trigger_celery.celery.file_transport:Transport"
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # One folder for both: what one process sends is what the other receives.
    "data_folder_in": str(BROKER_FOLDERS[0]),
    "data_folder_out": str(BROKER_FOLDERS[0]),
    "control_folder": str(BROKER_FOLDERS[1]),
    "polling_interval": 0.1,
}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_RESULT_BACKEND = "django-db"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# How soon a worker gives up on a pool process that was killed, in seconds (Celery's own: 10).
CELERY_WORKER_LOST_WAIT = 0.5

TRIGGER_CELERY = {
    # Short, so that the demo does not wait a minute for a worker that it killed.
    "HEARTBEAT_TIMEOUT": 5,
    "SWEEP_INTERVAL": 0.5,
    # The billing service signs what it sends as Stripe does.
    "WEBHOOKS": {
        "billing": {
            "scheme": "stripe",
            "secrets": [os.environ.get("SHOP_BILLING_SECRET", "billing-secret-of-the-demo")],
        },
    },
}

# How long the shop's slow PDF library takes, in seconds.
SHOP_RENDER_SECONDS = float(os.environ.get("SHOP_RENDER_SECONDS", "2"))
# How long its mail service takes for one mail, in seconds.
SHOP_MAIL_SECONDS = float(os.environ.get("SHOP_MAIL_SECONDS", "0.8"))
