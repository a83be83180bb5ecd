"""Starting runs: ``trigger``, ``options``, ``batch_trigger``, and waiting for what was started.

In plain code a run is created at once, in a task's body by a recorded step.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any, Generic, Literal, ParamSpec, TypeAlias, TypeVar, Unpack, cast, overload
from uuid import UUID, uuid5

from trigger_celery.body.both_styles import Durable, DurableList
from trigger_celery.body.children import ONE, Together, start_and_wait
from trigger_celery.body.context import StepCall, current_session
from trigger_celery.body.steps import primitive, source_line
from trigger_celery.body.waits import MISSING
from trigger_celery.client.access import check_permission, check_thread, installed_engine, permitted
from trigger_celery.client.async_calls import in_thread, twin
from trigger_celery.client.handles import RunHandle
from trigger_celery.config import closest
from trigger_celery.declare.definition import TaskDefinition
from trigger_celery.declare.options import NO_OPTIONS, KeyScope, OptionValues, TriggerOptions
from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs import idempotency
from trigger_celery.engine.runs.trigger import Request, Started, new_run, start
from trigger_celery.errors import ChildRunFailed, UnknownTask, UsageError, WaitCycle
from trigger_celery.vocabulary.checks import valid_source
from trigger_celery.vocabulary.records import FromPerson, NewRun, StepKind

P = ParamSpec("P")
R = TypeVar("R")
D = TypeVar("D")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One run of a batch; made by ``task.call(...)``."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    options: TriggerOptions = NO_OPTIONS


Item: TypeAlias = "Call | Sequence[Any]"
"""What a batch takes: a :class:`Call`, or the positional arguments as a tuple or list."""


class Starts(Generic[P, R]):
    """The verbs that start runs of a task, with options or without."""

    def _configured(self) -> ConfiguredTask[P, R]:
        raise NotImplementedError

    @primitive
    def trigger(self, *args: P.args, **kwargs: P.kwargs) -> RunHandle[R]:
        """Create a run in the caller's transaction and return its handle.

        In a task's body the call is a step: a replay starts nothing again. In an
        ``async def`` body it is awaited.

        Raises ``TypeError`` for arguments the task does not take, the codec's errors and
        ``InvalidOption`` before anything is written, and ``IdempotencyConflict``.
        """
        return self._configured().start(args, kwargs, sys._getframe(1))

    @primitive
    async def atrigger(self, *args: P.args, **kwargs: P.kwargs) -> RunHandle[R]:
        """Do what :meth:`trigger` does, in async code that is not a task's body."""
        return await in_thread(self.trigger, *args, **kwargs)

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call:
        """Return one item for :meth:`batch_trigger`, with the options of this task."""
        return Call(args=args, kwargs=kwargs, options=self._configured().trigger_options)

    @primitive
    def batch_trigger(self, items: Iterable[Item]) -> DurableList[RunHandle[R]]:
        """Create a run for each item, all of them or none, and return their handles in order.

        An item is what ``task.call(...)`` returns, or a tuple or list of the positional
        arguments. Many runs take few statements. In a task's body the call is one step.

        Raises what :meth:`trigger` raises, before any run is created.
        """
        return self._configured().start_batch(items, sys._getframe(1))

    @primitive
    async def abatch_trigger(self, items: Iterable[Item]) -> list[RunHandle[R]]:
        """Do what :meth:`batch_trigger` does, in async code that is not a task's body."""
        return await in_thread(self.batch_trigger, items)

    @primitive
    def trigger_and_wait(self, *args: P.args, **kwargs: P.kwargs) -> Durable[R]:
        """Create a run and wait for it, in a task's body; return what it returned.

        Nothing is held meanwhile. In an ``async def`` body the call is awaited. Canceling this
        run cancels the other too, unless its options say ``parent_close="abandon"``.

        Raises :exc:`ChildRunFailed` if it did not succeed, what :meth:`trigger` raises,
        :exc:`NotInRun` outside of a body and :exc:`NestedStep` inside a step.
        """
        call = Call(args=args, kwargs=kwargs)
        return self._configured().start_and_wait([call], ONE, sys._getframe(1))

    @overload
    def batch_trigger_and_wait(
        self,
        items: Iterable[Item],
        *,
        return_exceptions: Literal[False] = False,
        timeout: timedelta | float | None = None,
        key: str | None = None,
    ) -> DurableList[R]: ...

    @overload
    def batch_trigger_and_wait(
        self,
        items: Iterable[Item],
        *,
        return_exceptions: bool,
        timeout: timedelta | float | None = None,
        key: str | None = None,
    ) -> DurableList[R | ChildRunFailed]: ...

    @overload
    def batch_trigger_and_wait(
        self,
        items: Iterable[Item],
        *,
        return_exceptions: bool = False,
        timeout: timedelta | float | None = None,
        default: None,
        key: str | None = None,
    ) -> Any: ...

    @overload
    def batch_trigger_and_wait(
        self,
        items: Iterable[Item],
        *,
        return_exceptions: Literal[False] = False,
        timeout: timedelta | float | None = None,
        default: D,
        key: str | None = None,
    ) -> Durable[list[R] | D]: ...

    @overload
    def batch_trigger_and_wait(
        self,
        items: Iterable[Item],
        *,
        return_exceptions: bool,
        timeout: timedelta | float | None = None,
        default: D,
        key: str | None = None,
    ) -> Durable[list[R | ChildRunFailed] | D]: ...

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
        return self._configured().start_and_wait(items, how, sys._getframe(1))


