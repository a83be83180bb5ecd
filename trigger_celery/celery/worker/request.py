"""The worker's main process when something happens to a child that executes a run.

Celery would publish FAILURE and fire errbacks at once, while the run is going to recover.
Instead the run is handed to the pool, to be taken from its dead worker. The main process
itself opens no database connection: prefork forks from it at any time.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery.utils.saferepr import saferepr
from celery.worker.request import Request
from celery.worker.state import revoked, task_ready
from kombu.utils.json import dumps

from trigger_celery.celery.worker.own_tasks import cancel_runs, consumed_queue, recover_run

logger = logging.getLogger("trigger_celery.worker")

REVOKED_HEADER = "trigger_revoked"
"""Set on a request whose id was revoked: the pool cancels its run."""
_NO_INPUT = (None, "", "()", "[]", "{}")
_LOST = (WorkerLostError, TimeLimitExceeded, SystemExit, KeyboardInterrupt)


def _as_json(value: object, text: str) -> object:
    try:
        dumps(value)
    except Exception:
        return text
    return value


class DurableRequest(Request):
    """A request for a durable task: a lost worker is no failure of the run."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Only this process may set it: a message that brings it along cancels nothing.
        self.request_dict.pop(REVOKED_HEADER, None)

    def revoked(self) -> bool:
        """Let a revoked run through to the pool, which cancels it and publishes its end.

        Celery would drop the message, and a chord that waits for the run would hang.
        """
        if self.id in revoked:
            self.request_dict[REVOKED_HEADER] = True
            return False
        return bool(super().revoked())

    def info(self, safe: bool = False) -> Any:
        """Say what ``inspect active`` shows: of the input the texts of the message, if it has any.

        A nudge has no arguments, and of prefork's pool no child says which run it has claimed.
        """
        mine: Any = self
        shown: Any = super().info(safe)
        for name, text in (("args", mine._argsrepr), ("kwargs", mine._kwargsrepr)):
            if not shown[name] and text not in _NO_INPUT:
                shown[name] = text
        return shown

    def show_input(self, args: Sequence[Any], kwargs: Mapping[str, Any], claimed: Any) -> None:
        """Let ``inspect active`` show the run's input, or the texts that its caller chose for it.

        What JSON cannot say of it is a text.
        """
        shown: Any = self
        shown._argsrepr = claimed.argsrepr or saferepr(tuple(args))
        shown._kwargsrepr = claimed.kwargsrepr or saferepr(dict(kwargs))
        shown._args = shown._argsrepr if claimed.argsrepr else _as_json(list(args), shown._argsrepr)
        shown._kwargs = (
            shown._kwargsrepr if claimed.kwargsrepr else _as_json(dict(kwargs), shown._kwargsrepr)
        )

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Cancel the run after its child was terminated."""
        super().terminate(pool, signal)
        self._send(cancel_runs, ([self.id], "terminated"))

    def on_failure(
        self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False
    ) -> Any:
        """Recover the run if its worker died; anything else is Celery's."""
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, _LOST) and not isinstance(error, Terminated):
            return self._recover(type(error).__name__)
        return super().on_failure(exc_info, send_failed_event, return_ok)

    def on_timeout(self, soft: bool, timeout: float) -> Any:
        """Recover the run after a hard time limit; a soft one raises in the body as usual."""
        if soft:
            return super().on_timeout(soft, timeout)
        return self._recover(f"hard time limit of {timeout} s")

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = False) -> None:
        """Recover the run when a cold shutdown ends its child."""
        super().cancel(pool, signal)
        self._recover("cold shutdown")

    def _announce_cancelled(self, emit_retry: bool = False) -> None:
        """Say nothing of a retry: Celery 5.5 always would, later ones if asked."""
        task_ready(self)
        self.send_event("task-cancelled")
        self._already_cancelled = True

    def _recover(self, reason: str) -> None:
        task_ready(self)
        if not self.acknowledged:
            self.acknowledge()
        pid = getattr(self, "worker_pid", None)
        if pid is None or getattr(self, "_trigger_recovered", False):
            return
        self._trigger_recovered = True
        logger.warning("run %s lost its worker (%s): it will be recovered", self.id, reason)
        self._send(recover_run, (self.id, f"{socket.gethostname()}:{pid}"))

    def _send(self, task: Any, args: tuple[Any, ...]) -> None:
        try:
            task.apply_async(args, queue=consumed_queue(task.app), retry=False)
        except Exception as error:  # the run's lease expires anyway
            logger.warning("%s of run %s was not published: %s", task.name, self.id, error)
