"""What a run is, as an icon and a word: a colour never says anything alone."""

from __future__ import annotations

from dataclasses import dataclass

from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

from trigger_celery.vocabulary.states import RunState

GLYPHS = {
    "run": '<path d="M4.5 3.2v9.6L12.2 8z" {s}/>',
    "worker": (
        '<rect x="2.75" y="3.5" width="10.5" height="9" rx="1.5" {s}/>'
        '<path d="M5.4 6.4L7 8l-1.6 1.6M8.6 9.8h2.2" {s}/>'
    ),
    "step": '<circle cx="8" cy="8" r="2.5" fill="currentColor"/>',
    "waiting": (
        '<path d="M4.5 2.5h7M4.5 13.5h7M5.25 2.5v2.2c0 1.5 2.75 2.3 2.75 3.3s-2.75 1.8-2.75 3.3v2.2'
        'M10.75 2.5v2.2c0 1.5-2.75 2.3-2.75 3.3s2.75 1.8 2.75 3.3v2.2" {s}/>'
    ),
    "backoff": '<path d="M13 8a5 5 0 1 1-1.6-3.7M13 2.6v2.6h-2.6" {s}/>',
    "crash": '<path d="M8.8 1.8L4 9h3.4l-.6 5.2L12 7H8.4l.4-5.2z" {s}/>',
    "checkpoint": '<path d="M8 2.6L13.4 8 8 13.4 2.6 8z" {s}/>',
    "queued": '<circle cx="8" cy="8" r="5.75" {s} stroke-dasharray="2.4 2.1"/>',
    "paused": '<path d="M5.75 4v8M10.25 4v8" {s}/>',
    "more": '<path d="M3.5 8h.01M8 8h.01M12.5 8h.01" {s}/>',
    "down": '<path d="M4 6l4 4 4-4" {s}/>',
}
"""The few icons that rows of a trace use: they stand in the page, once, under short names."""

_STROKE = (
    'fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" '
    'stroke-linejoin="round"'
)


def glyphs() -> SafeString:
    """Return the definitions that :func:`trigger_celery_django.drawing.rows.rows` refers to."""
    return SafeString(
        "".join(
            f'<symbol id="i-{name}" viewBox="0 0 16 16">{path.format(s=_STROKE)}</symbol>'
            for name, path in GLYPHS.items()
        )
    )


@dataclass(frozen=True, slots=True)
class Badge:
    """How a state is shown: its word, icon and tone, and what it means."""

    word: str
    icon: str
    tone: str
    meaning: str


BADGES = {
    "queued": Badge("Queued", "queued", "mute", "In line; a worker takes it when there is room."),
    "delayed": Badge("Delayed", "delayed", "mute", "Starts at a time that has not come."),
    "executing": Badge("Running", "running", "info", "A worker executes it now."),
    "suspended": Badge(
        "Waiting", "waiting", "warn", "Holds nothing; an event, token, time or run wakes it."
    ),
    "paused": Badge("Paused", "paused", "mute", "A person paused it."),
    "completed": Badge("Completed", "completed", "ok", "Ended with a result."),
    "failed": Badge("Failed", "failed", "bad", "Ended with an error after its last attempt."),
    "timed_out": Badge("Timed out", "timed_out", "bad", "Took longer than it may."),
    "canceled": Badge("Canceled", "canceled", "mute", "Stopped by a person or by its parent."),
    "expired": Badge("Expired", "expired", "mute", "Not started in time."),
}
"""A badge a state of a run, and those that are made of more than its state."""


def shown_state(state: RunState, *, is_paused: bool, is_delayed: bool) -> str:
    """Return which of :data:`BADGES` a run gets."""
    if is_paused and not state.terminal:
        return "paused"
    return "delayed" if is_delayed and state is RunState.QUEUED else str(state)


def icon(name: str, tone: str = "") -> SafeString:
    """Return an icon of the sprite."""
    return format_html(
        '<svg class="i {}" width="16" height="16" aria-hidden="true"><use href="{}#{}"/></svg>',
        tone,
        static("trigger_celery/icons.svg"),
        name,
    )


def badge(state: str, word: str = "") -> SafeString:
    """Return a state as icon and word, with its meaning on hover."""
    shown = BADGES[state]
    return format_html(
        '<span class="badge {}" title="{}">{}{}</span>',
        shown.tone,
        shown.meaning,
        icon(shown.icon, shown.tone),
        word or shown.word,
    )
