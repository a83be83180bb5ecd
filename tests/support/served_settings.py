"""Settings of the project whose views are served by servers as people run them."""

from __future__ import annotations

from testproject.settings import *  # noqa: F403

WSGI_APPLICATION = "support.served.wsgi"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
