"""The records that the tests of the store's contract write."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from trigger_celery.vocabulary.identity import new_id, new_token
from trigger_celery.vocabulary.records import Claim, Ending, NewRun, NewWait, StepKind, Suspend
from trigger_celery.vocabulary.states import RunState

LEASE = timedelta(seconds=60)
NUDGE_INTERVAL = timedelta(seconds=10)
LOOK_WITHIN = timedelta(seconds=60)
LONG = timedelta(days=1)
TASK = "contract-task"

AWKWARD = '{"text": "\\u0000\\ud800 \\\\ \U0001f600 \u00e9 e\u0301 %s ? \\n", "b":1, "a": 1.0}\t  '
"""Text that databases like to change: escapes, four-byte characters, order, trailing spaces."""


def new_run(
    *,
    input: str = "[]",  # noqa: A002  # the record's own name
    canvas: str = "",
    delay: timedelta = timedelta(0),
    max_crashes: int = 3,
) -> NewRun:
    """Return a run of the contract's task, not yet stored."""
    return NewRun(
        id=new_id(), task=TASK, input=input, canvas=canvas, delay=delay, max_crashes=max_crashes
    )


def asked(
    run_id: UUID,
    *,
    worker: str = "w1",
    task: str = TASK,
    version: str = "v1",
    length: timedelta = LEASE,
    token: str | None = None,
) -> Claim:
    """Return what a worker asks for."""
    return Claim(
        run_id=run_id,
        task=task,
        worker=worker,
        version=version,
        length=length,
        token=token or new_token(),
    )


def ending(
    state: RunState = RunState.COMPLETED,
    *,
    token: str | None = None,
    output: str | None = None,
    error: str | None = None,
    publish: bool = True,
    publish_within: timedelta = LEASE,
) -> Ending:
    """Return the end of a run."""
    return Ending(
        state=state,
        token=token or new_token(),
        output=output,
        error=error,
        fingerprint="f1",
        publish=publish,
        publish_within=publish_within,
    )


def sleeping(key: str = "sleep", delay: timedelta = LONG, position: int = 1) -> NewWait:
    """Return a wait that time alone ends."""
    return NewWait(key=key, kind=StepKind.SLEEP, position=position, delay=delay)


def event_wait(
    key: str = "approval",
    name: str = "approved",
    *,
    delay: timedelta | None = None,
    match_hash: int = 7,
    paths: str = '["id"]',
    position: int = 1,
) -> NewWait:
    """Return a wait that an event ends."""
    return NewWait(
        key=key,
        kind=StepKind.EVENT,
        position=position,
        delay=delay,
        name=name,
        filter=AWKWARD,
        paths=paths,
        match_hash=match_hash,
        source="shop.py:13",
    )


def suspension(*waits: NewWait, token: str | None = None, next_attempt: int = 1) -> Suspend:
    """Return the suspension on all of these waits."""
    return Suspend(
        waits=waits,
        keys=tuple(wait.key for wait in waits),
        next_attempt=next_attempt,
        token=token or new_token(),
    )
