"""``gather`` and ``wait_any``: steps and waits beside each other, in one body."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Literal, TypeAlias, TypeVar, overload

from trigger_celery.body.both_styles import DurableList, DurableTuple
from trigger_celery.body.context import Session
from trigger_celery.body.steps import primitive, source_line
from trigger_celery.body.waits import session_for
from trigger_celery.errors import UsageError

MAX_PARALLEL = 8

T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
Plain: TypeAlias = Callable[[], T]
"""A branch that is a function."""
Starts: TypeAlias = Callable[[], Coroutine[Any, Any, T]]
"""A branch that is a function and returns what is to be awaited."""

# The overloads give each branch its own type, as those of ``asyncio.gather`` do: a few as a tuple,
# and lists of one type. They are of three kinds, which do not mix; a mixture is of Any.


@overload
def gather(  # type: ignore[overload-overlap]
    a: Awaitable[T1], b: Awaitable[T2], /, *, max_parallel: int = MAX_PARALLEL
) -> DurableTuple[T1, T2]: ...


@overload
def gather(  # type: ignore[overload-overlap]
    a: Starts[T1], b: Starts[T2], /, *, max_parallel: int = MAX_PARALLEL
) -> DurableTuple[T1, T2]: ...


@overload
def gather(  # type: ignore[overload-overlap]
    a: Plain[T1], b: Plain[T2], /, *, max_parallel: int = MAX_PARALLEL
) -> DurableTuple[T1, T2]: ...


@overload
def gather(  # type: ignore[overload-overlap]
    a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], /, *, max_parallel: int = MAX_PARALLEL
) -> DurableTuple[T1, T2, T3]: ...


@overload
def gather(  # type: ignore[overload-overlap]
    a: Starts[T1], b: Starts[T2], c: Starts[T3], /, *, max_parallel: int = MAX_PARALLEL
) -> DurableTuple[T1, T2, T3]: ...


@overload
def gather(  # type: ignore[overload-overlap]
    a: Plain[T1], b: Plain[T2], c: Plain[T3], /, *, max_parallel: int = MAX_PARALLEL
) -> DurableTuple[T1, T2, T3]: ...


@overload
def gather(  # type: ignore[overload-overlap]
    a: Awaitable[T1],
    b: Awaitable[T2],
    c: Awaitable[T3],
    d: Awaitable[T4],
    /,
    *,
    max_parallel: int = MAX_PARALLEL,
) -> DurableTuple[T1, T2, T3, T4]: ...


@overload
def gather(  # type: ignore[overload-overlap]
    a: Starts[T1],
    b: Starts[T2],
    c: Starts[T3],
    d: Starts[T4],
    /,
    *,
    max_parallel: int = MAX_PARALLEL,
) -> DurableTuple[T1, T2, T3, T4]: ...


@overload
def gather(  # type: ignore[overload-overlap]
    a: Plain[T1], b: Plain[T2], c: Plain[T3], d: Plain[T4], /, *, max_parallel: int = MAX_PARALLEL
) -> DurableTuple[T1, T2, T3, T4]: ...


@overload
def gather(
    *branches: Awaitable[T],
    return_exceptions: Literal[False] = False,
    max_parallel: int = MAX_PARALLEL,
) -> DurableList[T]: ...


@overload
def gather(
    *branches: Starts[T],
    return_exceptions: Literal[False] = False,
    max_parallel: int = MAX_PARALLEL,
) -> DurableList[T]: ...


@overload
def gather(
    *branches: Plain[T], return_exceptions: Literal[False] = False, max_parallel: int = MAX_PARALLEL
) -> DurableList[T]: ...


@overload
def gather(
    *branches: Awaitable[T], return_exceptions: bool, max_parallel: int = MAX_PARALLEL
) -> DurableList[T | Exception]: ...


@overload
def gather(
    *branches: Starts[T], return_exceptions: bool, max_parallel: int = MAX_PARALLEL
) -> DurableList[T | Exception]: ...


@overload
def gather(
    *branches: Plain[T], return_exceptions: bool, max_parallel: int = MAX_PARALLEL
) -> DurableList[T | Exception]: ...


@overload
def gather(
    *branches: Awaitable[object] | Plain[object],
    return_exceptions: bool = False,
    max_parallel: int = MAX_PARALLEL,
) -> DurableList[Any]: ...


@primitive
def gather(
    *branches: Any, return_exceptions: bool = False, max_parallel: int = MAX_PARALLEL
) -> Any:
    """Carry on several branches at once and return what they returned, in order.

    In a ``def`` body a branch is a function without arguments (a ``lambda``, a
    ``functools.partial``) and runs in a thread, at most ``max_parallel`` at a time. In an
    ``async def`` body it may also be an awaitable: ``await gather(charge(1), sleep(5))``.
    Branch *n* has the key prefix ``branch-n/``. The run is suspended when all branches have
    ended or wait.

    A branch that fails lets the others finish what they are doing; then its error is raised,
    the first one in the order of the branches. With ``return_exceptions`` errors are results.

    Raises :exc:`NotInRun`, :exc:`NestedStep` inside a step, :exc:`UsageError`.
    """
    session = _checked("gather()", branches, max_parallel)
    return session.gather(
        branches, return_exceptions=bool(return_exceptions), max_parallel=max_parallel
    )


@overload
def wait_any(
    a: Awaitable[T1],
    b: Awaitable[T2],
    /,
    *,
    key: str | None = None,
    max_parallel: int = MAX_PARALLEL,
) -> DurableTuple[int, T1 | T2]: ...


@overload
def wait_any(
    a: Starts[T1], b: Starts[T2], /, *, key: str | None = None, max_parallel: int = MAX_PARALLEL
) -> DurableTuple[int, T1 | T2]: ...


@overload
def wait_any(
    a: Plain[T1], b: Plain[T2], /, *, key: str | None = None, max_parallel: int = MAX_PARALLEL
) -> DurableTuple[int, T1 | T2]: ...


@overload
def wait_any(
    a: Awaitable[T1],
    b: Awaitable[T2],
    c: Awaitable[T3],
    /,
    *,
    key: str | None = None,
    max_parallel: int = MAX_PARALLEL,
) -> DurableTuple[int, T1 | T2 | T3]: ...


@overload
def wait_any(
    a: Starts[T1],
    b: Starts[T2],
    c: Starts[T3],
    /,
    *,
    key: str | None = None,
    max_parallel: int = MAX_PARALLEL,
) -> DurableTuple[int, T1 | T2 | T3]: ...


@overload
def wait_any(
    a: Plain[T1],
    b: Plain[T2],
    c: Plain[T3],
    /,
    *,
    key: str | None = None,
    max_parallel: int = MAX_PARALLEL,
) -> DurableTuple[int, T1 | T2 | T3]: ...


@overload
def wait_any(
    *branches: Awaitable[T], key: str | None = None, max_parallel: int = MAX_PARALLEL
) -> DurableTuple[int, T]: ...


@overload
def wait_any(
    *branches: Starts[T], key: str | None = None, max_parallel: int = MAX_PARALLEL
) -> DurableTuple[int, T]: ...


@overload
def wait_any(
    *branches: Plain[T], key: str | None = None, max_parallel: int = MAX_PARALLEL
) -> DurableTuple[int, T]: ...


@overload
def wait_any(
    *branches: Awaitable[object] | Plain[object],
    key: str | None = None,
    max_parallel: int = MAX_PARALLEL,
) -> DurableTuple[int, Any]: ...


@primitive
def wait_any(*branches: Any, key: str | None = None, max_parallel: int = MAX_PARALLEL) -> Any:
    """Carry on several branches and return ``(index, value)`` of the first that is over.

    Branches are those of :func:`gather`. The winner is recorded: every replay returns it.
    Of several that are over at the same time it is the first in order. The open waits of
    the others are canceled, so that they take no event, and runs that they wait for are let
    go of. A failure is raised if no branch has succeeded by then.

    Raises :exc:`NotInRun`, :exc:`NestedStep` inside a step, :exc:`UsageError`.
    """
    session = _checked("wait_any()", branches, max_parallel)
    if not branches:
        raise UsageError("expected wait_any() to be given a branch, got: none")
    return session.wait_any(
        branches, key=key, max_parallel=max_parallel, source=source_line(sys._getframe(1))
    )


def _checked(what: str, branches: tuple[Any, ...], max_parallel: int) -> Session:
    session = session_for(what)
    if type(max_parallel) is not int or max_parallel < 1:
        raise UsageError(
            f"expected max_parallel of {what} to be a number of threads, got: {max_parallel!r}"
        )
    for number, branch in enumerate(branches, 1):
        if session.is_async:
            if not (callable(branch) or inspect.isawaitable(branch)):
                raise UsageError(
                    f"expected branch {number} of {what} to be an awaitable, or a function "
                    f"without arguments, got: {branch!r}"
                )
        elif not callable(branch) or inspect.iscoroutinefunction(branch):
            raise UsageError(
                f"expected branch {number} of {what} in a plain def task to be a plain function "
                f"without arguments (lambda: charge(1), not charge(1)), got: {branch!r}"
            )
    return session
