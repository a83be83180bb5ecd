"""What all pages have in common: sections, icons, the person's permissions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import django
from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse

from trigger_celery_django.admin.callers import may
from trigger_celery_django.drawing.badges import glyphs

SECTIONS = (
    ("run", "Runs", "list_runs"),
    ("deadlettergroup", "Dead letters", "list_dead_letter_groups"),
    ("wait", "Waits", "open_waits"),
    ("event", "Events", "list_events"),
    ("durablequeue", "Queues", "list_queues"),
    ("schedule", "Schedules", "list_schedules"),
)
"""The pages that each page leads to: model, word, and the verb that a person must be allowed."""


def frame(
    request: HttpRequest,
    site: AdminSite,
    title: str,
    *,
    section: str = "run",
    crumbs: Sequence[tuple[str, str]] = (),
    **context: Any,
) -> dict[str, Any]:
    """Return the context of a page, with the names and addresses of the pages above it.

    The admin's sidebar is off: its width is the trace's.
    """
    return {
        **site.each_context(request),
        "is_nav_sidebar_enabled": False,
        "is_popup": False,
        "title": title,
        "crumbs": crumbs,
        "sections": [
            (word, reverse(f"{site.name}:trigger_celery_{model}_changelist"), model == section)
            for model, word, verb in SECTIONS
            if may(request, verb)
        ],
        "icons": static("trigger_celery/icons.svg"),
        "glyphs": glyphs(),
        # Django's own breadcrumbs are a list since 6.1, and styled as what they are.
        "are_crumbs_listed": django.VERSION >= (6, 1),
        **context,
    }
