"""What a run waits for, in words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from trigger_celery.values.filters import SOURCE
from trigger_celery.vocabulary import step_keys
from trigger_celery.vocabulary.records import StepKind
from trigger_celery_django.models import Wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaited:
    """``verb`` and ``what`` make a phrase, ``wanted`` are the paths and values of a filter."""

    verb: str
    what: str
    wanted: tuple[tuple[str, str], ...] = ()
    until: datetime | None = None


def what_is_awaited(wait: Wait) -> Awaited:
    """Return what one wait is for."""
    match wait.kind:
        case StepKind.EVENT:
            return Awaited(
                verb="for", what=wait.name, wanted=_wanted(wait.filter), until=wait.due_at
            )
        case StepKind.TOKEN:
            return Awaited(verb="for token", what=wait.key, until=wait.due_at)
        case StepKind.CHILDREN:
            key = step_keys.awaited_fan_out(wait.key)
            return Awaited(verb="for runs of", what=key, until=wait.due_at)
        case StepKind.RETRY:
            step = step_keys.retried_step(wait.key)
            return Awaited(verb="to retry", what=step or "the run", until=wait.due_at)
    return Awaited(verb="sleeps in", what=wait.key, until=wait.due_at)


def _wanted(stored: str) -> tuple[tuple[str, str], ...]:
    """Return what a stored filter asks for; its scalars are text that the codec wrote."""
    try:
        value = json.loads(stored or "{}")
    except ValueError:
        return (("filter", stored[:200]),)
    return tuple(_paths(value, "")) if isinstance(value, dict) else ()


def _paths(value: dict[str, object], before: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, each in value.items():
        path = "source" if name == SOURCE else f"{before}{name}"
        if isinstance(each, dict) and each:
            found += _paths(each, f"{path}.")
        else:
            found.append((path, _operand(each)))
    return found


def _operand(stored: object) -> str:
    if isinstance(stored, str):
        return stored
    if isinstance(stored, list) and all(isinstance(each, str) for each in stored):
        return ", ".join(stored)
    return json.dumps(stored, ensure_ascii=False)
