"""The source of a task has a digest that changes exactly when its text does."""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trigger_celery.declare.source import TaskSource, source_of
from trigger_celery.errors import DeclarationError


def keep(fn: Callable[[], object]) -> Callable[[], object]:
    return fn


def keep_with(*options: str) -> Callable[[Callable[[], object]], Callable[[], object]]:
    return lambda fn: fn


def test_the_text_is_dedented_and_begins_with_the_decorators() -> None:
    @keep_with(
        "an option",
    )
    @keep
    def body() -> object:
        return "text"

    source = source_of(body)
    assert source.text == (
        '@keep_with(\n    "an option",\n)\n@keep\ndef body() -> object:\n    return "text"\n'
    )
    assert source.digest == hashlib.sha256(source.text.encode()).hexdigest()
    assert source.first_line == body.__code__.co_firstlineno


def test_a_decorator_in_parentheses_over_lines_belongs_to_the_text() -> None:
    # fmt: off
    @(
        keep
    )
    def body() -> object: ...
    # fmt: on

    assert source_of(body).text == "@(\n    keep\n)\ndef body() -> object: ...\n"


def test_the_same_text_elsewhere_has_the_same_digest_and_another_text_has_not() -> None:
    def body() -> object:  # type: ignore[no-redef, unused-ignore]
        return 1

    one = source_of(body)

    def body() -> object:  # type: ignore[no-redef, unused-ignore]
        return 1

    same = source_of(body)

    def body() -> object:  # type: ignore[no-redef, unused-ignore]
        return 2

    assert one.digest == same.digest != source_of(body).digest
    assert one.first_line < same.first_line


def test_the_file_is_relative_to_the_import_path() -> None:
    def body() -> None: ...

    body.__module__ = "shop.orders.tasks"
    assert source_of(body).file == f"shop/orders/{Path(__file__).name}"
    body.__module__ = "tasks"
    assert source_of(body).file == Path(__file__).name


def test_the_file_of_a_package_is_its_init_module() -> None:
    assert source_of(json.dumps).file == "json/__init__.py"


def test_the_source_of_a_wrapped_function_is_that_of_the_innermost() -> None:
    def body() -> int:
        return 1

    @functools.wraps(body)
    def wrapper() -> int:
        return body()

    assert source_of(wrapper) == source_of(body)


SCRIPT = """
from trigger_celery.declare.source import source_of
names = {}
exec("def body(x):\\n    return x in {'a', 'b', ('c', 1)}, lambda: %s", names)
print(source_of(names["body"]).digest)
"""


def digest_in_a_new_process(value: str, seed: int) -> str:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT % value],
        env={"PYTHONHASHSEED": str(seed), "PYTHONPATH": str(Path(__file__).parents[2])},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_without_a_source_the_digest_of_the_bytecode_is_the_same_in_every_process() -> None:
    first = digest_in_a_new_process("1", 1)
    assert first == digest_in_a_new_process("1", 2) != digest_in_a_new_process("2", 1)


def test_without_a_source_the_text_is_empty() -> None:
    names: dict[str, Any] = {"__name__": "shop.tasks"}
    exec("\n\ndef body(): ...", names)
    source = source_of(names["body"])
    assert source == TaskSource(digest=source.digest, text="", file="shop/<string>", first_line=3)


def test_what_has_no_python_source_at_all_is_refused() -> None:
    with pytest.raises(DeclarationError, match="built-in function len"):
        source_of(len)