class ConfiguredTask(Starts[P, R]):
    """A durable task with what its next runs are started with; made by ``task.options(...)``."""

    def __init__(self, definition: TaskDefinition, options: TriggerOptions) -> None:
        self.definition = definition
        self.trigger_options = options

    def _configured(self) -> ConfiguredTask[P, R]:
        return self

    def options(self, **options: Unpack[OptionValues]) -> ConfiguredTask[P, R]:
        """Return the task with further options, which win; tags are added up."""
        return ConfiguredTask(
            self.definition, TriggerOptions.of(options).over(self.trigger_options)
        )

    def requests(self, items: Iterable[Item]) -> list[Request]:
        """Return the items as what the engine takes. Raises :exc:`UsageError` for others."""
        return [self._request(item) for item in items]

    def start(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], frame: Any
    ) -> Durable[RunHandle[R]]:
        """Start one run; ``frame`` is the caller's, for the trace."""
        call = Call(args=args, kwargs=kwargs)
        return start_one(installed_engine(), self._request(call), frame=frame)

    def start_batch(self, items: Iterable[Item], frame: Any) -> Durable[list[RunHandle[R]]]:
        """Start a run for each item."""
        requests, name = self.requests(items), self.definition.name
        return start_batch(installed_engine(), requests, name, frame=frame)

    def start_and_wait(self, items: Iterable[Item], how: Together, frame: Any) -> Durable[Any]:
        """Start a run for each item and wait for them all."""
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


class Triggering(Starts[P, R]):
    """The part of a durable task that starts runs."""

    durable: TaskDefinition

    def options(self, **options: Unpack[OptionValues]) -> ConfiguredTask[P, R]:
        """Return the task with what its runs are started with; see :class:`TriggerOptions`.

        Raises :exc:`UnknownOption`, :exc:`InvalidOption`, :exc:`InvalidTime`,
        :exc:`InvalidName` at once.
        """
        return ConfiguredTask(self.durable, TriggerOptions.of(options))

    def _configured(self) -> ConfiguredTask[P, R]:
        return ConfiguredTask(self.durable, NO_OPTIONS)


@primitive
def trigger(
    task: str, /, *args: Any, options: TriggerOptions = NO_OPTIONS, **kwargs: Any
) -> RunHandle[Any]:
    """Create a run of the task of this name; else as ``task.options(...).trigger(...)``.

    A process that does not know the name imports what its Celery app autodiscovers, once.
    Raises :exc:`UnknownTask` with the closest name and what to do.
    """
    configured = task_named(task, options)
    return configured.start(args, kwargs, sys._getframe(1))


def task_named(name: str, options: TriggerOptions = NO_OPTIONS) -> ConfiguredTask[..., Any]:
    """Return the task of this name with what its runs are started with.

    Raises :exc:`UnknownTask`.
    """
    check_permission("trigger", name)
    return ConfiguredTask(find_task(installed_engine(), name), options)


def reset_idempotency_key(
    task: str | Triggering[..., Any],
    key: str | Sequence[str],
    *,
    scope: KeyScope | None = None,
    source: str = "",
) -> bool:
    """Free an idempotency key in the caller's transaction; False if no run held it.

    The next trigger with it starts a run; the one that held it goes on. ``scope`` as for a
    trigger; ``source`` says whose key it is, as ``"api:NAME"``. Raises :exc:`InvalidOption`,
    :exc:`InvalidName`.
    """
    name = task if isinstance(task, str) else task.durable.name
    engine = permitted("reset_idempotency_key", name).engine
    valid_source(source, "the source of an idempotency key")
    return idempotency.reset(engine, name, key, scope, source)


