"""Failures that a person would call the same have one fingerprint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from trigger_celery.values import describe
from trigger_celery.values.failures import is_own_file, normalised


def raised(make: Callable[[], Exception]) -> Exception:
    try:
        raise make()
    except Exception as error:
        return error


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("order 17 is gone", "order 4 is gone"),
        (
            "no run 81957c6d-2e86-45cc-973f-7b29c7dc7367",
            "no run 942f888a-07e4-41c1-85d6-033378a5570b",
        ),
        ("no key 'a b' here", "no key 'c' here"),
        ('no key "a" here', 'no key "b c" here'),
        pytest.param("object at 0x7fa0", "object at 0x8B10", id="addresses"),
        ("commit deadbeef01 lost", "commit 0123456789abcdef lost"),
    ],
)
def test_messages_that_differ_in_ids_only_are_the_same(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)
    first, second = (describe(ValueError(text)).fingerprint for text in (one, other))
    assert first == second


def test_an_apostrophe_opens_no_quoted_text() -> None:
    assert normalised("can't reach host's port") == "can't reach host's port"


def test_fingerprints_differ_by_class_message_and_place() -> None:
    def elsewhere() -> BaseException:
        try:
            raise ValueError("x")
        except ValueError as error:
            return error

    errors = [
        raised(lambda: ValueError("x")),
        raised(lambda: KeyError("x")),
        raised(lambda: ValueError("y")),
        elsewhere(),
    ]
    prints = {describe(error).fingerprint for error in errors}
    assert len(prints) == 4
    assert all(len(text) == 16 and int(text, 16) >= 0 for text in prints)


def test_fingerprints_do_not_depend_on_line_numbers(tmp_path: Path) -> None:
    prints = set()
    for padding in ("", "\n\n\n"):
        path = tmp_path / "job.py"
        names: dict[str, Callable[[], None]] = {}
        exec(compile(f"{padding}def job(): raise ValueError('x')", str(path), "exec"), names)
        with pytest.raises(ValueError, match="x") as caught:
            names["job"]()
        prints.add(
            describe(caught.value, own_frames=lambda name: name.endswith("job.py")).fingerprint
        )
    assert len(prints) == 1


def test_files_of_python_of_packages_and_of_this_library_are_not_the_authors() -> None:
    assert is_own_file(__file__)
    assert not is_own_file(json.__file__)
    assert not is_own_file(pytest.__file__)
    assert not is_own_file(describe.__code__.co_filename)
    assert not is_own_file("<string>")
