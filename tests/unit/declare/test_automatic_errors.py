"""What cannot be rewritten is refused where it is declared, with its file and line."""

from __future__ import annotations

import functools
import linecache
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from support.modules import load
from trigger_celery.declare.automatic import rewrite
from trigger_celery.errors import DeclarationError, SourceUnavailable, UncheckpointableAwait


async def record(label: str, fn: Callable[..., Awaitable[object]], /, *a: Any, **k: Any) -> object:
    return label, await fn(*a, **k)


async def one() -> int:
    return 1


def result(coroutine: Any) -> object:
    """Run a coroutine that waits for nothing, without a loop."""
    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)
    return stop.value.value


def here(line: int) -> str:
    return re.escape(f"{__file__}:{line}: ")


def line_of(text: str) -> int:
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.strip() == text)


async def of_a_variable(task: Awaitable[int]) -> int:
    first = await one()
    return first + await task


async def of_an_attribute(holder: Any) -> object:
    return [await holder.pending for _ in (1,)]


async def of_a_choice(flag: bool) -> int:
    return await (one() if flag else of_a_choice(flag))


@pytest.mark.parametrize(
    ("fn", "line", "text"),
    [
        (of_a_variable, "return first + await task", "`await task` in of_a_variable"),
        (of_an_attribute, "return [await holder.pending for _ in (1,)]", "`await holder.pending`"),
        (of_a_choice, "return await (one() if flag else of_a_choice(flag))", "not a call"),
    ],
)
def test_an_await_of_anything_but_a_call_is_refused(fn: Any, line: str, text: str) -> None:
    with pytest.raises(UncheckpointableAwait, match=here(line_of(line))) as caught:
        rewrite(fn, record)
    assert text in str(caught.value)
    assert 'checkpoint="explicit"' in str(caught.value)


def test_an_await_in_a_nested_function_may_be_of_anything() -> None:
    async def body() -> int:
        async def inner(task: Awaitable[int]) -> int:
            return await task

        return await inner(one())

    assert result(rewrite(body, record)()) == ("inner", 1)


def test_a_function_without_a_source_is_refused_with_a_way_out() -> None:
    names: dict[str, Any] = {}
    # A name of its own: Python 3.13 keeps the text of a process's "-c" under "<string>".
    exec(compile("async def body():\n    await one()\n", "<made up>", "exec"), names)
    with pytest.raises(SourceUnavailable, match=r"<made up>:1: .*body cannot be read") as caught:
        rewrite(names["body"], record)
    assert 'checkpoint="explicit"' in str(caught.value)


def test_an_async_generator_is_refused() -> None:
    async def body() -> AsyncIterator[int]:
        yield await one()

    with pytest.raises(DeclarationError, match=here(body.__code__.co_firstlineno)) as caught:
        rewrite(body, record)  # type: ignore[arg-type]
    assert "cannot yield" in str(caught.value)


def test_a_plain_function_and_a_lambda_are_refused() -> None:
    def plain() -> object:
        return one()

    short = lambda: one()  # noqa: E731
    refused: list[Any] = [plain, short]
    for fn in refused:
        with pytest.raises(DeclarationError, match="async def") as caught:
            rewrite(fn, record)
        assert f"{__file__}:{fn.__code__.co_firstlineno}: " in str(caught.value)


def test_what_is_no_python_function_is_refused() -> None:
    refused: list[Any] = [functools.partial(one), len, "body"]
    for fn in refused:
        with pytest.raises(DeclarationError, match="expected a function written with def"):
            rewrite(fn, record)


def test_a_function_inside_another_decorator_is_refused_with_the_line_of_the_function() -> None:
    async def body() -> int:
        return await one()

    @functools.wraps(body)
    async def wrapper() -> int:
        return await body()

    decorated: list[Any] = [wrapper, staticmethod(body), classmethod(cast(Any, body))]
    for fn in decorated:
        with pytest.raises(DeclarationError, match="innermost decorator") as caught:
            rewrite(fn, record)
        assert f"{__file__}:{body.__code__.co_firstlineno}: " in str(caught.value)


