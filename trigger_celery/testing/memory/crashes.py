"""What the in-memory store does to a run whose worker died."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from trigger_celery.errors import RunCrashed
from trigger_celery.testing.memory.tables import Core
from trigger_celery.values.failures import describe, to_text
from trigger_celery.vocabulary.records import Nudge, Run
from trigger_celery.vocabulary.states import RunState


def crash(core: Core, run: Run) -> Nudge:
    """Queue the run with one more crash, later each time, or fail it as crashed."""
    worker, crashes = run.worker, run.crashes + 1
    run = replace(run, crashes=crashes, worker="")
    if crashes < run.spec.max_crashes:
        delay = timedelta(0) if crashes == 1 else timedelta(seconds=2**crashes)
        return core.queue(run, "recover", delay=delay, worker=worker, crashes=crashes)
    failure = describe(RunCrashed(f"its worker died {crashes} times while it executed the run"))
    failed = replace(run, state=RunState.FAILED, error=to_text(failure), due_at=core.now())
    return core.finish(
        failed, "fail", fingerprint=failure.fingerprint, worker=worker, crashes=crashes
    )
