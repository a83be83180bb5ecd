"""What follows when a run has ended, written once.

A run that ends in its own worker frees its slot with its segment, as one that suspends does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from uuid import UUID

from trigger_celery.engine import notifications
from trigger_celery.engine.core import Engine
from trigger_celery.engine.queues import admission
from trigger_celery.engine.runs import children
from trigger_celery.errors import RunCanceled
from trigger_celery.values.failures import describe, to_text
from trigger_celery.vocabulary.records import Nudge, Run
from trigger_celery.vocabulary.states import RunState

logger = logging.getLogger("trigger_celery.run")

BATCH = 500
"""So many children of a run are started, and canceled, in one transaction."""


def of_end_here(
    engine: Engine,
    run: Run,
    state: RunState,
    *,
    call_hooks: Callable[[], None],
    is_new: bool = True,
    error: str = "",
) -> None:
    """Do what a worker has to before the end of its run is published.

    Send its signal if the end ``is_new``, cancel the children of a canceled run, wake the parent
    of any, call the hooks. All but the signal is safe to repeat, so that a worker may die in
    between: the one that claims the end to publish it begins again.
    """
    if is_new:
        notifications.ended(engine, run, state, error=error)
    if state is RunState.CANCELED:
        while close(engine, run.id):
            pass
    if run.spec.parent_id is not None and run.spec.parent_key:
        children.wake_parent(engine, run.spec.parent_id, run.spec.parent_key)
    call_hooks()


def of_end(engine: Engine, nudges: Sequence[Nudge], *, admit: bool = True) -> None:
    """Send the signals of runs that no worker ended, pass their slots on, let them be published.

    The sweep admits by itself, after all that ends (``admit=False``).
    """
    if not nudges:
        return
    engine.dispatcher.nudge(nudges)
    notifications.ended_elsewhere(engine, nudges)
    if admit:  # most runs that end together are of one task
        admission.freed(engine, nudges[0].run_id)


def close(engine: Engine, parent_id: UUID, *, key: str | None = None) -> int:
    """Cancel some children that close with their parent; return how many, 0 if none is left."""
    error = to_text(
        describe(RunCanceled(f"run {parent_id}, which had started it, has let go of it"))
    )
    nudges = engine.patient.children.close(parent_id, error, limit=BATCH, key=key)
    of_end(engine, nudges)
    return len(nudges)


def close_soon(engine: Engine, parent_id: UUID) -> None:
    """Cancel the first children of a canceled run at once; its publisher does the rest."""
    try:
        close(engine, parent_id)
    except Exception:  # the run is canceled already, and the worker that publishes that tries again
        logger.exception("run %s: its children could not be canceled yet", parent_id)
