"""Makes text of strangers safe to print at a terminal."""

from __future__ import annotations

import json


def visible(text: str) -> str:
    """Return the text with what is not printable escaped: it must not steer the terminal."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def visible_json(text: str) -> str:
    """Return JSON with what is not printable in its strings escaped as JSON does it."""
    return "\n".join("".join(map(_escaped, line)) for line in text.split("\n"))


def _escaped(each: str) -> str:
    return each if each.isprintable() else json.dumps(each)[1:-1]
