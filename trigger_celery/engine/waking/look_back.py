"""Looks whether what a suspended run waits for has happened already, once after each suspension.

The process that ends a wait commits first and then looks for it; the run commits its wait first and
then looks, here. So one of the two sees the other. The sweep looks in the place of a worker
that dies in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs import children
from trigger_celery.engine.waking.matching import first_match
from trigger_celery.engine.waking.tokens import look_at_token
from trigger_celery.vocabulary.records import Candidate, Lease, Nudge, StepKind

LOOKS: dict[StepKind, Callable[[Engine, Candidate], Sequence[Nudge]]] = {
    StepKind.EVENT: first_match,
    StepKind.TOKEN: look_at_token,
    StepKind.CHILDREN: children.look,
}
"""How to look, by the kind of the wait: ends the wait if it is over and returns the nudge."""


def look_back(engine: Engine, lease: Lease) -> bool:
    """Look for what the open waits of a suspended run wait for.

    Returns whether one of them ended and queued the run.
    """
    waits = engine.patient.waits
    nudges: list[Nudge] = []
    for wait in waits.open(lease.run_id):
        nudges += LOOKS[wait.kind](engine, wait)
    if nudges:
        engine.dispatcher.nudge(nudges)
    else:
        waits.looked(lease.run_id, fence=lease.fence)
    return bool(nudges)
