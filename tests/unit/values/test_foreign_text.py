"""Text of strangers costs as much as it is long: no pattern and no check of ours looks twice."""

from __future__ import annotations

import ast
import json
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from trigger_celery.celery import crontabs
from trigger_celery.declare import schedule
from trigger_celery.errors import DecodeError
from trigger_celery.limits import DEPTH, ELEMENTS, KEYS, TEXT
from trigger_celery.values import filters, fingerprints
from trigger_celery.values.strict import elements, nests_deeper, parse
from trigger_celery_django.store.common import transactions

ROOT = Path(__file__).parents[3]
SIZES = (5_000, 20_000)
"""Four times as much text: linear work is four times as much, quadratic work sixteen times."""

PATTERNS: dict[str, list[Callable[[str], object]]] = {
    "trigger_celery/celery/crontabs.py": [crontabs._STEPS.fullmatch],
    "trigger_celery/declare/schedule.py": [pattern.fullmatch for _, pattern, _ in schedule.FIELDS],
    "trigger_celery/values/fingerprints.py": [
        partial(pattern.sub, mark) for pattern, mark in fingerprints._PLACEHOLDERS
    ],
    "trigger_celery/values/filters.py": [filters._PATH.fullmatch],
    "trigger_celery_django/admin/run_search.py": [re.compile("[0-9a-f]{4,32}").fullmatch],
    "trigger_celery_django/management/bulk.py": [re.compile(r"/([smhd])$").search],
    "trigger_celery_django/management/filters.py": [re.compile("[0-9a-f]{4,31}").fullmatch],
    # Its second pattern is given only what the first one matched.
    "trigger_celery_django/management/output.py": [
        re.compile(r"(\d+(?:\.\d+)?)|((?:\d+[smhdw])+)").fullmatch
    ],
    "trigger_celery_django/store/common/transactions.py": [
        transactions._READS.match,
        transactions._WRITES_IN_WITH.search,
    ],
}
"""All patterns of ours, by module, as they are used. Bodies and headers meet none of them."""

PIECES = (
    *("a", "1", "0x", "f", "-", ".", "a.", "1s", "*", "*/1", "/", ",", "#", "L", " ", "(", "\n"),
    *("'", '"', "`", "\\", '\\"', "'a", "a'", " '", ' "`', "0x1 ", "1f" * 4, "insert ", "with "),
    *("12345678-1234-1234-1234-", "a@", "a@a.", "a://", "/a", "~/", "C:\\", "1a", "00:00:"),
)
"""What hostile text repeats; each pattern meets all of it, with an end that fits and one not."""


def _sources() -> Iterator[tuple[str, Path]]:
    for package in (ROOT / "trigger_celery", ROOT / "django_app" / "trigger_celery_django"):
        for path in sorted(package.rglob("*.py")):
            name = path.relative_to(package.parent).as_posix()
            if not name.startswith("trigger_celery/testing/"):
                yield name, path


def test_every_pattern_of_ours_is_listed_here() -> None:
    # What a module does with the library re: a new one is to be listed, and so to be measured.
    using = {
        name
        for name, path in _sources()
        if "import re\n" in path.read_text("utf-8")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "re"
        and node.attr != "Pattern"
    }
    assert using == PATTERNS.keys()


def _growth(work: Callable[[int], object]) -> float:
    """Return how much more the longer text costs: processor time of this thread, at its best."""

    def least(size: int, tries: int) -> float:
        times = []
        for _ in range(tries):
            began = time.thread_time()
            work(size)
            times.append(time.thread_time() - began)
        return min(times)

    # What takes next to no time for the longer text grows with nothing.
    if least(SIZES[1], 1) < 0.005:
        return 0.0
    short, long = (least(size, 3) for size in SIZES)
    return long / max(short, 1e-6)


@pytest.mark.parametrize("module", PATTERNS)
def test_the_work_of_a_pattern_grows_with_its_text_alone(module: str) -> None:
    for compare in PATTERNS[module]:
        for piece in PIECES:
            texts = {size: piece * (size // len(piece)) + "!" for size in SIZES}
            growth = _growth(lambda size: compare(texts[size]))  # noqa: B023  # called at once
            assert growth < 10, (compare, piece)


HOSTILE: dict[str, Callable[[int], str]] = {
    "an unterminated string of escapes behind brackets": lambda n: "[" * 70 + '"' + '\\"' * n,
    "the same of escaped ends of lines": lambda n: "[" * 70 + '"' + "\\\n" * n,
    "backslashes without a string": lambda n: "[" * 70 + "\\" * n,
    "quotes": lambda n: "[" * 70 + '"' * n,
    "brackets that only open": lambda n: "[" * n,
    "brackets that close what is not open": lambda n: "[" * 70 + "]" * n,
    "pairs": lambda n: "[]" * n,
    "pairs in pairs": lambda n: "[" * n + "]" * n,
    "strings": lambda n: "[" * 70 + '"a",' * n,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_the_checks_before_json_is_parsed_grow_with_its_length_alone(name: str) -> None:
    make = HOSTILE[name]
    texts = {size: make(size) for size in SIZES}
    assert _growth(lambda size: nests_deeper(texts[size], DEPTH)) < 10
    assert _growth(lambda size: elements(texts[size])) < 10
    with pytest.raises(DecodeError):
        parse(texts[SIZES[0]].encode())


@pytest.mark.parametrize(
    "value",
    [
        *(
            [],
            {},
            [[], {}, [[]]],
            {"a": [1, 2, {"b": None}]},
            [{"a": 1}, {"b": []}],
            1,
            'a,[]{}"\\',
        ),
        *(["\\", '"', '\\"[', ",,,"], {"[,": {"]": "{"}}),
    ],
)
def test_values_are_counted_as_they_are_there(value: object) -> None:
    def count(each: Any) -> int:
        if isinstance(each, dict):
            return 1 + sum(map(count, each.values()))
        if isinstance(each, list):
            return 1 + sum(map(count, each))
        return 1

    assert elements(json.dumps(value)) == elements(json.dumps(value, indent=2)) == count(value)


def test_nesting_is_measured_outside_of_strings() -> None:
    deep = "[" * 5 + '"' + '[{\\"' * 50 + '\\\\"' + "]" * 5
    assert json.loads(deep)
    assert not nests_deeper(deep, 5)
    assert nests_deeper(deep, 4)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("[" + "1," * ELEMENTS + "1]", "more than 250,000 values"),
        ("[" + "[]," * ELEMENTS + "1]", "more than 250,000 values"),
        ("{" + ",".join(f'"{n}":1' for n in range(KEYS + 1)) + "}", "more than 10,000 keys"),
        ('"' + "a" * (TEXT + 1) + '"', "more than 1,000,000 bytes"),
        ("[" * (DEPTH + 1) + "]" * (DEPTH + 1), "more than 60 levels deep"),
    ],
    ids=["elements", "containers", "keys", "text", "depth"],
)
def test_json_over_a_limit_is_refused(body: str, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        parse(body.encode())


def test_json_at_the_limits_is_taken() -> None:
    whole = "[" + "1," * (ELEMENTS - 2) + "1]"
    assert len(parse(whole.encode())) == ELEMENTS - 1  # type: ignore[arg-type]  # a list
    assert parse(b"[" * DEPTH + b"]" * DEPTH)
    assert parse(b'"' + b"a" * TEXT + b'"') == "a" * TEXT
