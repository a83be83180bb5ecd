"""Finds runs of tasks that no code declares: they wait until some does."""

from __future__ import annotations

from collections.abc import Sequence

from django.apps import AppConfig
from django.core import checks
from django.core.checks import CheckMessage, Tags, register
from django.db import DatabaseError, router
from django.db.models import Count

from trigger_celery.client.runs import is_declared
from trigger_celery.vocabulary.states import TERMINAL
from trigger_celery_django.models import Run


@register(Tags.database)
def check_unknown_tasks(
    app_configs: Sequence[AppConfig] | None = None,
    databases: Sequence[str] | None = None,
    **kwargs: object,
) -> list[CheckMessage]:
    """Find runs that have not ended and whose task no module of the project declares."""
    alias = router.db_for_write(Run)
    if alias not in (databases or ()):
        return []
    live = Run.objects.using(alias).exclude(state__in=TERMINAL).order_by("task")
    try:
        counts = list(live.values_list("task").annotate(Count("id")))
    except DatabaseError:  # away, or not migrated: another check says so
        return []
    return [
        checks.Warning(
            f"{count} runs of the task {task!r} have not ended, and no module declares it: no "
            "worker of this code executes them.",
            hint=f"If it was renamed, declare it with aliases=[{task!r}]; if it is gone, cancel "
            f"its runs with 'manage.py trigger_runs cancel --task {task}'.",
            id="trigger_celery.W012",
        )
        for task, count in counts
        if not is_declared(task)
    ]
