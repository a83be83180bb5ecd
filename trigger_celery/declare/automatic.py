"""Automatic checkpoints: rewrites an ``async def`` body so that each ``await f(...)`` is recorded.

``await f(a, k=1)`` becomes ``await checkpoint("f", f, a, k=1)``, in that body only: nested
functions, ``async with`` and ``async for`` are left alone. The function is compiled anew from
its source and keeps its file, lines, columns, globals, defaults and closure; what an import
hook added to its bytecode, such as pytest's explained asserts, is not in the source and lost.
"""

from __future__ import annotations
import __future__

import ast
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from copy import deepcopy
from functools import reduce, update_wrapper
from operator import or_
from types import CellType, CodeType, CoroutineType, FunctionType
from typing import ParamSpec, TypeVar, cast

from trigger_celery.declare.source import (
    FunctionNode,
    find_definition,
    location,
    own_nodes,
    python_function,
)
from trigger_celery.errors import DeclarationError, SourceUnavailable, UncheckpointableAwait

P = ParamSpec("P")
T = TypeVar("T")

LABEL_LENGTH = 80

_CHECKPOINT = "__trigger_checkpoint__"
_FACTORY = "__trigger_factory__"
_EXPLICIT = 'or declare the task with checkpoint="explicit"'
_FUTURE_FLAGS: int = reduce(
    or_, (getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)
)


def rewrite(
    fn: Callable[P, Coroutine[object, object, T]],
    checkpoint: Callable[..., Awaitable[object]],
) -> Callable[P, Coroutine[object, object, T]]:
    """Return a copy of ``fn`` in which each ``await f(*args, **kwargs)`` is a checkpoint.

    The copy awaits ``checkpoint(label, f, *args, **kwargs)`` instead, with ``f`` and its
    arguments evaluated in their usual order. ``label`` names ``f`` as the source does, without
    computed parts (``client.post``, ``table[...]``), in at most 80 characters. ``checkpoint``
    takes its first two arguments by position only, as ``kwargs`` may have any name.

    Raises ``SourceUnavailable`` if the source cannot be read, ``UncheckpointableAwait`` for
    an ``await`` of anything but a call, and ``DeclarationError`` if ``fn`` is not a plain
    ``async def`` or is wrapped by another decorator.
    """
    function = _coroutine_function(fn)
    try:
        definition = find_definition(function)
        node = _checkpointed(definition.node, function)
        code = _compile(node, definition.class_name, function)
    except SourceUnavailable as error:
        raise SourceUnavailable(
            f"{error}: keep it in a module whose file is there as it was imported, {_EXPLICIT}"
        ) from error
    return cast(Callable[P, Coroutine[object, object, T]], _rebuild(function, code, checkpoint))


def close_coroutines(args: Iterable[object], kwargs: Mapping[str, object]) -> None:
    """Close the coroutines among the arguments of a call that a replay skips.

    Looks at the arguments and one level into lists, tuples and sets. Only coroutines that
    never started are closed: those would warn that they were never awaited.
    """
    for value in (*args, *kwargs.values()):
        for item in _members(value):
            if (
                type(item) is CoroutineType
                and inspect.getcoroutinestate(item) == inspect.CORO_CREATED
            ):
                item.close()


def _members(value: object) -> Iterable[object]:
    # Not isinstance(): it asks a lazy object for its class, and that loads the object.
    if issubclass(type(value), list | tuple | set | frozenset):
        return cast(Iterable[object], value)
    return (value,)


def _coroutine_function(fn: object) -> FunctionType:
    if hasattr(fn, "__wrapped__"):
        raise DeclarationError(
            f"{location(fn)}: another decorator wraps this function, so its source is not what "
            f"would run: make durable_task the innermost decorator, {_EXPLICIT}"
        )
    function = python_function(fn)
    if inspect.isasyncgenfunction(function):
        raise DeclarationError(
            f"{location(fn)}: {function.__qualname__} is an async generator: the body of a task "
            "returns its result, it cannot yield"
        )
    if not function.__code__.co_flags & inspect.CO_COROUTINE:
        raise DeclarationError(
            f"{location(fn)}: expected {function.__qualname__} to be written with async def, "
            "got: a plain function or lambda, which has no awaits to checkpoint"
        )
    return function


def _checkpointed(original: FunctionNode, fn: FunctionType) -> ast.AsyncFunctionDef:
    node = deepcopy(original)
    if not isinstance(node, ast.AsyncFunctionDef):
        raise SourceUnavailable(f"{location(fn)}: the source of {fn.__qualname__} is no async def")
    for inner in own_nodes(node):
        if not isinstance(inner, ast.Await):
            continue
        if not isinstance(inner.value, ast.Call):
            raise _uncheckpointable(inner, fn)
        _redirect(inner.value)
    return node


def _redirect(call: ast.Call) -> None:
    callee = call.func
    label = ast.Constant(_shortened(_label(callee)))
    call.func = ast.copy_location(ast.Name(_CHECKPOINT, ast.Load()), callee)
    call.args[:0] = [ast.copy_location(label, callee), callee]


