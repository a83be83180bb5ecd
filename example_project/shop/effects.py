"""The effect log: a file outside of the database that says what happened, and how often.

A database forgets what was rolled back; this file does not, so it can prove that a step
ran once. Real steps need no such thing.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from django.conf import settings

from trigger_celery import current_run
from trigger_celery.errors import NotInRun

BEGUN, DONE, FAILED = "begun", "done", "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One line of the log: ``what`` is begun, done or failed; ``at`` is Unix time."""

    run: str
    step: str
    what: str
    pid: int
    at: float


def path() -> Path:
    """Return the file of the log."""
    return Path(settings.SHOP_HOME) / "effects.jsonl"


@contextmanager
def effect(step: str) -> Iterator[None]:
    """Log that the body of a step begins, and how it ends."""
    _append(step, BEGUN)
    try:
        yield
    except Exception:
        _append(step, FAILED)
        raise
    _append(step, DONE)


def read(skip: int = 0) -> list[Effect]:
    """Return the effects so far, but for the first ``skip``."""
    if not path().exists():
        return []
    lines = path().read_text(encoding="utf-8").splitlines()
    return [Effect(**json.loads(line)) for line in lines[skip:]]


def _append(step: str, what: str) -> None:
    entry = Effect(run=_run(), step=step, what=what, pid=os.getpid(), at=time.time())
    line = json.dumps(asdict(entry)) + "\n"
    # One write to a file opened so is one piece, whichever process writes or dies meanwhile.
    log = os.open(path(), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(log, line.encode())
    finally:
        os.close(log)


def _run() -> str:
    try:
        return str(current_run().id)
    except NotInRun:
        return ""
