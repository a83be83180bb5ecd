"""What a person may do in the admin: a Django permission for each verb."""

from __future__ import annotations

from django.contrib.auth import get_permission_codename
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from trigger_celery.client.access import Caller
from trigger_celery_django.models import Run

_APP = Run._meta.app_label
VIEW = f"{_APP}.{get_permission_codename('view', Run._meta)}"
PAYLOAD = f"{_APP}.view_payload"
"""To see inputs, outputs and the messages of errors."""
NEEDED = {
    "get_run": VIEW,
    "list_runs": VIEW,
    "cancel_run": f"{_APP}.cancel_run",
    "retry_run": f"{_APP}.retry_run",
    "rerun": f"{_APP}.rerun_run",
    "pause_run": f"{_APP}.pause_run",
    "resume_run": f"{_APP}.pause_run",
    "open_waits": f"{_APP}.view_wait",
    "complete_wait": f"{_APP}.complete_wait",
    "skip_wait": f"{_APP}.complete_wait",
    "extend_wait": f"{_APP}.complete_wait",
    "list_queues": f"{_APP}.view_durablequeue",
    "pause_queue": f"{_APP}.manage_queue",
    "resume_queue": f"{_APP}.manage_queue",
    "list_schedules": f"{_APP}.view_schedule",
    "pause_schedule": f"{_APP}.manage_schedule",
    "resume_schedule": f"{_APP}.manage_schedule",
    "run_schedule": f"{_APP}.manage_schedule",
    "list_dead_letter_groups": f"{_APP}.view_deadlettergroup",
    "get_dead_letter_group": f"{_APP}.view_deadlettergroup",
    "ignore_dead_letter_group": f"{_APP}.manage_dead_letters",
    "show_dead_letter_group": f"{_APP}.manage_dead_letters",
    "start_bulk": f"{_APP}.retry_run",
    "list_events": f"{_APP}.view_event",
}
"""The permission that each verb asks for; a verb that is not listed is refused."""


def may(request: HttpRequest, verb: str) -> bool:
    """Return whether the person of a request may do a verb."""
    return verb in NEEDED and request.user.has_perm(NEEDED[verb])


def sees_payloads(request: HttpRequest) -> bool:
    """Return whether the person of a request may see what runs were given and returned."""
    return request.user.has_perm(PAYLOAD)


def caller_of(request: HttpRequest) -> Caller:
    """Return on whose behalf verbs are called: the history of a run names the user."""

    def authorize(verb: str, subject: object, by: str) -> None:
        if not may(request, verb):
            raise PermissionDenied(f"{by} has no permission for {verb}")

    return Caller(by=f"user:{request.user.get_username()}", via="admin", authorize=authorize)
