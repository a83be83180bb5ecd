"""Rewritten bodies behave as the originals do, with each awaited call a checkpoint."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from types import CodeType, FrameType
from typing import Any, cast

import pytest

from support.automatic_bodies import (
    LOG,
    ORDER,
    Body,
    F,
    automatic,
    double,
    everything,
    fail,
    items,
    labelled,
    noted,
    only_label,
    record,
    run,
)
from trigger_celery.declare.automatic import rewrite


def test_an_awaited_call_becomes_a_checkpoint_with_its_arguments() -> None:
    @automatic
    async def body(value: int) -> int:
        return await double(value, plus=1)

    assert run(body(3)) == 7
    assert LOG == ["double"]


def test_nested_awaits_are_checkpoints_from_the_inside_out() -> None:
    @automatic
    async def body() -> int:
        return await double(await double(1), plus=await double(5))

    assert run(body()) == 14
    assert LOG == ["double", "double", "double"]


def test_the_callee_is_evaluated_first_and_the_arguments_in_their_order() -> None:
    @automatic
    async def body() -> object:
        return await noted("callee", everything)(
            noted("a"), *noted("b", [1]), k=noted("c"), **noted("d", {"label": 1, "fn": 2})
        )

    ORDER.clear()
    assert run(body()) == ((None, 1), {"k": None, "label": 1, "fn": 2})
    assert ORDER == ["callee", "a", "b", "c", "d"]
    assert LOG == ["noted()"]


def test_awaits_in_every_kind_of_statement_are_checkpoints() -> None:
    @automatic
    async def body() -> list[object]:
        seen: list[object] = []
        if await double(1):
            seen.append("if")
        while len(seen) < await double(1):
            seen.append("while")
        for item in await items(1):
            seen.append(item)
        try:
            await fail("in try")
        except ValueError as error:
            seen.append(str(error))
        finally:
            seen.append(await double(2))
        seen.append(f"{await double(3)}!")
        seen.append(await double(4) if await items(0) else await double(5))
        if (number := await double(6)) > 0:
            seen.append(number)
        match await double(7):
            case 14:
                seen.append("match")
        return seen

    assert run(body()) == ["if", "while", 0, "in try", 4, "6!", 10, 12, "match"]
    assert LOG[:5] == ["double", "double", "double", "items", "fail"]
    assert len(LOG) == 11


def test_awaits_in_comprehensions_of_the_body_are_checkpoints() -> None:
    @automatic
    async def body(factor: int) -> object:
        plain = [await double(n) * factor for n in await items(2) if await double(n) >= 0]
        pairs = {n: await double(n) for n in (1, 2)}
        lazy = [n async for n in (await double(n) for n in (3, 4))]
        return plain, {await double(0)}, pairs, lazy

    assert run(body(10)) == ([0, 20], {0}, {1: 2, 2: 4}, [6, 8])
    assert sorted(LOG) == ["double"] * 9 + ["items"]


def test_nested_functions_keep_their_awaits_and_their_defaults_belong_to_the_body() -> None:
    @automatic
    async def body() -> list[object]:
        async def inner(start: int = await double(4)) -> int:
            return await double(start)

        class Inner:
            async def method(self) -> int:
                return await double(1)

        later: Callable[[], Any] = lambda: double(2)  # noqa: E731
        return [await inner(), await Inner().method(), await later()]

    assert run(body()) == [16, 2, 4]
    assert LOG == ["double", "inner", "Inner().method", "later"]


def test_gather_is_one_checkpoint_whose_arguments_are_plain_coroutines() -> None:
    @automatic
    async def body() -> object:
        return await asyncio.gather(double(1), double(2))

    assert run(body()) == [2, 4]
    assert LOG == ["asyncio.gather"]


def test_async_with_and_async_for_are_left_alone_but_not_what_they_await() -> None:
    @asynccontextmanager
    async def opened(value: int) -> AsyncIterator[int]:
        yield value

    async def numbers(count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number

    @automatic
    async def body() -> int:
        total = 0
        async with opened(await double(1)) as start:
            async for number in numbers(await double(2)):
                total += start + number
        return total

    assert run(body()) == 14
    assert LOG == ["double", "double"]


def test_closures_and_nonlocal_names_are_shared_with_the_original() -> None:
    count = 0
    offset = 1

    @automatic
    async def body() -> int:
        nonlocal count
        count += await double(offset)
        return count

    offset = 5
    assert run(body()) == 10
    assert count == 10


@automatic
async def count_up(number: int) -> str:
    return "count_up" if number == 0 else await count_up(number - 1) + "!"


def test_a_body_can_await_itself_by_its_name() -> None:
    @automatic
    async def countdown(number: int) -> int:
        return 0 if number == 0 else 1 + await countdown(number - 1)

    assert run(countdown(3)) == 3
    assert LOG == ["countdown"] * 3
    assert run(count_up(2)) == "count_up!!"


class Base:
    async def load(self, value: int) -> int:
        return value + 1


class Child(Base):
    __factor = 3

    async def __scaled(self, value: int, *, __by: int = 1) -> int:
        return value * self.__factor * __by

    @automatic
    async def load(self, value: int) -> int:
        base = await super().load(value)
        assert __class__ is Child  # type: ignore[name-defined]
        return await self.__scaled(base)

    @automatic
    async def __private(self, __value: int) -> int:
        return await double(__value)

    def private(self) -> Coroutine[Any, Any, int]:
        return self.__private(4)

    def nested(self) -> Callable[[Child, int], Coroutine[Any, Any, int]]:
        @automatic
        async def inner(me: Child, value: int) -> int:
            return await self.__scaled(value) + await super().load(value)

        return inner


def test_methods_keep_super_the_class_cell_and_private_names() -> None:
    assert run(Child().load(1)) == 6
    assert LOG == ["super().load", "self.__scaled"]
    assert run(Child().private()) == 8


def test_a_function_in_a_method_keeps_private_names_and_its_closure() -> None:
    child = Child()
    inner = child.nested()
    assert run(inner(child, 2)) == 6 + 3
    assert inner.__qualname__ == "Child.nested.<locals>.inner"


def test_defaults_are_evaluated_once_and_keep_their_identity() -> None:
    marker: list[int] = []

    async def body(
        a: int, /, b: list[int] = marker, *rest: int, c: list[int] = marker, **more: int
    ) -> object:
        await double(a)
        return b is marker and c is marker and rest == () and more == {}

    copy = rewrite(body, record)
    assert run(copy(1)) is True
    assert inspect.signature(copy) == inspect.signature(body)


def test_decorators_run_once_whether_above_or_below() -> None:
    calls: list[str] = []

    def counted(fn: F) -> F:
        calls.append(fn.__name__)
        return fn

    @counted
    @functools.partial(labelled("above"))
    @automatic
    @labelled(
        "below",
    )
    @counted
    async def body() -> int:
        """Say what it does."""
        return await double(1)

    assert run(body()) == 2
    assert LOG == ["double"]
    assert calls == ["body", "body"]
    assert body.__dict__ == {"text": "above"}


def test_the_names_documentation_annotations_and_attributes_are_those_of_the_original() -> None:
    @labelled("kept")
    async def body(value: int) -> int:
        """Say what it does."""

        class Local:
            def method(self) -> None: ...

        return len([Local.method.__qualname__, Local.__qualname__, str(await double(value))])

    copy = rewrite(body, record)
    names = ("__name__", "__qualname__", "__module__", "__doc__", "__annotations__", "__dict__")
    for name in (*names, "__globals__"):
        assert getattr(copy, name) == getattr(body, name)
    for name in ("co_name", "co_qualname", "co_filename", "co_firstlineno", "co_argcount"):
        assert getattr(copy.__code__, name) == getattr(body.__code__, name)
    assert inspect.getsource(copy) == inspect.getsource(body)
    assert not hasattr(copy, "__wrapped__")
    assert not [name for name in globals() if "trigger" in name]


def nested_names(code: CodeType) -> list[str]:
    nested = [each for each in code.co_consts if isinstance(each, CodeType)]
    return [code.co_qualname, *(name for each in nested for name in nested_names(each))]


def test_nested_functions_and_classes_keep_their_qualified_names() -> None:
    async def body() -> tuple[str, str, str]:
        global exported

        class Local:
            def method(self) -> list[int]:
                return [n + 1 for n in (1,)]

        def exported() -> None: ...

        await double(1)
        names = Local.__qualname__, Local.method.__qualname__
        return *names, exported.__qualname__  # type: ignore[name-defined]

    copy = rewrite(body, record)
    assert run(copy()) == asyncio.run(body())
    assert nested_names(copy.__code__) == nested_names(body.__code__)


def executed_lines(fn: Body) -> list[int]:
    lines: list[int] = []

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        if frame.f_code is not fn.__code__:
            return None
        if event == "line":
            lines.append(frame.f_lineno)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with pytest.raises(ValueError, match="at the end"):
            asyncio.run(cast(Coroutine[Any, Any, object], fn()))
    finally:
        sys.settrace(before)
    return lines


@labelled("shifts the first line")
async def multi_line() -> None:
    first = await double(
        1,
        plus=2,
    )
    for _ in range(first):
        await items(
            await double(first),
        )
    await fail(
        "at the end",
    )


def test_tracers_see_the_lines_of_the_source_as_they_do_for_the_original() -> None:
    assert executed_lines(rewrite(multi_line, record)) == executed_lines(multi_line)


def test_tracebacks_show_the_file_line_column_and_name_of_the_source() -> None:
    def entry(fn: Body) -> traceback.FrameSummary:
        with pytest.raises(ValueError, match="at the end") as caught:
            asyncio.run(fn())
        frames = traceback.extract_tb(caught.value.__traceback__)
        return next(frame for frame in frames if frame.name == "multi_line")

    seen, expected = entry(rewrite(multi_line, record)), entry(multi_line)
    assert (seen.filename, seen.lineno, seen.line) == (__file__, expected.lineno, expected.line)
    positions = [(each.end_lineno, each.colno, each.end_colno) for each in (seen, expected)]
    assert positions[0] == positions[1]


def test_two_functions_of_one_name_in_one_file_are_kept_apart() -> None:
    def make() -> list[Body]:
        async def body() -> int:
            return await double(1)

        first = body

        async def body() -> int:  # type: ignore[no-redef]
            return await double(2)

        return [first, body]

    assert [run(rewrite(fn, record)()) for fn in make()] == [2, 4]


def test_a_rewritten_function_can_be_given_other_checkpoints() -> None:
    @automatic
    async def body() -> object:
        return await double(1)

    assert run(rewrite(body, only_label)()) == "double"
