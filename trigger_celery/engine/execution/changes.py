"""Finds what steps, and branches of ``wait_any``, change in place: a replay does not run them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import CoroutineType, FunctionType
from typing import Any

from trigger_celery.body.context import StepCall
from trigger_celery.engine.segment.segment import Segment
from trigger_celery.ports import Codec

_SHOWN: dict[Any, Any] = {}
"""Which warnings Python has shown: one for each step or branch, and argument."""


class Watch:
    """What stands in some variables before code that may change it; ``read`` reads them."""

    def __init__(self, codec: Codec, read: Callable[[], Mapping[str, object]]) -> None:
        self._codec = codec
        self._read = read
        self._before = self._written()

    def changed(self) -> list[str]:
        """Return the names of those that were changed since, in place or by ``nonlocal``."""
        after = self._written()
        return [name for name, text in self._before.items() if after.get(name, text) != text]

    def _written(self) -> dict[str, str]:
        found = {}
        for name, value in self._read().items():
            try:
                found[name] = self._codec.encode(value)
            except Exception:  # it cannot be stored, so it cannot be compared
                continue
        return found


def of_arguments(segment: Segment, call: StepCall) -> Watch | None:
    """Return what watches the arguments of a step, if it has any."""
    if not (call.args or call.kwargs):
        return None
    code = getattr(call.fn, "__code__", None)
    names = code.co_varnames[: code.co_argcount] if code is not None else ()
    given = {
        repr(names[number]) if number < len(names) else f"number {number + 1}": value
        for number, value in enumerate(call.args)
    }
    given |= {repr(name): value for name, value in call.kwargs.items()}
    return Watch(segment.engine.codec, lambda: given)


def warn_of_arguments(watch: Watch, segment: Segment, call: StepCall) -> None:
    """Warn of arguments that the step has changed."""
    for name in watch.changed():
        _warn(
            f"step {call.name!r} of task {segment.run.task!r} changed its argument {name} in "
            "place: a replay does not run the step, and the change is lost. Return what the body "
            "needs",
            call.fn,
        )


def of_branches(segment: Segment, branches: Sequence[Any]) -> Watch | None:
    """Return what watches the variables around branches, if that was asked for."""
    if not segment.watches:
        return None
    read = dict(pair for branch in branches for pair in _around(branch))
    return Watch(segment.engine.codec, lambda: {name: value() for name, value in read.items()})


def warn_of_branches(watch: Watch, segment: Segment) -> None:
    """Warn of variables that branches of ``wait_any`` have changed."""
    for name in watch.changed():
        _warn(
            f"a branch of wait_any() in task {segment.run.task!r} changed the variable {name} "
            "around it: a replay does not run the branches, and the change is lost. Return from "
            "the branch what the body needs"
        )


def _around(branch: Any) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the variables that a branch has from outside, by name, and how to read them."""
    if isinstance(branch, partial):
        yield from _around(branch.func)
        for number, value in enumerate(branch.args, 1):
            yield f"number {number}", partial(_same, value)
    elif isinstance(branch, FunctionType):
        cells = zip(branch.__code__.co_freevars, branch.__closure__ or (), strict=True)
        for name, cell in cells:
            yield repr(name), partial(getattr, cell, "cell_contents", None)
    elif isinstance(branch, CoroutineType) and branch.cr_frame is not None:
        for name, value in branch.cr_frame.f_locals.items():
            yield repr(name), partial(_same, value)


def _same(value: object) -> object:
    return value


def _warn(text: str, fn: Any = None) -> None:
    code = getattr(fn, "__code__", None)
    file, line = (code.co_filename, code.co_firstlineno) if code is not None else (__name__, 1)
    warnings.warn_explicit(text, RuntimeWarning, file, line, registry=_SHOWN)