def _uncheckpointable(node: ast.Await, fn: FunctionType) -> UncheckpointableAwait:
    return UncheckpointableAwait(
        f"{fn.__code__.co_filename}:{node.lineno}: `{_shortened(ast.unparse(node))}` in "
        f"{fn.__qualname__} awaits something that is not a call, so there is nothing to run "
        "again or to record: call and await in one expression, as in `await f(x)`, move the "
        f"await into an async function of its own and await that, {_EXPLICIT}"
    )


def _label(callee: ast.expr) -> str:
    # Not ast.unparse: labels are stored, and its text differs between versions of Python.
    match callee:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            return f"{_label(value)}.{name}"
        case ast.Call(func=func):
            return f"{_label(func)}()"
        case ast.Subscript(value=value, slice=ast.Constant(value=str() | int() as key)):
            return f"{_label(value)}[{key!r}]"
        case ast.Subscript(value=value):
            return f"{_label(value)}[...]"
        case ast.Await(value=value):
            return f"(await {_label(value)})"
        case ast.NamedExpr(target=target):
            return _label(target)
        case _:
            return f"<{type(callee).__name__.lower()}>"


def _shortened(text: str) -> str:
    # Both ends are kept: what a chain of calls starts from, and what it calls in the end.
    return text if len(text) <= LABEL_LENGTH else f"{text[:38]}...{text[-39:]}"


def _compile(node: ast.AsyncFunctionDef, class_name: str | None, fn: FunctionType) -> CodeType:
    original = fn.__code__
    module = _enclosed(node, class_name, original.co_freevars)
    flags = original.co_flags & _FUTURE_FLAGS
    code = compile(module, original.co_filename, "exec", flags=flags, dont_inherit=True)
    for name in filter(None, (_FACTORY, class_name, node.name)):
        code = _constant_code(code, name)
    if {*code.co_freevars, _CHECKPOINT} != {*original.co_freevars, _CHECKPOINT}:
        raise SourceUnavailable(
            f"{location(fn)}: the source of {fn.__qualname__} uses other variables than its code; "
            "its file has probably changed since it was imported"
        )
    qualname = original.co_qualname
    nested = _requalified(code, f"{code.co_qualname}.<locals>.", f"{qualname}.<locals>.")
    return nested.replace(co_qualname=qualname)


def _enclosed(
    node: ast.AsyncFunctionDef, class_name: str | None, free: Iterable[str]
) -> ast.Module:
    # Only the code object is used: parameters make the free variables free, and a class of
    # the same name mangles private names and provides ``__class__`` for super().
    bound = class_name or node.name
    names = {_CHECKPOINT, *free} - ({"__class__"} if class_name else set())
    module = ast.parse(
        f"def {_FACTORY}({', '.join(sorted(names))}):\n"
        f" {'pass' if bound in names else f'global {bound}'}\n"
        f" class {bound}: pass"
    )
    factory = cast(ast.FunctionDef, module.body[0])
    block: ast.FunctionDef | ast.ClassDef = factory
    if class_name:
        block = cast(ast.ClassDef, factory.body[-1])
    block.body[-1] = _without_header(node)
    return module


def _without_header(node: ast.AsyncFunctionDef) -> ast.AsyncFunctionDef:
    # What the header evaluates was evaluated once and is taken over. One decorator stays, as
    # a blank: the line of the first one is the line at which the code begins.
    first = node.decorator_list[:1]
    node.decorator_list = [ast.copy_location(ast.Constant(None), each) for each in first]
    node.returns = None
    node.args.defaults = []
    node.args.kw_defaults = [None] * len(node.args.kwonlyargs)
    for inner in ast.walk(node.args):
        if isinstance(inner, ast.arg):
            inner.annotation = None
    if hasattr(node, "type_params"):
        node.type_params = []
    return node


def _constant_code(code: CodeType, name: str) -> CodeType:
    constants = (each for each in code.co_consts if isinstance(each, CodeType))
    return next(each for each in constants if each.co_name == name)


def _requalified(code: CodeType, old: str, new: str) -> CodeType:
    qualname = code.co_qualname
    if qualname.startswith(old):
        qualname = new + qualname.removeprefix(old)

    def renamed(constant: object) -> object:
        if isinstance(constant, CodeType):
            return _requalified(constant, old, new)
        # The code of a class body holds its own qualified name as a constant.
        return qualname if constant == code.co_qualname else constant

    return code.replace(co_qualname=qualname, co_consts=tuple(map(renamed, code.co_consts)))


def _rebuild(
    fn: FunctionType, code: CodeType, checkpoint: Callable[..., Awaitable[object]]
) -> FunctionType:
    cells = dict(zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True))
    cells[_CHECKPOINT] = CellType(checkpoint)
    closure = tuple(cells[name] for name in code.co_freevars)
    copy = FunctionType(code, fn.__globals__, fn.__name__, fn.__defaults__, closure)
    copy.__kwdefaults__ = fn.__kwdefaults__
    update_wrapper(copy, fn)
    # It replaces the original: a way back to the version without checkpoints would mislead.
    del vars(copy)["__wrapped__"]
    return copy
