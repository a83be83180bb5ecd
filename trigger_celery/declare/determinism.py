"""Finds calls in a body that each replay makes again: clocks, random values, plain helpers."""

from __future__ import annotations

import ast
import datetime
import inspect
import os
import random
import secrets
import sys
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from types import FunctionType, ModuleType
from typing import cast

from trigger_celery.declare.durable_names import is_plain_helper
from trigger_celery.declare.source import find_definition, own_nodes, python_function
from trigger_celery.errors import SourceUnavailable

_FUNCTIONS: Mapping[ModuleType, tuple[str, ...]] = {
    time: ("time", "time_ns", "monotonic", "monotonic_ns"),
    uuid: ("uuid1", "uuid4"),
    os: ("urandom",),
    random: tuple(name for name in random.__all__ if name != "Random"),
    secrets: tuple(name for name in secrets.__all__ if name != "compare_digest"),
}
_KNOWN = tuple(
    (getattr(module, name), f"{module.__name__}.{name}")
    for module, names in _FUNCTIONS.items()
    for name in names
)
_CLOCKS: Mapping[type, frozenset[str]] = {
    datetime.datetime: frozenset({"now", "utcnow", "today"}),
    datetime.date: frozenset({"today"}),
}


def nondeterministic_calls(
    fn: Callable[..., object], *, also: Collection[str] = ()
) -> list[tuple[int, str]]:
    """Return the line and the dotted name of each call in the body that no replay repeats.

    Several calls of one function on one line are one finding.
    Nested functions and lambdas are not looked into, and only names that modules, closures
    and imports in the body provide are resolved. ``also`` adds functions of a framework by
    their full names. A body whose source cannot be read has no findings.

    Raises ``DeclarationError`` when there is no Python function at the bottom of ``fn``.
    """
    function = python_function(inspect.unwrap(fn))
    try:
        node = find_definition(function).node
    except SourceUnavailable:
        return []
    inner = list(own_nodes(node))
    names = _Names(function, inner)
    found = (
        (call.lineno, name)
        for call in inner
        if isinstance(call, ast.Call) and (name := names.forbidden(call.func, also)) is not None
    )
    return [*dict.fromkeys(found)]


def unrecorded_awaits(fn: Callable[..., object]) -> list[tuple[int, str]]:
    """Return the line and the name of each helper that the body awaits and that is no step.

    It is a coroutine function of the author's that makes no durable call either: each replay
    of a body that is not rewritten calls it again. A body without a source has no findings.

    Raises ``DeclarationError`` when there is no Python function at the bottom of ``fn``.
    """
    function = python_function(inspect.unwrap(fn))
    try:
        inner = list(own_nodes(find_definition(function).node))
    except SourceUnavailable:
        return []
    names = _Names(function, inner)
    calls = [each.value for each in inner if isinstance(each, ast.Await)]
    found = (
        (call.lineno, ast.unparse(call.func))
        for call in calls
        if isinstance(call, ast.Call) and is_plain_helper(names.value(call.func))
    )
    return [*dict.fromkeys(found)]


class _Names:
    """What the names of one body mean, as far as it is known before the body runs."""

    def __init__(self, fn: FunctionType, nodes: list[ast.AST]) -> None:
        code = fn.__code__
        hidden = dict.fromkeys((*code.co_varnames, *code.co_cellvars))
        self._values = {**fn.__globals__, **_closure(fn), **hidden, **dict(_imports(nodes))}

    def forbidden(self, callee: ast.expr, also: Collection[str]) -> str | None:
        if isinstance(callee, ast.Attribute):
            owner = self.value(callee.value)
            for clock, methods in _CLOCKS.items():
                if callee.attr in methods and _is_class_of(clock, owner):
                    return f"datetime.{clock.__name__}.{callee.attr}"
        target = self.value(callee)
        if type(target) is FunctionType:
            name = f"{target.__module__}.{target.__qualname__}"
            if name in also:
                return name
        return next((name for known, name in _KNOWN if known is target), None)

    def value(self, node: ast.expr) -> object:
        if isinstance(node, ast.Name):
            return self._values.get(node.id)
        if isinstance(node, ast.Attribute):
            owner = self.value(node.value)
            # Reading an attribute of anything else could run a property; isinstance() could
            # load a lazy object.
            if issubclass(type(owner), ModuleType | type):
                return getattr(owner, node.attr, None)
        return None


def _is_class_of(clock: type, owner: object) -> bool:
    return issubclass(type(owner), type) and issubclass(cast(type, owner), clock)


def _closure(fn: FunctionType) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        try:
            values[name] = cell.cell_contents
        except ValueError:  # not bound yet, as ``__class__`` is while its class is made
            values[name] = None
    return values


def _imports(nodes: list[ast.AST]) -> Iterator[tuple[str, object]]:
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name if alias.asname else alias.name.partition(".")[0]
                yield alias.asname or root, sys.modules.get(root)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            module = sys.modules.get(node.module or "")
            for alias in node.names:
                yield alias.asname or alias.name, getattr(module, alias.name, None)
