"""What JSON text must not have: too deep a nesting, and numbers that no database takes."""

from __future__ import annotations

import re
from typing import NoReturn

from trigger_celery.errors import DecodeError

_NOT_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[^][{}"]+')
_ALIKE = str.maketrans("{}", "[]")


def nests_deeper(text: str, limit: int) -> bool:
    """Whether there are more than ``limit`` containers within containers in this text.

    Text that is no JSON may get either answer; the parser finds that out.
    """
    # With fewer brackets than that there is nothing to measure, which is the common case.
    if text.count("[") + text.count("{") <= limit:
        return False
    brackets = _NOT_BRACKETS.sub("", text).translate(_ALIKE)
    for _ in range(limit):
        # Each round takes away the innermost level, at the speed of C.
        brackets = brackets.replace("[]", "")
        if not brackets:
            return False
    return True


def finite(text: str) -> float:
    """Return the number. Raises :exc:`DecodeError` if it is too large for one."""
    value = float(text)
    if value - value != 0.0:
        raise DecodeError(f"the number {text[:40]} is out of range")
    return value


def no_constant(name: str) -> NoReturn:
    """Refuse ``NaN`` and ``Infinity``, which Python's parser would take."""
    raise DecodeError(f"{name} is not JSON")
