"""Text that the codec did not write is a DecodeError, whatever it says."""

from __future__ import annotations

import json
import sys

import pytest

from trigger_celery.errors import DecodeError
from trigger_celery.values import JsonCodec

CODEC = JsonCodec()

FOREIGN = [
    "",
    " ",
    "nope",
    "{",
    '{"a":}',
    "1 2",
    "[1],",
    "NaN",
    "[Infinity]",
    '{"a":-Infinity}',
    "1e400",
    "[-1e999]",
    '{"a":1,"a":1}',
    '{"x":{"$t":"tuple","$t":"set","v":[]}}',
    "9" * 5000,
    '"\n"',
    "\ufeff1",
    '{"$t":"unheard","v":1}',
    '{"\\u0024t":"unheard","v":1}',
    '{"$t":null}',
    '{"$t":["tuple"]}',
    '{"$t":"tuple"}',
    '{"$t":"tuple","v":{}}',
    '{"$t":"tuple","v":"ab"}',
    '{"$t":"tuple","v":[],"w":1}',
    '{"$t":"tuple","v":[],"self":1}',
    '{"$t":"set","v":[[]]}',
    '{"$t":"set","v":[1,1]}',
    '{"$t":"dict","k":["a"],"v":[]}',
    '{"$t":"dict","k":["a","a"],"v":[1,2]}',
    '{"$t":"dict","k":[1,true],"v":[1,2]}',
    '{"$t":"dict","k":[[]],"v":[1]}',
    '{"$t":"bytes","v":"***"}',
    '{"$t":"bytes","v":5}',
    '{"$t":"decimal","v":"NaN"}',
    '{"$t":"decimal","v":"x"}',
    '{"$t":"decimal","v":1.5}',
    '{"$t":"uuid","v":"x"}',
    '{"$t":"path","v":1}',
    '{"$t":"date","v":"2024-13-01"}',
    '{"$t":"datetime","v":"x"}',
    '{"$t":"datetime","v":"2024-01-01T00:00:00","fold":7}',
    '{"$t":"datetime","v":"2024-01-01T00:00:00","name":"X"}',
    '{"$t":"datetime","v":"2024-01-01T00:00:00+00:00","zone":"No/Where"}',
    '{"$t":"datetime","v":"2024-01-01T00:00:00+00:00","zone":"../../etc/passwd"}',
    '{"$t":"datetime","v":"2024-01-01T00:00:00+00:00","zone":5}',
    '{"$t":"timedelta","v":[999999999999,0,0]}',
    '{"$t":"timedelta","v":[1]}',
    '{"$t":"failure","v":{}}',
    '{"$t":"failure","v":null}',
    '{"$t":"object"}',
    '{"$t":"object","n":"missing.Here","v":{}}',
    '{"$t":"object","n":["os.system"],"v":{}}',
]


@pytest.mark.parametrize("text", FOREIGN, ids=lambda text: repr(text)[:50])
def test_foreign_text_is_a_decode_error(text: str) -> None:
    for whole in (text, f"[0,{text}]"):
        with pytest.raises(DecodeError):
            CODEC.decode(whole)


def test_white_space_around_a_value_is_no_error() -> None:
    assert CODEC.decode(' \n{"a": [1, 2]}\t') == {"a": [1, 2]}


def test_a_text_that_is_no_text_is_a_decode_error() -> None:
    with pytest.raises(DecodeError):
        CODEC.decode(b"1")  # type: ignore[arg-type]


@pytest.mark.parametrize("depth", [433, 1_500, 100_000])
@pytest.mark.parametrize(
    ("opening", "closing"),
    [("[", "]"), ('{"a":', "}"), ('{"$t":"tuple","v":[', "]}"), ('{"$t":"frozenset","v":[', "]}")],
)
def test_text_that_is_too_deep_is_a_decode_error(opening: str, closing: str, depth: int) -> None:
    with pytest.raises(DecodeError, match="nested too deeply"):
        CODEC.decode(opening * depth + "1" + closing * depth)


def test_brackets_inside_of_texts_are_not_depth() -> None:
    values: list[object] = ["[{" * 1000, ['"[' * 1000, "\\[" * 1000], [[]] * 1000]
    for value in [*values, [{"a": []}] * 1000]:
        assert CODEC.decode(CODEC.encode(value)) == value


def test_an_unknown_name_says_what_to_do() -> None:
    with pytest.raises(DecodeError, match="no class is registered as 'shop.Order'.* import the"):
        CODEC.decode('{"$t":"object","n":"shop.Order","v":{}}')


def test_reading_imports_nothing_that_the_text_names() -> None:
    before = set(sys.modules)
    for tag in ("antigravity", "this.that", "object"):
        with pytest.raises(DecodeError):
            CODEC.decode(json.dumps({"$t": tag, "n": "antigravity.fly", "v": {}}))
    assert set(sys.modules) == before
