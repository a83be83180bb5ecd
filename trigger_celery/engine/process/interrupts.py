"""Which exceptions that are no ``Exception`` end the process; all others are failures."""

from __future__ import annotations

import asyncio
import signal

from trigger_celery.errors import RunError, StepFailed, Unwinding

_BY_SIGNAL = range(-255, signal.NSIG - 256)
"""The codes with which a pool's child exits for a signal, as at ``revoke(terminate=True)``."""


class ProcessEnd(BaseException):
    """Stands for the sudden end of a process, where a test simulates one."""


def is_failure(error: BaseException) -> bool:
    """Whether it is a failure of the code that raised it.

    It is not, if it leaves the body for us or ends the process: then the run goes on elsewhere. A
    worker that is ended raises ``KeyboardInterrupt``, a kind of ``SystemExit``, or one with
    the code of a signal; any other is a ``sys.exit()`` of user code.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(is_failure(each) for each in error.exceptions)
    if isinstance(error, SystemExit):
        return type(error) is SystemExit and error.code not in _BY_SIGNAL
    return not isinstance(error, Unwinding | KeyboardInterrupt | ProcessEnd)


def is_awaited_failure(error: BaseException) -> bool:
    """Whether an exception that came out of an ``await`` is a failure of what was awaited.

    It is not, if the awaiting coroutine itself is canceled or closed.
    """
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError):
        return task is not None and not task.cancelling()
    return not isinstance(error, GeneratorExit) and is_failure(error)


def of_body(error: BaseException) -> Exception:
    """Return the failure of a body, or of a branch, that ``error`` ended."""
    if isinstance(error, Exception):
        return error
    text = "ended as canceled, by something that it awaited"
    if not isinstance(error, asyncio.CancelledError):
        text = f"raised {error!r}, which is no Exception: here it is a failure like any other"
    failure = RunError(f"the body {text}")
    failure.__cause__ = error
    return failure


def of_step(error: BaseException) -> Exception:
    """Return the failure of a step that ``error`` ended: one that a body can catch as any other."""
    if isinstance(error, Exception):
        return error
    failure = StepFailed(type(error).__qualname__, str(error))
    failure.__cause__ = error
    return failure
