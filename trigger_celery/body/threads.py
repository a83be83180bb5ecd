"""Which threads a body may make durable calls in: its own, and those that ``gather`` starts."""

from __future__ import annotations

from threading import current_thread, get_ident, main_thread

from trigger_celery.body.context import Session, entered
from trigger_celery.errors import ForeignThread

_executing: dict[Session, int] = {}
"""The sessions whose bodies this process executes now, with the thread of the pool for each."""

CURE = (
    "Replays could not find what is recorded there, with copy_context() neither: call it in the "
    "body, or in a branch of gather(lambda: ..., max_parallel=8), which starts threads too"
)


class executing:  # reads as a statement: with executing(session)
    """Make ``session`` the current one while the calling thread executes its body."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._entered = entered(session)

    def __enter__(self) -> None:
        _executing[self._session] = get_ident()
        self._entered.__enter__()

    def __exit__(self, *exc: object) -> None:
        self._entered.__exit__(*exc)
        del _executing[self._session]


def check_thread(step: str) -> None:
    """Raise :exc:`ForeignThread` for a step in a thread that a body seems to have started.

    A new thread has no trace of what started it, and no current run. While this process
    executes a body it is taken for that body's. The main thread, those that execute bodies, and
    those that may work for a plain Celery task go free.
    """
    if not _executing or get_ident() in _executing.values():
        return
    sessions = list(_executing)
    if not sessions or current_thread() is main_thread() or sessions[0].is_shared_process():
        return
    error = ForeignThread(
        f"step {step!r} was called in a thread that belongs to no run, while this process executes "
        f"the body of task {sessions[0].describe().task!r}. {CURE}. To run it without a record, "
        f"call {step}.plain(...)"
    )
    if len(sessions) == 1:  # else it is not known which body it was
        sessions[0].misused(error)
    raise error
