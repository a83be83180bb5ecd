"""The views on servers as people run them, over a store in memory that has one open token."""

from __future__ import annotations

import os
from uuid import UUID

import django
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "support.served_settings")
django.setup()

from trigger_celery.engine.waking.tokens import create_token  # noqa: E402  # needs the settings
from trigger_celery.testing import Harness  # noqa: E402
from trigger_celery.vocabulary.records import NewToken  # noqa: E402

TOKEN = UUID("0197a5a0-0000-7000-8000-000000000001")

harness = Harness()
harness.__enter__()
create_token(harness.engine, NewToken(id=TOKEN))

wsgi = get_wsgi_application()
asgi = get_asgi_application()
