"""The errors are the tree that their module draws, and they travel."""

from __future__ import annotations

import inspect
import pickle
import re
from datetime import timedelta

import pytest

from trigger_celery import errors
from trigger_celery.errors import (
    EncodeError,
    PayloadTooLarge,
    RetryAfter,
    RunFailed,
    TriggerError,
    Unwinding,
)

LINE = re.compile(r"^    ([│├└─ ]*)(\w+)(?: \((\w+)\))?(?:\s{2,}\S.*)?$")


def drawn() -> list[tuple[str, tuple[str, ...]]]:
    """Return each class of the drawing with the names of its bases."""
    above: list[str] = []
    tree: list[tuple[str, tuple[str, ...]]] = []
    for line in (
        (errors.__doc__ or "").partition("::\n")[2].partition("\n    An error")[0].split("\n")
    ):
        found = LINE.match(line)
        if found is None:
            continue
        prefix, name, builtin = found.groups()
        depth = len(prefix) // 4
        del above[depth:]
        parent = (
            above[-1] if above else "BaseException" if builtin == "BaseException" else "Exception"
        )
        bases = (parent,) if builtin in (None, "BaseException") else (parent, builtin)
        tree.append((name, bases))
        above.append(name)
    return tree


def declared() -> list[tuple[str, tuple[str, ...]]]:
    return [
        (name, tuple(base.__name__ for base in cls.__bases__))
        for name, cls in inspect.getmembers(errors, inspect.isclass)
        if cls.__module__.startswith(errors.__name__)
    ]


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    assert sorted(drawn()) == sorted(declared())
    assert len(drawn()) > 30


def test_unwinding_is_not_caught_by_except_exception() -> None:
    assert not issubclass(Unwinding, Exception)
    assert issubclass(TriggerError, Exception)


@pytest.mark.parametrize(
    "error",
    [
        EncodeError("$.a", "socket", "close it"),
        PayloadTooLarge("the result", 12, 10),
        RetryAfter(timedelta(seconds=5), "later"),
        RetryAfter(timedelta(seconds=5)),
        RunFailed("ValueError", "no"),
        RunFailed("ValueError", ""),
    ],
)
def test_errors_with_data_can_be_pickled(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_every_error_says_what_it_is() -> None:
    for name, _ in declared():
        assert inspect.getdoc(getattr(errors, name)), name
