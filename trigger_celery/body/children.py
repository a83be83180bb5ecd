"""What a body says of runs that it starts and waits for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from trigger_celery.body.both_styles import Durable
from trigger_celery.body.context import FanOut
from trigger_celery.body.steps import source_line
from trigger_celery.body.waits import MISSING, session_for
from trigger_celery.errors import ChildRunFailed, WaitTimeout
from trigger_celery.vocabulary.checks import duration
from trigger_celery.vocabulary.records import NewRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """How a body waits for its runs; ``timeout`` and ``default`` as for ``wait_for_event``.

    ``single`` says that it is one run, whose result is returned as it is.
    """

    single: bool = False
    return_exceptions: bool = False
    timeout: timedelta | float | None = None
    default: Any = MISSING
    key: str | None = None


ONE = Together(single=True)
"""One run, without a timeout."""


def start_and_wait(
    task: str, build: Callable[[], Sequence[NewRun]], size: int, how: Together, *, frame: Any
) -> Durable[Any]:
    """Suspend the run until ``size`` new runs of ``task`` have ended; return their results.

    ``frame`` is the caller's, for the trace. Raises :exc:`NotInRun`, :exc:`NestedStep` inside
    a step, :exc:`InvalidTime`; then :exc:`ChildRunFailed` or :exc:`WaitTimeout`.
    """
    session = session_for("trigger_and_wait()" if how.single else "batch_trigger_and_wait()")
    timeout = None if how.timeout is None else duration(how.timeout, "the timeout of a wait")
    return session.fan_out(
        FanOut(
            name=task,
            size=size,
            build=build,
            conclude=partial(_concluded, task, how),
            timeout=timeout,
            key=how.key,
            source=source_line(frame),
        )
    )


def _concluded(task: str, how: Together, results: Sequence[object] | None) -> object:
    if results is None:
        if how.default is not MISSING:
            return how.default
        raise WaitTimeout(f"the runs of task {task!r} did not end within {how.timeout}")
    if not how.return_exceptions:
        for result in results:
            if isinstance(result, ChildRunFailed):
                raise result
    return results[0] if how.single else list(results)
