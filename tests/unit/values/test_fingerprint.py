"""Failures that a person would call the same have one fingerprint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from traceback import FrameSummary

import pytest

from trigger_celery.values import describe
from trigger_celery.values.fingerprints import fingerprint, is_own_file, normalised


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
        ("no mail to ann@shop.example", "no mail to bob.b+x@mail.shop.example"),
        (
            "GET https://pay.example/v1/charges/17?key=a failed",
            "GET https://pay.example/v1/refunds/4 failed",
        ),
        ("cannot open /srv/releases/17/media/a.png", "cannot open /tmp/b/c.pdf"),
        ("cannot open C:\\media\\a.png", "cannot open D:\\b.png"),
        ("late since 2026-12-01T09:30:00.123Z", "late since 2025-01-31 23:59:59+01:00"),
        ("late since 09:30:00", "late since 23:59:59.5"),
        ("charge ch_3OqXYZ1a2b3c4D declined", "charge ch_9ZzAa0b1c2d3e4F5 declined"),
        ("run 01J8ZQ4K9W0V5T6R7E8Y9XABCD is gone", "run 01HF2M3N4P5Q6R7S8T9V0WXYZA is gone"),
        ("took 1.5 s of 2,000", "took 17 s of 3"),
    ],
)
def test_messages_that_differ_in_ids_only_are_the_same(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)
    first, second = (describe(ValueError(text)).fingerprint for text in (one, other))
    assert first == second


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("the card was declined", "the card has expired"),
        ("order 17 is gone", "customer 17 is gone"),
        ("read timed out", "connect timed out"),
        ("cannot open /srv/a/b", "cannot delete /srv/a/b"),
        ("and/or", "and/or not"),
        ("handler_v2_of_charges failed", "handler_v2_of_refunds failed"),
    ],
)
def test_messages_that_differ_in_words_are_not_the_same(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


def frames(*named: tuple[str, str, int]) -> list[FrameSummary]:
    return [
        FrameSummary(file, line, name, lookup_line=False, line="") for name, file, line in named
    ]


BUY = ("buy", "/srv/releases/17/shop/tasks.py", 9)
CHARGE = ("charge", "/srv/releases/17/shop/tasks.py", 30)


@pytest.mark.parametrize(
    ("same", "stack"),
    [
        (True, frames(BUY, CHARGE)),
        (True, frames(BUY, ("charge", "/srv/releases/17/shop/tasks.py", 99))),
        (True, frames(("buy", "/app/shop/tasks.py", 9), ("charge", "/app/shop/tasks.py", 30))),
        (True, frames(("buy", "C:\\app\\shop\\tasks.py", 9), CHARGE)),
        (True, frames(BUY, ("<listcomp>", "/srv/releases/17/shop/tasks.py", 10), CHARGE)),
        (True, frames(BUY, BUY, BUY, CHARGE, CHARGE)),
        (False, frames(BUY, ("refund", "/srv/releases/17/shop/tasks.py", 30))),
        (False, frames(BUY, ("charge", "/srv/releases/17/bank/tasks.py", 30))),
        (False, frames(CHARGE)),
    ],
)
def test_the_place_of_a_failure_outlives_deploys_and_versions_of_python(
    same: bool, stack: list[FrameSummary]
) -> None:
    expected = fingerprint("shop.Declined", "order 17", frames(BUY, CHARGE))
    assert expected == "3c1dff07837e30fb", "groups of a deployment would all be new"
    assert (fingerprint("shop.Declined", "order 4", stack) == expected) is same


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