FIRST = "async def f(): return 1\nasync def body(a, *, b):\n    return await f()\n"


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        ("\n" + FIRST, "not at this line"),
        (FIRST.replace("(a, *", "(c, *"), "not at this line"),
        (FIRST.replace("*, b", "*, b, c"), "not at this line"),
        (FIRST.replace("(a, *, b):\n   ", "(a, *, b):"), "not at this line"),
        (FIRST.replace("async def body", "def body").replace("await ", ""), "is no async def"),
        (FIRST.replace("await f()", "await ("), "cannot be parsed"),
    ],
)
def test_a_file_that_changed_since_its_import_is_refused(
    tmp_path: Path, now: str, reason: str
) -> None:
    path = tmp_path / "changed.py"
    module = load(path, FIRST)
    path.write_text(now, encoding="utf-8")
    os.utime(path, (1, 1))
    with pytest.raises(SourceUnavailable, match=reason) as caught:
        rewrite(module.body, record)
    assert f"{path}:2: " in str(caught.value)


def test_a_file_that_is_gone_is_refused(tmp_path: Path) -> None:
    module = load(tmp_path / "gone.py", FIRST)
    (tmp_path / "gone.py").unlink()
    with pytest.raises(SourceUnavailable, match=r"gone.py:2: .* cannot be read"):
        rewrite(module.body, record)


def test_a_source_that_uses_other_variables_of_its_surroundings_is_refused(tmp_path: Path) -> None:
    text = (
        "async def f(x): return x\n"
        "def make():\n"
        "    old = new = 1\n"
        "    async def body():\n"
        "        return await f(old)\n"
        "    return body\n"
    )
    path = tmp_path / "closure.py"
    body = load(path, text).make()
    path.write_text(text.replace("f(old)", "f(new)"), encoding="utf-8")
    os.utime(path, (1, 1))
    with pytest.raises(SourceUnavailable, match="other variables"):
        rewrite(body, record)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "reloaded.py"
    # Names of two lengths: Python itself distinguishes compiled files by second and size.
    for number, name in enumerate(("f", "other")):
        module = load(path, FIRST.replace("f()", f"{name}()"))
        os.utime(path, (number, number))
        sys.modules.pop(path.stem, None)
        assert result(rewrite(module.body, record)(1, b=2)) == (name, 1)


def test_flags_from_future_imports_are_kept(tmp_path: Path) -> None:
    text = (
        "async def f(): return 1\n"
        "async def body():\n"
        "    def inner(x: missing): ...\n"
        "    return await f(), inner.__annotations__\n"
    )
    future = "from __future__ import annotations\n"
    lazy = rewrite(load(tmp_path / "lazy.py", future + text).body, record)
    assert result(lazy()) == (("f", 1), {"x": "missing"})
    eager = load(tmp_path / "eager.py", text.replace("missing", "int"))
    assert result(rewrite(eager.body, record)()) == (("f", 1), {"x": int})


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type parameters came with Python 3.12")
def test_type_parameters_are_kept(tmp_path: Path) -> None:
    text = (
        "async def f(x): return x\n"
        "class C[S]:\n"
        "    async def body[T: int](self, x: T, y: S = None) -> T:\n"
        "        return await f(T.__name__ + S.__name__)\n"
    )
    original = load(tmp_path / "generic.py", text).C.body
    body = rewrite(original, record)
    assert result(body(None, 1)) == ("f", "TS")
    assert body.__type_params__ == original.__type_params__  # type: ignore[attr-defined]
    assert body.__annotations__ == original.__annotations__


def test_a_source_that_only_linecache_knows_is_enough() -> None:
    lines = FIRST.splitlines(keepends=True)
    linecache.cache["<notebook 1>"] = (len(FIRST), None, lines, "<notebook 1>")
    names: dict[str, Any] = {}
    exec(compile(FIRST, "<notebook 1>", "exec"), names)
    try:
        assert result(rewrite(names["body"], record)(1, b=2)) == ("f", 1)
    finally:
        del linecache.cache["<notebook 1>"]
