"""Wakes a run that waits for its children, by the last of them that ends.

All of them commit their ends first and then look whether a sibling has still to end, so that the
last one to commit sees that none has; none of the others touches the parent. The parent commits
its wait first and then looks too.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from trigger_celery.engine.core import Engine
from trigger_celery.vocabulary import step_keys
from trigger_celery.vocabulary.records import Candidate, Nudge, StepKind
from trigger_celery.vocabulary.states import WaitState


def look(engine: Engine, wait: Candidate) -> Sequence[Nudge]:
    """End the wait if none of its children has still to end; return the nudge."""
    if engine.patient.children.live(wait.run_id, step_keys.awaited_fan_out(wait.key)):
        return ()
    return engine.patient.waits.conclude([wait.wait_id], WaitState.COMPLETED)


def wake_parent(engine: Engine, parent_id: UUID, key: str) -> None:
    """End the parent's wait for the children of ``key`` unless one of them has still to end."""
    if engine.patient.children.live(parent_id, key):
        return
    waits = engine.patient.waits
    # A parent of many fan-outs has as many open waits, of which all are read only for the one
    # that waits for these children once more: its key is not known here.
    found = waits.open(parent_id, key=key)
    found = found or waits.open(parent_id)
    over = [
        wait.wait_id
        for wait in found
        if wait.kind is StepKind.CHILDREN and step_keys.awaited_fan_out(wait.key) == key
    ]
    if over:
        engine.dispatcher.nudge(waits.conclude(over, WaitState.COMPLETED))
