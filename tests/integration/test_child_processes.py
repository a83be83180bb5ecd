"""A child process of a test works on the same database and broker as the test."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support.databases import child_environment
from testproject.celery import app
from testproject.shop.models import Effect

SCRIPT = """
import django
django.setup()
from testproject.celery import app
from testproject.shop.models import Effect
Effect.objects.create(run="child", step=app.connection().as_uri())
"""


@pytest.mark.django_db(transaction=True)
def test_a_child_process_works_on_the_same_database_and_broker() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], env=child_environment(), check=True, timeout=60)
    assert list(Effect.objects.values_list("run", "step")) == [("child", app.connection().as_uri())]
