"""What holds for every value and every text, looked for by Hypothesis."""

from __future__ import annotations

import contextlib
import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.exact import same
from trigger_celery.errors import DecodeError, EncodeError
from trigger_celery.values import JsonCodec
from trigger_celery.values.types import LOADERS

CODEC = JsonCodec()
PROFILE = settings(max_examples=150, deadline=None, derandomize=True, database=None)

# Surrogates are of category Cs, which Hypothesis leaves out unless it is asked.
TEXT = st.text(st.characters(codec=None, categories=None))

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXT,
    st.binary(),
    st.dates(),
    st.datetimes(),
    st.datetimes(timezones=st.timezones(), allow_imaginary=True),
    st.times(),
    st.timedeltas(),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.uuids(),
)
HASHABLE = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.frozensets(inner, max_size=4), st.lists(inner, max_size=4).map(tuple)
    ),
    max_leaves=6,
)
KEYS = st.one_of(TEXT, st.sampled_from(["$t", "v", "k", "n"]), HASHABLE)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=5).map(tuple),
        st.dictionaries(KEYS, inner, max_size=5),
        st.sets(HASHABLE, max_size=5),
    ),
    max_leaves=15,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | TEXT,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["v", "k", "n", "s", "fold", "zone", "a"]), inner),
        st.builds(
            lambda tag, form: {"$t": tag, **form},
            st.sampled_from([*LOADERS, "object", "x"]) | inner,
            st.dictionaries(st.sampled_from(["v", "k", "n", "s", "fold", "zone", "name"]), inner),
        ),
    ),
    max_leaves=12,
)


@given(VALUES)
@PROFILE
def test_every_value_round_trips_with_its_types(value: object) -> None:
    text = CODEC.encode(value)
    assert text.isascii()
    back = CODEC.decode(text)
    assert same(value, back)
    assert CODEC.encode(back) == text


@given(VALUES, st.lists(TEXT | st.integers(0, 3), max_size=6))
@PROFILE
def test_a_refusal_names_its_path_wherever_it_is(value: object, way: list[str | int]) -> None:
    bad: object = object()
    for part in reversed(way):
        bad = {part: bad} if isinstance(part, str) else [*[value] * part, bad]
    try:
        CODEC.encode(bad)
    except EncodeError as error:
        path = error.path
    assert path.startswith("$")
    assert error_parts(path) == len(way)


def error_parts(path: str) -> int:
    """How many segments a path has; keys are quoted unless they are identifiers."""
    count, position = 0, 1
    while position < len(path):
        count += 1
        if path[position] == ".":
            ends = [path.find(mark, position + 1) for mark in ".["]
            position = min((end for end in ends if end > 0), default=len(path))
        elif path[position + 1] == '"':
            position += 2
            while path[position] != '"':
                position += 2 if path[position] == "\\" else 1
            position += 2
        else:
            position = path.index("]", position) + 1
    return count


@given(TEXT)
@example('"\ud800"')
@PROFILE
def test_any_text_decodes_or_is_a_decode_error(text: str) -> None:
    with contextlib.suppress(DecodeError):
        CODEC.decode(text)


@given(st.binary())
@PROFILE
def test_any_bytes_read_as_text_decode_or_are_a_decode_error(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        CODEC.decode(data.decode("utf-8", "surrogateescape"))


@given(JSON)
@PROFILE
def test_any_json_decodes_to_what_can_be_encoded_or_is_a_decode_error(data: object) -> None:
    with contextlib.suppress(DecodeError):
        value = CODEC.decode(json.dumps(data))
        assert same(CODEC.decode(CODEC.encode(value)), value)


@given(VALUES, st.data())
@PROFILE
def test_a_damaged_text_decodes_or_is_a_decode_error(value: object, data: st.DataObject) -> None:
    text = CODEC.encode(value)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    with contextlib.suppress(DecodeError):
        CODEC.decode(text[:start] + data.draw(TEXT) + text[end:])
