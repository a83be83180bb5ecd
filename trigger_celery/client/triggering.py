"""``trigger``, ``options`` and ``batch_trigger``: code that starts runs and says how."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic, ParamSpec, TypeAlias, TypeVar, Unpack

from trigger_celery.body.children import ONE, Together
from trigger_celery.body.steps import primitive
from trigger_celery.body.waits import MISSING
from trigger_celery.client import starting
from trigger_celery.client.child_runs import run_together
from trigger_celery.client.handles import RunHandle
from trigger_celery.client.installed import installed_engine
from trigger_celery.declare.definition import TaskDefinition
from trigger_celery.declare.option_values import OptionValues
from trigger_celery.declare.options import NO_OPTIONS, Scope, TriggerOptions
from trigger_celery.engine.runs import idempotency
from trigger_celery.engine.runs.trigger import Request
from trigger_celery.errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One run of a batch; made by ``task.call(...)``."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    options: TriggerOptions = NO_OPTIONS


Item: TypeAlias = "Call | Sequence[Any]"
"""What a batch takes: a :class:`Call`, or the positional arguments as a tuple or list."""


class ConfiguredTask(Generic[P, R]):
    """A durable task with what its next runs are started with; made by ``task.options(...)``."""

    def __init__(self, definition: TaskDefinition, options: TriggerOptions) -> None:
        self.definition = definition
        self.trigger_options = options

    def options(self, **options: Unpack[OptionValues]) -> ConfiguredTask[P, R]:
        """Return the task with further options, which win; tags are added up."""
        return ConfiguredTask(
            self.definition, TriggerOptions.of(options).over(self.trigger_options)
        )

    @primitive
    def trigger(self, *args: P.args, **kwargs: P.kwargs) -> RunHandle[R]:
        """Create a run in the caller's transaction and return its handle.

        In a task's body the call is a step: a replay starts nothing again. In an
        ``async def`` body it is awaited.

        Raises ``TypeError`` for arguments the task does not take, the codec's errors and
        ``InvalidOption`` before anything is written, and ``IdempotencyConflict``.
        """
        handle: RunHandle[R] = self._start(args, kwargs, sys._getframe(1))
        return handle

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call:
        """Return one item for :meth:`batch_trigger`, with these options."""
        return Call(args=args, kwargs=kwargs, options=self.trigger_options)

    @primitive
    def batch_trigger(self, items: Iterable[Item]) -> Any:
        """Create a run for each item, all of them or none, and return their handles in order.

        An item is what ``task.call(...)`` returns, or a tuple or list of the positional
        arguments. Many runs take few statements. In a task's body the call is one step.

        Raises what :meth:`trigger` raises, before any run is created.
        """
        return self._batch(items, sys._getframe(1))

    @primitive
    def trigger_and_wait(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Create a run and wait for it, in a task's body; return what it returned.

        Nothing is held meanwhile. In an ``async def`` body the call is awaited. Canceling this
        run cancels the other too, unless its options say ``parent_close="abandon"``.

        Raises :exc:`ChildRunFailed` if it did not succeed, what :meth:`trigger` raises,
        :exc:`NotInRun` outside of a body and :exc:`NestedStep` inside a step.
        """
        return self._together([Call(args=args, kwargs=kwargs)], ONE, sys._getframe(1))

    @primitive
    def batch_trigger_and_wait(
        self,
        items: Iterable[Item],
        *,
        return_exceptions: bool = False,
        timeout: timedelta | float | None = None,
        default: Any = MISSING,
        key: str | None = None,
    ) -> Any:
        """Create a run for each item and wait for all; return their results in order.

        Items are as for :meth:`batch_trigger`. The first failure is raised once all have
        ended, or with ``return_exceptions=True`` each is returned in its place. After
        ``timeout`` (``timedelta`` or seconds) the runs that are left are canceled, unless they
        are abandoned, and ``default`` is returned if one is given, else :exc:`WaitTimeout`
        raised. Otherwise as :meth:`trigger_and_wait`.
        """
        how = Together(
            return_exceptions=return_exceptions, timeout=timeout, default=default, key=key
        )
        return self._together(items, how, sys._getframe(1))

    def requests(self, items: Iterable[Item]) -> list[Request]:
        """Return the items as what the engine takes. Raises :exc:`UsageError` for others."""
        return [self._request(item) for item in items]

    def _start(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], frame: Any) -> Any:
        call = Call(args=args, kwargs=kwargs)
        return starting.start_one(installed_engine(), self._request(call), frame=frame)

    def _batch(self, items: Iterable[Item], frame: Any) -> Any:
        requests, name = self.requests(items), self.definition.name
        return starting.start_batch(installed_engine(), requests, name, frame=frame)

    def _together(self, items: Iterable[Item], how: Together, frame: Any) -> Any:
        engine, name = installed_engine(), self.definition.name
        return run_together(engine, name, self.requests(items), how, frame=frame)

    def _request(self, item: Item) -> Request:
        if isinstance(item, (list, tuple)):
            item = Call(args=tuple(item))
        if not isinstance(item, Call):
            raise UsageError(
                f"expected an item of a batch of task {self.definition.name!r} to be a tuple "
                f"of arguments or what task.call(...) returns, got: {item!r}"
            )
        return Request(
            definition=self.definition,
            args=item.args,
            kwargs=item.kwargs,
            options=item.options.over(self.trigger_options),
        )


