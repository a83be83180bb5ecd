"""Source of a task: where its ``def`` stands, its text and the digest that names its version."""

from __future__ import annotations

import ast
import hashlib
import inspect
import linecache
import os
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType, FunctionType

from trigger_celery.errors import DeclarationError, SourceUnavailable

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSource:
    """The source of a task as it was declared.

    ``digest`` is the hex SHA-256 of ``text``, the dedented source with its decorators;
    without a source ``text`` is empty and the digest is that of the bytecode, which is
    stable within one version of Python. ``file`` is relative to the root of the import
    path, ``first_line`` counts from 1.
    """

    digest: str
    text: str
    file: str
    first_line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A ``def`` in a parsed file; the tree is shared, so copy ``node`` before changing it.

    ``class_name`` is the innermost class around the ``def``: it mangles private names.
    """

    node: FunctionNode
    class_name: str | None


def source_of(fn: Callable[..., object]) -> TaskSource:
    """Return the source of the function that ``fn`` is or wraps.

    Raises ``DeclarationError`` when there is no Python function at the bottom of ``fn``.
    """
    function = python_function(inspect.unwrap(fn))
    code = function.__code__
    try:
        first_line, text = _text(function)
    except SourceUnavailable:
        first_line, text = code.co_firstlineno, ""
    return TaskSource(
        digest=hashlib.sha256(text.encode() if text else _bytecode(code)).hexdigest(),
        text=text,
        file=_module_path(function),
        first_line=first_line,
    )


def find_definition(fn: FunctionType) -> Definition:
    """Return the ``def`` that ``fn`` was compiled from.

    Raises ``SourceUnavailable`` when its file cannot be read, or has changed since.
    """
    code = fn.__code__
    lines = _lines(fn)
    if not lines:
        raise SourceUnavailable(f"{location(fn)}: the source of {fn.__qualname__} cannot be read")
    try:
        definitions = _definitions("".join(lines))
    except (SyntaxError, ValueError) as error:
        raise SourceUnavailable(
            f"{location(fn)}: the file of {fn.__qualname__} cannot be parsed: {error}"
        ) from error
    found = definitions.get((code.co_name, code.co_firstlineno))
    if found is None or not _matches(found.node, code):
        raise SourceUnavailable(
            f"{location(fn)}: the source of {fn.__qualname__} is not at this line; "
            "its file has probably changed since it was imported"
        )
    return found


def own_nodes(node: FunctionNode) -> Iterator[ast.AST]:
    """Yield what runs as part of this body, outer nodes first and in the order of the source.

    Of nested functions and classes that is only what defining them evaluates: decorators,
    defaults and bases. A node may be changed while it is the current one.
    """
    pending: list[ast.AST] = list(reversed(node.body))
    while pending:
        current = pending.pop()
        yield current
        pending.extend(reversed(_evaluated(current)))


def location(fn: object) -> str:
    """Say where ``fn`` is defined, as ``file:line``, or what it is where that is unknown."""
    bottom = inspect.unwrap(fn) if callable(fn) else getattr(fn, "__wrapped__", fn)
    code = getattr(bottom, "__code__", None)
    if not isinstance(code, CodeType):
        return repr(fn)
    return f"{code.co_filename}:{code.co_firstlineno}"


def python_function(fn: object) -> FunctionType:
    """Return ``fn`` if it is a function written in Python, else raise ``DeclarationError``."""
    if isinstance(fn, FunctionType):
        return fn
    raise DeclarationError(
        f"{location(fn)}: expected a function written with def or async def, got: {fn!r}"
    )


def _evaluated(node: ast.AST) -> list[ast.AST]:
    if isinstance(node, ast.ClassDef):
        return [*node.decorator_list, *node.bases, *node.keywords]
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return [*node.decorator_list, *_defaults(node.args)]
    if isinstance(node, ast.Lambda):
        return _defaults(node.args)
    return list(ast.iter_child_nodes(node))


def _defaults(arguments: ast.arguments) -> list[ast.AST]:
    return [*arguments.defaults, *(node for node in arguments.kw_defaults if node is not None)]


def _lines(fn: FunctionType) -> list[str]:
    file = fn.__code__.co_filename
    linecache.checkcache(file)
    return linecache.getlines(file, fn.__globals__)


# Tasks are declared file after file, so a few parsed files serve all the tasks of each.
@lru_cache(maxsize=4)
def _definitions(text: str) -> Mapping[tuple[str, int], Definition]:
    found: dict[tuple[str, int], Definition] = {}
    pending: list[tuple[ast.AST, str | None]] = [(ast.parse(text), None)]
    while pending:
        node, class_name = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            definition = Definition(node=node, class_name=class_name)
            found[node.name, _first_line(node)] = definition
        inner = node.name if isinstance(node, ast.ClassDef) else class_name
        pending.extend((child, inner) for child in ast.iter_child_nodes(node))
    return found


def _first_line(node: FunctionNode) -> int:
    # The line that code objects call their first: that of the uppermost decorator.
    return node.decorator_list[0].lineno if node.decorator_list else node.lineno


def _matches(node: FunctionNode, code: CodeType) -> bool:
    # Not the bytecode: import hooks such as pytest's change it and leave the source true.
    arguments = node.args
    names = [argument.arg for argument in [*arguments.posonlyargs, *arguments.args]]
    last = max((line for *_, line in code.co_lines() if line is not None), default=0)
    positional = code.co_varnames[: code.co_argcount]
    return (
        len(names) == code.co_argcount
        and len(arguments.kwonlyargs) == code.co_kwonlyargcount
        and all(map(str.endswith, positional, names))  # private names are mangled
        and last <= (node.end_lineno or last)
    )


def _text(fn: FunctionType) -> tuple[int, str]:
    node = find_definition(fn).node
    lines = _lines(fn)
    start = _first_line(node) - 1
    while node.decorator_list and start and not lines[start].lstrip().startswith("@"):
        start -= 1
    return start + 1, textwrap.dedent("".join(lines[start : node.end_lineno]))


def _module_path(fn: FunctionType) -> str:
    basename = os.path.basename(fn.__code__.co_filename)
    module = fn.__module__ or ""
    package = module if basename == "__init__.py" else module.rpartition(".")[0]
    return "/".join([*package.split("."), basename] if package else [basename])


def _bytecode(code: CodeType) -> bytes:
    return repr((code.co_code, code.co_names, _stable(code.co_consts))).encode()


def _stable(constant: object) -> object:
    if isinstance(constant, CodeType):
        return _bytecode(constant)
    if isinstance(constant, tuple):
        return tuple(map(_stable, constant))
    if isinstance(constant, frozenset):
        # The order of a set of strings differs between two processes.
        return sorted(map(repr, constant))
    return constant
