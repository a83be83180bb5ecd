"""Calls that give something else at every replay are found where they stand."""

from __future__ import annotations

import datetime as dt
import os
import random
import secrets
import time
import uuid
from collections.abc import Callable
from datetime import date, datetime
from functools import partial
from random import choice
from time import time as clock
from typing import Any
from uuid import uuid4

import pytest

from trigger_celery.declare.determinism import nondeterministic_calls, unrecorded_awaits


def names(fn: Callable[..., object]) -> list[str]:
    return [name for _, name in nondeterministic_calls(fn)]


def test_clocks_are_found_by_module_by_alias_and_by_bare_name() -> None:
    def body() -> object:
        return (
            time.time(),
            time.monotonic(),
            clock(),
            datetime.now(),
            dt.datetime.utcnow(),
            date.today(),
            dt.date.today(),
            datetime.today(),
        )

    assert names(body) == [
        "time.time",
        "time.monotonic",
        "time.time",
        "datetime.datetime.now",
        "datetime.datetime.utcnow",
        "datetime.date.today",
        "datetime.date.today",
        "datetime.datetime.today",
    ]


def test_random_values_are_found() -> None:
    async def body() -> object:
        found = [uuid4(), uuid.uuid1(), random.random(), choice([1]), random.SystemRandom()]
        return found, secrets.token_hex(), os.urandom(1)

    assert names(body) == [
        "uuid.uuid4",
        "uuid.uuid1",
        "random.random",
        "random.choice",
        "random.SystemRandom",
        "secrets.token_hex",
        "os.urandom",
    ]


def test_each_finding_has_its_line() -> None:
    def body() -> object:
        first = [
            uuid4(),
        ]
        return first if time.time() else None

    start = body.__code__.co_firstlineno
    assert nondeterministic_calls(body) == [(start + 2, "uuid.uuid4"), (start + 4, "time.time")]


def test_calls_of_one_function_on_one_line_are_one_finding() -> None:
    def body() -> float:
        return time.time() - time.time() + len(str(uuid.uuid4()))

    line = body.__code__.co_firstlineno + 1
    assert nondeterministic_calls(body) == [(line, "time.time"), (line, "uuid.uuid4")]


async def helper() -> int:
    return 1


def test_awaits_of_one_helper_on_one_line_are_one_finding() -> None:
    async def body() -> int:
        return await helper() + await helper()

    assert unrecorded_awaits(body) == [(body.__code__.co_firstlineno + 1, "helper")]


def test_calls_that_every_replay_repeats_are_not_reported() -> None:
    def body(stamp: float) -> object:
        generator = random.Random(7)
        return (
            generator.random(),
            datetime.fromtimestamp(stamp),
            secrets.compare_digest("a", "b"),
            uuid.uuid5(uuid.NAMESPACE_DNS, "a"),
            os.getcwd(),
            time.sleep,
        )

    assert names(body) == []


def test_nested_functions_and_lambdas_are_not_looked_into_but_comprehensions_are() -> None:
    def body() -> object:
        def inner() -> float:
            return time.time()

        return inner, lambda: time.time(), [time.time_ns() for _ in "a"]

    assert names(body) == ["time.time_ns"]


def test_imports_in_the_body_are_resolved() -> None:
    def body() -> object:
        import os.path
        import time as wall
        from uuid import uuid1 as identifier

        return wall.time(), identifier(), os.urandom(1), os.path.basename("a")

    assert names(body) == ["time.time", "uuid.uuid1", "os.urandom"]


def test_local_names_hide_those_of_the_module() -> None:
    def body(time: Any, clock: Callable[[], float]) -> object:
        def uuid4() -> int:
            return 4

        return time.time(), clock(), uuid4()

    assert names(body) == []


def test_names_of_closures_are_resolved_and_properties_are_not_run() -> None:
    later = uuid4

    class Holder:
        @property
        def now(self) -> Callable[[], float]:
            pytest.fail("a property was read")

    class Lazy:
        @property  # type: ignore[misc]
        def __class__(self) -> Any:
            pytest.fail("a lazy object was loaded")

    holder, lazy = Holder(), Lazy()

    def body() -> object:
        found = later(), holder.now(), later, partial(later)
        return found, str(uuid4()), lazy(), lazy.now()  # type: ignore[operator, attr-defined]

    assert names(body) == ["uuid.uuid4", "uuid.uuid4"]


def test_a_closure_without_a_value_yet_is_skipped() -> None:
    def body() -> object:
        return late()

    assert names(body) == []
    late = uuid4
    assert names(body) == ["uuid.uuid4"]


def test_more_functions_can_be_named() -> None:
    def body() -> object:
        return dt.datetime.max, names(body), os.path.basename("a")

    expected = [(body.__code__.co_firstlineno + 1, f"{__name__}.names")]
    assert nondeterministic_calls(body, also={f"{__name__}.names"}) == expected


def test_a_body_without_a_source_has_no_findings() -> None:
    space: dict[str, Any] = {"time": time}
    exec("def body():\n    return time.time()", space)
    assert nondeterministic_calls(space["body"]) == []
