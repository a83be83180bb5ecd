"""Which failures a person would call the same: a fingerprint over class, message and place.

A deployment moves lines, renames folders and raises the version of Python; an order has another
id. None of that makes another group.
"""

from __future__ import annotations

import os
import re
import sysconfig
from collections.abc import Iterable, Iterator
from hashlib import sha256
from traceback import FrameSummary

FRAMES = 5
_PREFIX = 2_000

_NUMBER = r"\d+(?:[.,]\d+)*"
_PLACEHOLDERS = (
    (re.compile(r"(?<![a-zA-Z0-9+.-])[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"`<>]+"), "<url>"),
    (re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), "<email>"),
    (re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"), "<uuid>"),
    (
        re.compile(
            r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)?"
            r"(?:\s?(?:Z|UTC|[+-]\d\d:?\d\d))?"
            r"|\b\d{1,2}:\d\d:\d\d(?:[.,]\d+)?"
        ),
        "<time>",
    ),
    (re.compile(r"(?<![\w<>])(?:[A-Za-z]:\\[^\s'\"`:]+|~?(?:/[^\s'\"`:,;()/]+){2,}/?)"), "<path>"),
    (re.compile(r"(?<!\w)(?:'[^'\n]*'|\"[^\"\n]*\"|`[^`\n]*`)(?!\w)"), "<text>"),
    (re.compile(r"\b0[xX][0-9a-fA-F]+\b"), "<hex>"),
    (re.compile(r"\b(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{8,}\b"), "<hex>"),
    # Ids as payment services and ULID make them: too long and too mixed for a word.
    (re.compile(r"(?<![A-Za-z0-9])(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{10,}"), "<id>"),
    (re.compile(_NUMBER), "<n>"),
)

_INLINED = frozenset({"<listcomp>", "<dictcomp>", "<setcomp>"})
"""Frames that Python has had until 3.11 only."""

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_NOT_OWN = tuple(
    {
        os.path.join(folder, "")
        for folder in (
            os.path.dirname(os.path.abspath(os.__file__)),
            sysconfig.get_path("purelib"),
            sysconfig.get_path("platlib"),
            _PACKAGE,
        )
    }
)


def fingerprint(kind: str, message: str, stack: Iterable[FrameSummary]) -> str:
    """16 hex digits over the class, the message without its variable parts, and the frames.

    ``stack`` holds the author's frames, innermost last: function and file name count, line
    numbers do not, so that an edit elsewhere in the file keeps the group together. A recursion
    counts as one frame however deep it is.
    """
    text = "\n".join([kind, normalised(message), *list(_frames(stack))[-FRAMES:]])
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _frames(stack: Iterable[FrameSummary]) -> Iterator[str]:
    last = ""
    for frame in stack:
        name = f"{frame.name} {short_name(frame.filename)}"
        if frame.name not in _INLINED and name != last:
            yield name
            last = name


def short_name(filename: str) -> str:
    """Return the name of a file and of its folder, without a number that a release gave it."""
    parts = filename.replace("\\", "/").rsplit("/", 2)[-2:]
    return normalised("/".join(part for part in parts if part))


def normalised(message: str) -> str:
    """``message`` with placeholders for what differs each time.

    That is URLs, e-mail addresses, UUIDs, times, paths, quoted texts, hex numbers, ids and numbers.
    """
    text = message[:_PREFIX]
    for pattern, placeholder in _PLACEHOLDERS:
        text = pattern.sub(placeholder, text)
    return text


def is_own_file(filename: str) -> bool:
    """Whether a frame of this file is the author's: not Python's, a package's or ours."""
    if filename.startswith("<") or "site-packages" in filename or "dist-packages" in filename:
        return False
    return not os.path.abspath(filename).startswith(_NOT_OWN)
