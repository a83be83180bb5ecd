"""What a rewritten call is labelled with, and what becomes of its arguments."""

from __future__ import annotations

import asyncio
import inspect
import warnings
from typing import Any, cast

import pytest

from support.automatic_bodies import LOG, double, everything, items, noted, only_label, run
from trigger_celery.declare.automatic import LABEL_LENGTH, close_coroutines, rewrite


def test_a_label_is_readable_and_does_not_hold_what_the_expression_computes() -> None:
    async def body() -> list[object]:
        table: Any = {"a": [double], 1: double}
        return [
            await table["a"][0](1),
            await table[len("a")](1),
            await (lambda n: double(n))(1),
            await (double if table else items)(1),
            await (chosen := double)(1),
            await cast(Any, "text").join([]),
            await (await noted("maker", everything)())(chosen),
        ]

    async def labels(label: str, fn: Any, /, *args: object) -> object:
        LOG.append(label)
        return everything

    run(rewrite(body, labels)())
    assert LOG == [
        "table['a'][0]",
        "table[...]",
        "<lambda>",
        "<ifexp>",
        "chosen",
        "cast().join",
        "noted()",
        "(await noted()())",
    ]


def test_a_long_label_keeps_its_beginning_and_its_end() -> None:
    async def body(a_rather_long_name: Any) -> object:
        name = a_rather_long_name
        return (
            await name.with_an_attribute[0]
            .that_has_another()
            .of_its_own["and a key of some length"]
            .call_it()
        )

    class Anything:
        def __getattr__(self, name: str) -> Anything:
            return self

        __getitem__ = __getattr__

        def __call__(self) -> Anything:
            return self

    label = cast(str, run(rewrite(body, only_label)(Anything())))
    assert (
        label == "name.with_an_attribute[0].that_has_ano...own['and a key of some length'].call_it"
    )
    assert len(label) == LABEL_LENGTH


def test_coroutines_among_the_arguments_are_closed_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inner = [double(n) for n in range(4)]
        close_coroutines((inner[0], [inner[1]], "text"), {"a": (inner[2],), "b": inner[3]})
    assert [inspect.getcoroutinestate(each) for each in inner] == ["CORO_CLOSED"] * 4


def test_a_lazy_object_among_the_arguments_is_not_loaded() -> None:
    class Lazy:
        @property  # type: ignore[misc]
        def __class__(self) -> Any:
            pytest.fail("a lazy object was loaded")

    close_coroutines((Lazy(), [Lazy()]), {})


def test_a_coroutine_that_has_started_is_not_closed() -> None:
    async def body() -> str:
        async def waiting() -> None:
            await asyncio.sleep(0)

        started = waiting()
        started.send(None)
        close_coroutines((started,), {})
        state = inspect.getcoroutinestate(started)
        started.close()
        return state

    assert run(body()) == "CORO_SUSPENDED"
