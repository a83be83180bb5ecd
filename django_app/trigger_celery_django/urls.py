"""The URLs for the outside world: include them where you like."""

from __future__ import annotations

from django.urls import path

from trigger_celery_django.views import api
from trigger_celery_django.views.tokens import token
from trigger_celery_django.views.webhooks import webhook

app_name = "trigger_celery"

urlpatterns = [
    path("tokens/<uuid:token_id>/<str:secret>/", token, name="token"),
    # Without its slash as well: for a path that leads nowhere Django would log the secret.
    path("tokens/<uuid:token_id>/<str:secret>", token, name="token-without-slash"),
    path("webhooks/<str:source>/", webhook, name="webhook"),
    path("api/tasks/<path:task>/trigger/", api.trigger_task, name="api-trigger"),
    path("api/runs/", api.list_runs, name="api-runs"),
    path("api/runs/<uuid:run_id>/", api.show_run, name="api-run"),
    path("api/runs/<uuid:run_id>/cancel/", api.cancel_run, name="api-cancel"),
    path("api/events/", api.send, name="api-events"),
    path("api/tokens/<uuid:token_id>/complete/", api.complete, name="api-complete"),
    path("api/openapi.json", api.description, name="api-description"),
    path("api/<path:rest>", api.no_such_path, name="api-unknown"),
]
