"""``@step``: a function whose outcome is recorded when a durable task calls it."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, Self, TypeVar, cast, overload

from trigger_celery.backoff import RetryPolicy
from trigger_celery.body.awaitables import holds_durable_call
from trigger_celery.body.both_styles import Durable
from trigger_celery.body.context import StepCall, current_session, step_key
from trigger_celery.body.threads import check_thread
from trigger_celery.errors import DeclarationError, InvalidTime, NestedStep
from trigger_celery.vocabulary import step_keys
from trigger_celery.vocabulary.checks import duration, valid_name
from trigger_celery.vocabulary.records import StepKind

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
Owner = TypeVar("Owner")
Value = TypeVar("Value", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOptions:
    """What a step was declared with; see :func:`step`."""

    name: str
    key: str | Callable[..., str] | None = None
    retry: RetryPolicy | None = None
    atomic: bool = False
    timeout: timedelta | None = None
    is_async: bool


def is_durable(fn: object) -> bool:
    """Whether calling ``fn`` is a durable call by itself (a step or one of our primitives)."""
    return getattr(fn, "__durable__", False) is True


def primitive(fn: Callable[P, R]) -> Callable[P, R]:
    """Mark a function of ours so that an automatic checkpoint does not wrap it once more."""
    fn.__durable__ = True  # type: ignore[attr-defined]  # functions take attributes
    return fn


class Step(Protocol[P, Value]):
    """A declared step: it is called as its function is, and ``plain`` is that function.

    A plain ``def`` with ``atomic=True`` gives a :class:`Durable`, which an ``async def`` body
    awaits; any other one what its function returns.
    """

    @property
    def plain(self) -> Callable[P, Value]: ...

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Value: ...

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Self: ...

    @overload
    def __get__(
        self: Step[Concatenate[Owner, Q], Value], instance: Owner, owner: type[Any]
    ) -> Callable[Q, Value]: ...


class Declares(Protocol):
    """What ``@step(...)`` is: it makes a step of a function."""

    def __call__(self, fn: Callable[P, R], /) -> Step[P, R]: ...


class DeclaresAtomic(Protocol):
    """What ``@step(atomic=True)`` is."""

    def __call__(self, fn: Callable[P, R], /) -> Step[P, Durable[R]]: ...


class StepDecorator:
    """The object behind ``step``: a decorator, with and without options, and :meth:`run`."""

    @overload
    def __call__(self, fn: Callable[P, R], /) -> Step[P, R]: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]  # False is also a bool
        self,
        /,
        *,
        name: str | None = None,
        key: str | Callable[..., str] | None = None,
        retry: RetryPolicy | None = None,
        atomic: Literal[False] = False,
        timeout: timedelta | float | None = None,
    ) -> Declares: ...

    @overload
    def __call__(
        self,
        /,
        *,
        name: str | None = None,
        key: str | Callable[..., str] | None = None,
        retry: RetryPolicy | None = None,
        atomic: bool,
        timeout: timedelta | float | None = None,
    ) -> DeclaresAtomic: ...

    def __call__(
        self,
        fn: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        key: str | Callable[..., str] | None = None,
        retry: RetryPolicy | None = None,
        atomic: bool = False,
        timeout: timedelta | float | None = None,
    ) -> Any:
        """Declare a step.

        In a run each call is checkpointed: its body runs until it once succeeded, and every
        replay gets the stored value. Outside of a run it is a plain function.

        ``name`` (default: the function's) and the occurrence in the run make its key;
        ``key`` (text, or a function of the step's arguments) overrides both and must be
        unique in the run. ``retry`` says how often it is tried in the life of the run, whatever
        the run's policy; by default that one decides. ``atomic=True`` commits the body's ORM
        writes and the checkpoint in one transaction; such a step is a plain ``def``.
        ``timeout`` (``timedelta`` or seconds) is for each attempt: one that takes longer gets
        :exc:`StepTimeout` in its body and has failed.

        Raises :exc:`DeclarationError` for what cannot be a step.
        """

        def declare(fn: Callable[P, R]) -> Callable[P, R]:
            options = StepOptions(
                name=getattr(fn, "__name__", "") if name is None else name,
                key=key,
                retry=retry,
                atomic=atomic,
                timeout=_timeout(timeout),
                is_async=inspect.iscoroutinefunction(fn),
            )
            _check(fn, options)
            return _wrap(fn, options)

        return declare if fn is None else declare(fn)

    @overload
    def run(  # type: ignore[overload-overlap]  # a coroutine is also any value
        self,
        name: str,
        fn: Callable[P, Coroutine[Any, Any, R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Coroutine[Any, Any, R]: ...

    @overload
    def run(
        self, name: str, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Durable[R]: ...

    @primitive
    def run(self, name: str, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call ``fn`` as a step called ``name``, without declaring it as one.

        In an ``async def`` body the result is awaited: ``await step.run("fetch", fetch, 1)``.
        """
        options = StepOptions(name=name, is_async=inspect.iscoroutinefunction(fn))
        _check(fn, options)
        return _call(fn, options, args, kwargs, sys._getframe(1))


step = StepDecorator()


def _wrap(fn: Callable[P, R], options: StepOptions) -> Callable[P, R]:
    @functools.wraps(fn)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return cast(R, _call(fn, options, args, kwargs, sys._getframe(1)))

    call.plain = fn  # type: ignore[attr-defined]  # the undecorated function, for a step's body
    call.step_options = options  # type: ignore[attr-defined]
    return primitive(call)


def _call(
    fn: Callable[..., object],
    options: StepOptions,
    args: tuple[object, ...],
    kwargs: dict[str, object],
    frame: Any,
) -> object:
    session = current_session()
    if session is None:
        check_thread(options.name)
        return fn(*args, **kwargs)
    if step_key.get() is not None:
        raise NestedStep(
            f"step {options.name!r} was called inside step {step_key.get()!r}: "
            "only the outer one would be recorded. Call it from the task's body, or call "
            f"{options.name}.plain(...) to run it as a part of the outer step."
        )
    key = options.key(*args, **kwargs) if callable(options.key) else options.key
    return session.step(
        StepCall(
            name=options.name,
            kind=StepKind.STEP,
            fn=fn,
            args=args,
            kwargs=kwargs,
            key=key,
            retry=options.retry,
            atomic=options.atomic,
            timeout=options.timeout,
            is_async=options.is_async,
            source=source_line(frame),
        )
    )


async def checkpoint(
    label: str,
    fn: Callable[..., Any],
    /,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Await ``fn(*args, **kwargs)`` as a step: what ``await`` means in a durable async body.

    Calls that are durable already, or that combine such calls (``asyncio.gather`` of
    steps), are awaited as they are.
    """
    session = current_session()
    if (
        session is None
        or session.in_step
        or is_durable(fn)
        or holds_durable_call(args)
        or holds_durable_call(kwargs.values())
    ):
        return await fn(*args, **kwargs)
    return await session.step(
        StepCall(
            name=label,
            kind=StepKind.STEP,
            fn=fn,
            args=args,
            kwargs=kwargs,
            is_async=True,
            source=source_line(sys._getframe(1)),
        )
    )


def source_line(frame: Any) -> str:
    """Return ``file.py:line`` of a frame; the folder is left out on purpose.

    An async body calls through a function of this module, which is not where the author wrote it.
    """
    while frame.f_code.co_filename == __file__ and frame.f_back is not None:
        frame = frame.f_back
    return f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"


def _timeout(value: timedelta | float | None) -> timedelta | None:
    if value is None:
        return None
    try:
        length = duration(value, "timeout of a step")
    except InvalidTime as error:
        raise DeclarationError(str(error)) from error
    if not length:
        raise DeclarationError(f"expected timeout of a step to be more than zero, got: {value!r}")
    return length


def _check(fn: Callable[Concatenate[Any, ...], Any] | Callable[..., Any], o: StepOptions) -> None:
    if not callable(fn):
        raise DeclarationError(f"expected @step to decorate a function, got: {fn!r}")
    valid_name(o.name, "a step's name")
    step_keys.check_unreserved(o.name, "a step's name")
    if not isinstance(o.retry, RetryPolicy | None):
        raise DeclarationError(
            f"expected retry of step {o.name!r} to be a RetryPolicy, got: {o.retry!r}"
        )
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise DeclarationError(
            f"step {o.name!r} is a generator: return a list instead, a generator cannot be stored"
        )
    if o.atomic and o.is_async:
        raise DeclarationError(
            f"step {o.name!r} is atomic and async: Django has no async transactions. "
            "Make it a plain def; an async body may await it."
        )
