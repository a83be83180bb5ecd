"""Which failures are the same: a short digest of what does not vary between them."""

from __future__ import annotations

import os
import re
import sysconfig
from collections.abc import Iterable
from hashlib import sha256
from traceback import FrameSummary

FRAMES = 5
_PREFIX = 2_000

_PLACEHOLDERS = (
    (re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"), "<uuid>"),
    (re.compile(r"(?<!\w)(?:'[^'\n]*'|\"[^\"\n]*\"|`[^`\n]*`)(?!\w)"), "<text>"),
    (re.compile(r"\b0[xX][0-9a-fA-F]+\b"), "<hex>"),
    (re.compile(r"\b(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{8,}\b"), "<hex>"),
    (re.compile(r"\d+"), "<n>"),
)

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
    numbers do not, so that an edit elsewhere in the file keeps the group together.
    """
    frames = [f"{frame.name} {os.path.basename(frame.filename)}" for frame in stack][-FRAMES:]
    text = "\n".join([kind, normalised(message), *frames])
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def normalised(message: str) -> str:
    """``message`` with placeholders for numbers, hex ids, UUIDs and quoted texts."""
    text = message[:_PREFIX]
    for pattern, placeholder in _PLACEHOLDERS:
        text = pattern.sub(placeholder, text)
    return text


def is_own_file(filename: str) -> bool:
    """Whether a frame of this file is the author's: not Python's, a package's or ours."""
    if filename.startswith("<") or "site-packages" in filename or "dist-packages" in filename:
        return False
    return not os.path.abspath(filename).startswith(_NOT_OWN)
