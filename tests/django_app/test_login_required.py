"""The URLs for the outside world in a site whose every page needs a login."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.conf import settings
from django.test import Client, override_settings
from django.urls import URLPattern

from trigger_celery_django.urls import urlpatterns

pytestmark = pytest.mark.django_db

LOGIN = "django.contrib.auth.middleware.LoginRequiredMiddleware"
ARGUMENTS = {
    "token": f"tokens/{uuid4()}/secret/",
    "token-without-slash": f"tokens/{uuid4()}/secret",
    "webhook": "webhooks/billing/",
    "api-trigger": "api/tasks/pay/trigger/",
    "api-runs": "api/runs/",
    "api-run": f"api/runs/{uuid4()}/",
    "api-cancel": f"api/runs/{uuid4()}/cancel/",
    "api-events": "api/events/",
    "api-complete": f"api/tokens/{uuid4()}/complete/",
    "api-description": "api/openapi.json",
    "api-unknown": "api/nowhere/",
}


@pytest.mark.parametrize("pattern", urlpatterns, ids=lambda pattern: str(pattern.name))
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_request_from_outside_is_sent_to_the_login(pattern: URLPattern, method: str) -> None:
    url = f"/durable/{ARGUMENTS[str(pattern.name)]}"
    with override_settings(MIDDLEWARE=[*settings.MIDDLEWARE, LOGIN], LOGIN_URL="/login/"):
        client = Client(enforce_csrf_checks=True)
        answer = client.generic(method, url, b"{}", content_type="application/json")
        guarded = client.get("/admin/")
    described = (method, pattern.name) == ("GET", "api-description")
    assert answer.status_code in ({200} if described else {401, 404, 405})
    assert guarded.status_code == 302
