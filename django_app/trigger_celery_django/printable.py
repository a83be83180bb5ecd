"""Makes text of strangers safe to print at a terminal."""

from __future__ import annotations


def visible(text: str) -> str:
    """Return the text with what is not printable escaped: it must not steer the terminal."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )
