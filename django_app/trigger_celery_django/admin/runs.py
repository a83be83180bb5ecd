"""A read-only list of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.http import HttpRequest

from trigger_celery_django.models import Run

if TYPE_CHECKING:
    ReadOnlyAdmin = admin.ModelAdmin[Run]
else:  # Django's class takes no parameter at run time
    ReadOnlyAdmin = admin.ModelAdmin


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    """Runs, newest first; to change one, ask the engine."""

    list_display = ("id", "task", "state", "attempt", "crashes", "created_at", "finished_at")
    list_filter = ("state", "task")
    search_fields = ("=id", "task")
    ordering = ("-created_at", "-id")
    show_full_result_count = False
    fields = (
        "id",
        "task",
        "state",
        "attempt",
        "crashes",
        "worker",
        "version",
        "created_at",
        "available_at",
        "started_at",
        "finished_at",
        "input",
        "output",
        "error",
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Runs are triggered, not added."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Run | None = None) -> bool:
        """Nothing is changed here."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Run | None = None) -> bool:
        """Nothing is deleted here."""
        return False
