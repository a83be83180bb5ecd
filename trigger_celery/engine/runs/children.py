"""What the end of a run means to its parent and to its children.

The last of the children that a run waits for wakes it. All of them commit their ends first
and then look whether a sibling has still to end, so that the last one to commit sees that
none has; none of the others touches the parent. The parent commits its wait first and then
looks too. All this belongs to the publishing of an ended run: whoever repeats that repeats
this, so that a worker may die in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs.consequences import close
from trigger_celery.vocabulary import step_keys
from trigger_celery.vocabulary.records import Candidate, Nudge, Run, StepKind
from trigger_celery.vocabulary.states import RunState, WaitState


def ended(engine: Engine, run: Run, state: RunState) -> None:
    """Do what follows from the end of ``run`` as ``state``; safe to repeat.

    Has to be done before the end is noted as published.
    """
    if state is RunState.CANCELED:
        while close(engine, run.id):
            pass
    if run.spec.parent_id is not None and run.spec.parent_key:
        _tell_parent(engine, run.spec.parent_id, run.spec.parent_key)


def look(engine: Engine, wait: Candidate) -> Sequence[Nudge]:
    """End the wait if none of its children has still to end; return the nudge."""
    if engine.patient.children.live(wait.run_id, step_keys.awaited_fan_out(wait.key)):
        return ()
    return engine.patient.waits.conclude([wait.wait_id], WaitState.COMPLETED)


def _tell_parent(engine: Engine, parent_id: UUID, key: str) -> None:
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
