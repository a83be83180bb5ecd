"""Which helpers make durable calls, and which are plain: the names in their code say it."""

from __future__ import annotations

import dis
from collections.abc import Collection, Iterable, Iterator, Mapping
from inspect import getattr_static, iscoroutinefunction
from types import CodeType, CoroutineType, FunctionType
from typing import Any

from trigger_celery.values.fingerprints import is_own_file

GLOBALS = ("LOAD_GLOBAL", "LOAD_NAME")
ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR")


def names_durable_call(coroutine: CoroutineType[Any, Any, Any]) -> bool:
    """Whether the code of a coroutine names a durable call; one that has ended is not looked into.

    Functions of the author's that it names are looked into, and what its arguments and closure
    hold. A durable call that it reaches in another way, as from a table, is not seen.
    """
    frame = coroutine.cr_frame
    if frame is None:
        return True
    held = frame.f_locals.values()
    return _names_durable(coroutine.cr_code, frame.f_globals, held, set())


def is_plain_helper(function: object) -> bool:
    """Whether it is a coroutine function of the author's that is no durable call and names none."""
    return (
        isinstance(function, FunctionType)
        and iscoroutinefunction(function)
        and is_own_file(function.__code__.co_filename)
        and not _is_durable(function)
        and not _reaches(function, set())
    )


def _names_durable(
    code: CodeType, variables: Mapping[str, object], held: Iterable[object], seen: set[CodeType]
) -> bool:
    if code in seen:
        return False
    seen.add(code)
    names, attributes = set(_operands(code, GLOBALS)), set(_operands(code, ATTRIBUTES))
    known = [*_members(held), *(variables[name] for name in names if name in variables)]
    for value in known:
        if _is_durable(value) or _reaches(value, seen):
            return True
        for name in attributes:
            attribute = getattr_static(value, name, None)
            if _is_durable(attribute) or _reaches(attribute, seen):
                return True
    return False


def _operands(code: CodeType, operations: Collection[str]) -> Iterator[str]:
    """Yield the names that these operations of the code, and of functions in it, are about."""
    for each in dis.get_instructions(code):
        if each.opname in operations:
            yield each.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _operands(constant, operations)


def _members(held: Iterable[object]) -> Iterator[object]:
    for value in held:
        yield value
        if issubclass(type(value), list | tuple):
            yield from value  # type: ignore[misc]  # it is one of these


def _is_durable(value: object) -> bool:
    # Not getattr(): it may load a lazy object.
    return getattr_static(_function(value), "__durable__", False) is True


def _reaches(value: object, seen: set[CodeType]) -> bool:
    function = _function(value)
    if not isinstance(function, FunctionType) or not is_own_file(function.__code__.co_filename):
        return False
    cells = []
    for cell in function.__closure__ or ():
        try:
            cells.append(cell.cell_contents)
        except ValueError:  # it is not filled yet
            continue
    return _names_durable(function.__code__, function.__globals__, cells, seen)


def _function(value: object) -> object:
    """Return what a class keeps in a static or class method."""
    return value.__func__ if type(value) in (staticmethod, classmethod) else value  # type: ignore[attr-defined]