def start_one(engine: Engine, request: Request, *, frame: Any) -> Durable[RunHandle[Any]]:
    """Start a run and return its handle; in a body the awaitable or the value of a step."""

    def begin(id_of: Callable[[int], UUID | None]) -> RunHandle[Any]:
        return _start(engine, [request], id_of)[0]

    return _in_context(engine, [request], f"trigger {request.definition.name}", begin, frame)


def start_batch(
    engine: Engine, requests: Sequence[Request], name: str, *, frame: Any
) -> Durable[list[RunHandle[Any]]]:
    """Start runs, all of them or none, and return their handles; see :func:`start_one`."""

    def begin(id_of: Callable[[int], UUID | None]) -> list[RunHandle[Any]]:
        return _start(engine, requests, id_of)

    return _in_context(engine, requests, f"trigger {name}", begin, frame)


def find_task(engine: Engine, name: str) -> TaskDefinition:
    """Return the definition of a task by its name. Raises :exc:`UnknownTask`."""
    definition = engine.task(name)
    if definition is None:
        known = {task.name: None for task in engine.tasks}
        hint = closest(name, known) if known else "; none is declared"
        raise UnknownTask(
            f"no durable task of this process is called {name!r}{hint} (a task is known once "
            "its module was imported: import it, or let autodiscover_tasks() of your Celery app "
            "find it)"
        )
    return definition


def _start(
    engine: Engine, requests: Sequence[Request], id_of: Callable[[int], UUID | None]
) -> list[RunHandle[Any]]:
    named = [replace(each, id=each.id or id_of(n)) for n, each in enumerate(requests)]
    return [
        RunHandle(id=started.id, task=each.definition.name, created=started.created)
        for each, started in zip(named, create_runs(engine, named), strict=True)
    ]


def create_runs(
    engine: Engine, requests: Sequence[Request], verb: str = "trigger"
) -> list[Started]:
    """Create runs in the caller's transaction, all of them or none, if the caller may.

    A run that is started over HTTP or by the admin says so in its origin. Raises
    ``BlocksEventLoop`` with the twin of the task's ``verb``.
    """
    check_thread(engine, f"task.{verb}", f"task.a{verb}")
    for task in {request.definition.name for request in requests}:
        caller = check_permission("trigger", task)
        if caller.via:
            origin = FromPerson(kind=caller.via, by=caller.by)
            requests = [
                replace(each, origin=each.origin or origin, source=caller.source)
                for each in requests
            ]
    return start(engine, requests)


def _in_context(
    engine: Engine,
    requests: Sequence[Request],
    name: str,
    begin: Callable[[Callable[[int], UUID | None]], object],
    frame: Any,
) -> Durable[Any]:
    session = current_session()
    if session is None or session.in_step:
        return cast(Durable[Any], begin(lambda number: None))
    for request in requests:
        new_run(engine, request)  # a mistake of the body is no failure of a step

    def call() -> object:
        run = session.describe()
        # The same ids if the worker dies before this step is recorded.
        return begin(lambda number: uuid5(run.id, f"{run.idempotency_key}#{number}"))

    source = source_line(frame)
    return session.step(
        StepCall(name=name, kind=StepKind.TRIGGER, fn=call, kwargs={}, source=source)
    )


def run_together(
    engine: Engine, task: str, requests: Sequence[Request], how: Together, *, frame: Any
) -> Durable[Any]:
    """Start runs of ``task`` from a body and wait for them; return what they returned.

    Raises ``WaitCycle`` for a key, and what :func:`~trigger_celery.engine.runs.trigger.trigger`
    raises before any of them is started, and what
    :func:`~trigger_celery.body.children.start_and_wait` raises.
    """
    build = partial(_awaited_runs, engine, requests)
    return start_and_wait(task, build, len(requests), how, frame=frame)


def _awaited_runs(engine: Engine, requests: Sequence[Request]) -> list[NewRun]:
    return [_awaited_run(engine, request) for request in requests]


def _awaited_run(engine: Engine, request: Request) -> NewRun:
    options = request.options.over(request.definition.defaults)
    for name in ("idempotency_key", "debounce"):
        if getattr(options, name) is not None:
            raise WaitCycle(
                f"a run of task {request.definition.name!r} that is waited for takes no {name}: "
                "it is started once anyway, and the run that a key gives may be one that waits for "
                "this one"
            )
    closes = options.parent_close != "abandon"
    return replace(new_run(engine, request), closes_with_parent=closes)


atrigger = twin(trigger)
areset_idempotency_key = twin(reset_idempotency_key)
