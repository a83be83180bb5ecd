"""The Django application of the shop."""

from __future__ import annotations

from django.apps import AppConfig


class ShopConfig(AppConfig):
    """Orders and documents."""

    name = "shop"
    default_auto_field = "django.db.models.BigAutoField"
