"""Pages of the project: the shop, the admin, and what other systems call."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("durable/", include("trigger_celery_django.urls")),
    path("", include("shop.urls")),
]
