"""What a run has done so far, in order: for the shop's pages and the demo's timelines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from trigger_celery import RunState
from trigger_celery.values.failures import from_text
from trigger_celery.vocabulary.records import StepKind
from trigger_celery_django.models import Checkpoint, FailedAttempt, History, Run, Wait

GOOD, BAD, CALM = "good", "bad", "calm"
ENDS = frozenset({"complete", "fail", "cancel", "time out", "expire"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One thing that happened ``after`` the run was created; a step has a ``name``."""

    after: timedelta
    text: str
    name: str = ""
    mood: str = CALM


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A run and all its moments."""

    id: UUID
    task: str
    state: RunState
    lasted: timedelta | None
    moments: tuple[Moment, ...]

    @property
    def finished(self) -> bool:
        """Whether there is nothing to come."""
        return self.state.terminal


def story_of(run_id: UUID) -> Story | None:
    """Return the story of a run, or None if there is no such run."""
    run = Run.objects.filter(pk=run_id).first()
    if run is None:
        return None
    return Story(
        id=run.pk,
        task=run.task,
        state=RunState(run.state),
        lasted=run.finished_at and run.finished_at - run.created_at,
        moments=tuple(_Timeline(run).moments()),
    )


class _Timeline:
    """Puts the records of one run into order: its history, with the steps of each segment."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._history = list(run.history.order_by("sequence"))
        self._checkpoints = list(run.checkpoints.order_by("id"))
        self._failures = list(run.failed_attempts.exclude(key="").order_by("id"))
        self._waits = list(run.waits.order_by("id"))
        self._last = self._latest = run.created_at

    def moments(self) -> Iterator[Moment]:
        for entry in self._history:
            moment = self._transition(entry)
            if moment is not None:
                yield moment
            self._last = max(self._last, entry.at)
            if entry.verb == "claim" and entry.state == RunState.EXECUTING:
                yield from self._steps(entry.fence)

    def _transition(self, entry: History) -> Moment | None:
        match entry.verb:
            case "trigger":
                return self._moment(entry.at, "queued")
            case "claim":
                return self._moment(entry.at, self._taken(entry))
            case "suspend":
                return self._moment(entry.at, f"suspended: {self._waiting(entry)}")
            case "wake":
                return self._moment(entry.at, "woken")
            case "recover":
                return self._moment(entry.at, self._crash(entry), mood=BAD)
            case "publish":
                return None
            case verb if verb in ENDS:
                mood = GOOD if verb == "complete" else BAD
                return self._moment(entry.at, str(entry.state).replace("_", " "), mood=mood)
            case verb:
                return self._moment(entry.at, verb)

    def _steps(self, fence: int) -> Iterator[Moment]:
        """Tell what the body did while its worker held the run under this fence."""
        done: list[Checkpoint | FailedAttempt] = [
            *(item for item in self._checkpoints if item.fence == fence),
            *(item for item in self._failures if item.fence == fence),
        ]
        for item in sorted(done, key=lambda item: item.started_at):
            self._last = max(self._last, item.ended_at)
            if isinstance(item, Checkpoint):
                attempt = f", attempt {item.attempt}" if item.attempt > 1 else ""
                text = f"{_seconds(item.ended_at - item.started_at)}{attempt}"
                yield self._moment(item.started_at, text, name=item.key, mood=GOOD)
            else:
                failure = from_text(item.error)
                text = f"attempt {item.number} failed: {failure.kind}: {failure.message}"
                yield self._moment(item.started_at, text, name=item.key, mood=BAD)

    def _taken(self, entry: History) -> str:
        known = sum(item.fence < entry.fence for item in self._checkpoints)
        recalled = f"; {known} finished step{'s' * (known > 1)} recalled" if known else ""
        return f"taken by worker {entry.worker}{recalled}"

    def _waiting(self, entry: History) -> str:
        open_then = (
            wait
            for wait in self._waits
            if wait.created_at <= entry.at
            and (wait.resolved_at is None or wait.resolved_at >= entry.at)
        )
        return ", ".join(_what_for(wait) for wait in open_then) or "waits"

    def _crash(self, entry: History) -> str:
        worker = json.loads(entry.data).get("worker", "")
        gap = _seconds(entry.at - self._last)
        return f"worker {worker} died: nothing recorded for {gap}, then queued again"

    def _moment(self, at: datetime, text: str, *, name: str = "", mood: str = CALM) -> Moment:
        # A worker's own times may be some milliseconds off the database's; order is certain.
        self._latest = max(self._latest, at)
        return Moment(after=self._latest - self._run.created_at, text=text, name=name, mood=mood)


def _what_for(wait: Wait) -> str:
    length = f" up to {_seconds(wait.due_at - wait.created_at)}" if wait.due_at else ""
    if wait.kind == StepKind.RETRY:
        return f"next attempt of {wait.key.rpartition('/')[2]} after{length.removeprefix(' up to')}"
    if wait.kind == StepKind.EVENT:
        wanted = ", ".join(f"{path}={value}" for path, value in json.loads(wait.filter).items())
        return f"waits{length} for {wait.name} {wanted}"
    return f"{wait.kind}{length}"


def _seconds(length: timedelta) -> str:
    if length >= timedelta(days=2):
        return f"{length / timedelta(days=1):.0f} days"
    return f"{max(0.0, length.total_seconds()):.2f} s"
