"""The runs in the admin: a list, a page for each with its trace, and what can be done with one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import router
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
)
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST

from trigger_celery.client import copies, runs
from trigger_celery.client.access import REASON_LENGTH, acting
from trigger_celery.errors import RunNotFound, TriggerError
from trigger_celery_django.admin import run_list, run_page
from trigger_celery_django.admin.callers import caller_of, may, sees_payloads
from trigger_celery_django.admin.frame import frame
from trigger_celery_django.models import Run
from trigger_celery_django.printable import visible
from trigger_celery_django.trace import as_data, trace_of

if TYPE_CHECKING:
    ReadOnlyAdmin = admin.ModelAdmin[Run]
else:  # Django's class takes no parameter at run time
    ReadOnlyAdmin = admin.ModelAdmin

_REFUSALS = 5
"""So many refusals are said in words; the rest as a number."""
_SEVERAL = {
    "retry_run": "Retry from checkpoint",
    "pause_run": "Pause",
    "resume_run": "Resume",
    "cancel_run": "Cancel…",
}
"""What can be done with several runs of the list at once."""
_DONE = {
    "cancel_run": "The run is canceled; a body that executes stops at its next boundary.",
    "retry_run": "The run is queued again and goes on from its checkpoints.",
    "pause_run": "The run is paused.",
    "resume_run": "The run goes on.",
    "rerun": "This is a new run with the same input.",
}


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    """Runs, newest first. The pages call the verbs of the Python API, and save nothing."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Runs are triggered, not added."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Run | None = None) -> bool:
        """Nothing is changed here."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Run | None = None) -> bool:
        """Nothing is deleted here."""
        return False

    def get_urls(self) -> list[URLPattern]:
        """Add the pages of one run that Django's admin does not have."""
        pages: list[tuple[str, str, Callable[..., HttpResponse]]] = [
            ("act/", "act", require_POST(self.act_view)),
            ("cancel/", "cancel", self.cancel_view),
            ("version/", "version", self.version_view),
            ("trace.json", "json", self.json_view),
        ]
        own = [
            path(
                f"<uuid:run_id>/{route}",
                self.admin_site.admin_view(view),
                name=f"trigger_celery_run_{name}",
            )
            for route, name, view in pages
        ]
        several = path(
            "act/",
            self.admin_site.admin_view(require_POST(self.several_view)),
            name="trigger_celery_run_several",
        )
        return [several, *own, *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show a page of the list: ``q`` is the search, ``status`` a state, ``after`` where."""
        self._must_view(request)
        given = request.GET.dict()
        with acting(caller_of(request)):
            found = run_list.found(given, with_payloads=sees_payloads(request))
        if len(found.matches) == 1:
            return HttpResponseRedirect(self._url("change", found.matches[0]))
        chips, age = run_list.chips(given.get("status", ""), found.now)
        older = request.GET.copy()
        older["after"] = found.next or ""
        context = frame(
            request,
            self.admin_site,
            "Runs",
            found=found,
            chips=chips,
            age=age,
            q=given.get("q", ""),
            status=given.get("status", ""),
            older=older.urlencode() if found.next else "",
            is_first="after" not in given,
            with_payloads=sees_payloads(request),
            with_queue=any(run.queue for run in found.runs),
            verbs=[(verb, word) for verb, word in _SEVERAL.items() if may(request, verb)],
        )
        return TemplateResponse(request, "trigger_celery/runs.html", context)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show the page of a run."""
        self._must_view(request)
        run_id = _run_id(object_id)
        try:
            with acting(caller_of(request)):
                shown = run_page.run_page(
                    run_id, request.GET.dict(), with_payloads=sees_payloads(request)
                )
        except RunNotFound:
            shown = None
        if shown is None:
            return self._gone(request, object_id)
        actions = [each for each in run_page.actions_of(shown["run"]) if may(request, each.verb)]
        context = frame(
            request,
            self.admin_site,
            shown["name"],
            crumbs=self._crumbs(),
            actions=actions,
            **shown,
        )
        return TemplateResponse(request, "trigger_celery/run.html", context)

    def act_view(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """Carry out a verb on a run; the history and the admin's log name the person and why."""
        verb, reason = request.POST.get("verb", ""), request.POST.get("reason", "").strip()
        if verb not in _DONE or not may(request, verb):
            raise PermissionDenied
        try:
            with acting(caller_of(request)):
                target = _act(verb, run_id, reason)
        except RunNotFound:
            return self._gone(request, str(run_id))
        except TriggerError as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(self._url("change", run_id))
        self.log_change(request, Run(pk=run_id), f"{verb}: {reason}" if reason else verb)
        messages.success(request, _DONE[verb])
        return HttpResponseRedirect(self._url("change", target))

    def several_view(self, request: HttpRequest) -> HttpResponse:
        """Carry out a verb on the chosen runs of a page; canceling asks first."""
        verb, reason = request.POST.get("verb", ""), request.POST.get("reason", "").strip()
        if verb not in _SEVERAL or not may(request, verb):
            raise PermissionDenied
        chosen = [_run_id(each) for each in request.POST.getlist("run")[: run_list.PAGE]]
        if not chosen:
            messages.warning(request, "No run was chosen.")
        elif verb == "cancel_run" and "sure" not in request.POST:
            return self._ask_to_cancel(request, chosen)
        else:
            self._act_on(request, verb, chosen, reason)
        return HttpResponseRedirect(self._url("changelist"))

    def _act_on(self, request: HttpRequest, verb: str, chosen: list[UUID], reason: str) -> None:
        """Act on each run by itself: one that refuses keeps no other from it."""
        done, refused = 0, []
        with acting(caller_of(request)):
            for run_id in chosen:
                try:
                    _act(verb, run_id, reason)
                except TriggerError as error:
                    refused.append(str(error))
                else:
                    done += 1
                    self.log_change(request, Run(pk=run_id), f"{verb}: {reason}")
        words = _SEVERAL[verb].rstrip("…").lower()
        if done:
            messages.success(request, f"{words}: {done} run{'' if done == 1 else 's'}")
        for text in refused[:_REFUSALS]:
            messages.warning(request, text)
        if len(refused) > _REFUSALS:
            messages.warning(request, f"and {len(refused) - _REFUSALS} more were refused")

    def _ask_to_cancel(self, request: HttpRequest, chosen: list[UUID]) -> HttpResponse:
        context = frame(
            request,
            self.admin_site,
            f"Cancel {len(chosen)} run{'' if len(chosen) == 1 else 's'}",
            crumbs=self._crumbs(),
            chosen=[str(run_id) for run_id in chosen],
            action=self._url("several"),
            back=self._url("changelist"),
            reason_length=REASON_LENGTH,
        )
        return TemplateResponse(request, "trigger_celery/cancel.html", context)

    def cancel_view(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """Ask whether a run is to be canceled, and why."""
        if not may(request, "cancel_run"):
            raise PermissionDenied
        try:
            with acting(caller_of(request)):
                run = runs.stored_run(run_id)
        except (RunNotFound, PermissionDenied):
            return self._gone(request, str(run_id))
        context = frame(
            request,
            self.admin_site,
            f"Cancel {visible(run.spec.task)}",
            crumbs=self._crumbs(),
            chosen=[] if run.state.terminal else [str(run_id)],
            action=self._url("act", run_id),
            back=self._url("change", run_id),
            reason_length=REASON_LENGTH,
        )
        return TemplateResponse(request, "trigger_celery/cancel.html", context)

    def version_view(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """Say whether a page is out of date: 204 while ``v`` is the run's version still."""
        self._must_view(request)
        version = run_page.current_version(run_id)
        if version is None:
            raise Http404
        if version == request.GET.get("v"):
            return HttpResponse(status=204)
        return JsonResponse({"version": version})

    def json_view(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """Return the trace as data."""
        self._must_view(request)
        with acting(caller_of(request)):
            try:
                runs.stored_run(run_id)
            except RunNotFound:
                raise Http404 from None
        trace = trace_of(run_id, using=router.db_for_read(Run))
        if trace is None:
            raise Http404
        return JsonResponse(as_data(trace if sees_payloads(request) else trace.without_values()))

    def _must_view(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _crumbs(self) -> list[tuple[str, str]]:
        return [("Runs", self._url("changelist"))]

    def _url(self, name: str, *args: object) -> str:
        return reverse(f"{self.admin_site.name}:trigger_celery_run_{name}", args=args)

    def _gone(self, request: HttpRequest, run_id: str) -> HttpResponse:
        messages.warning(request, f"There is no run {run_id[:60]} (any more).")
        return HttpResponseRedirect(self._url("changelist"))


def _run_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Http404 from None


def _act(verb: str, run_id: UUID, reason: str) -> UUID:
    """Call a verb on a run, and return the run to look at afterwards."""
    if verb == "rerun":
        return copies.rerun(run_id, reason=reason)
    verbs: dict[str, Callable[..., object]] = {
        "cancel_run": runs.cancel_run,
        "retry_run": runs.retry_run,
        "pause_run": runs.pause_run,
        "resume_run": runs.resume_run,
    }
    verbs[verb](run_id, reason=reason)
    return run_id