class Triggering(Generic[P, R]):
    """The part of a durable task that starts runs with options."""

    durable: TaskDefinition

    def options(self, **options: Unpack[OptionValues]) -> ConfiguredTask[P, R]:
        """Return the task with what its runs are started with; see :class:`TriggerOptions`.

        Raises :exc:`UnknownOption`, :exc:`InvalidOption`, :exc:`InvalidTime`,
        :exc:`InvalidName` at once.
        """
        return ConfiguredTask(self.durable, TriggerOptions.of(options))

    @primitive
    def trigger(self, *args: P.args, **kwargs: P.kwargs) -> RunHandle[R]:
        """Create a run in the caller's transaction; see :meth:`ConfiguredTask.trigger`."""
        plain: ConfiguredTask[P, R] = ConfiguredTask(self.durable, NO_OPTIONS)
        handle: RunHandle[R] = plain._start(args, kwargs, sys._getframe(1))
        return handle

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call:
        """Return one item for :meth:`batch_trigger`."""
        return Call(args=args, kwargs=kwargs)

    @primitive
    def batch_trigger(self, items: Iterable[Item]) -> Any:
        """Create many runs at once; see :meth:`ConfiguredTask.batch_trigger`."""
        plain: ConfiguredTask[P, R] = ConfiguredTask(self.durable, NO_OPTIONS)
        return plain._batch(items, sys._getframe(1))

    @primitive
    def trigger_and_wait(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Create a run and wait for it; see :meth:`ConfiguredTask.trigger_and_wait`."""
        plain: ConfiguredTask[P, R] = ConfiguredTask(self.durable, NO_OPTIONS)
        return plain._together([Call(args=args, kwargs=kwargs)], ONE, sys._getframe(1))

    @primitive
    def batch_trigger_and_wait(
        self,
        items: Iterable[Item],
        *,
        return_exceptions: bool = False,
        timeout: timedelta | float | None = None,
        default: Any = MISSING,
        key: str | None = None,
    ) -> Any:
        """Create runs and wait for all; see :meth:`ConfiguredTask.batch_trigger_and_wait`."""
        plain: ConfiguredTask[P, R] = ConfiguredTask(self.durable, NO_OPTIONS)
        how = Together(
            return_exceptions=return_exceptions, timeout=timeout, default=default, key=key
        )
        return plain._together(items, how, sys._getframe(1))


@primitive
def trigger(
    task: str, /, *args: Any, options: TriggerOptions = NO_OPTIONS, **kwargs: Any
) -> RunHandle[Any]:
    """Create a run of the task of this name; else as ``task.options(...).trigger(...)``.

    A process that does not know the name imports what its Celery app autodiscovers, once.
    Raises :exc:`UnknownTask` with the closest name and what to do.
    """
    definition = starting.find_task(installed_engine(), task)
    configured: ConfiguredTask[..., Any] = ConfiguredTask(definition, options)
    handle: RunHandle[Any] = configured._start(args, kwargs, sys._getframe(1))
    return handle


def reset_idempotency_key(
    task: str | Triggering[..., Any],
    key: str | Sequence[str],
    *,
    scope: Scope | None = None,
) -> bool:
    """Free an idempotency key in the caller's transaction; False if nobody held it.

    The next trigger with it starts a run; the one that held it goes on. ``scope`` as for a
    trigger. Raises :exc:`InvalidOption`.
    """
    name = task if isinstance(task, str) else task.durable.name
    return idempotency.reset(installed_engine(), name, key, scope)
