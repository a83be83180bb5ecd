"""A stored value as nested ``<details>``: readable and foldable without script."""

from __future__ import annotations

import json
from collections.abc import Iterable

from django.utils.html import format_html
from django.utils.safestring import SafeString

from trigger_celery_django.printable import visible

NODES_LIMIT = 2_000
"""So many keys and items are shown; the rest is to be had as text."""
TEXT_LIMIT = 500
LENGTH_LIMIT = 64 * 1024
"""A value of more characters than this is shown by its beginning, as text."""
_OPEN_LEVELS = 2
_DEEPEST = 30


def json_tree(stored: str, name: str, *, is_open: bool = True) -> SafeString:
    """Return a value that is stored as JSON; what cannot be read is shown as it is, and as that.

    ``is_open`` shows its first two levels at once.
    """
    if len(stored) > LENGTH_LIMIT:
        return format_html(
            '<p class="q">{} characters, of which the first {} are shown</p>'
            '<pre class="raw">{}</pre>',
            f"{len(stored):,}",
            f"{LENGTH_LIMIT // 16:,}",
            visible(stored[: LENGTH_LIMIT // 16]),
        )
    try:
        value = json.loads(stored)
    except (ValueError, RecursionError) as error:
        return format_html(
            '<p class="bad">This is not JSON: {}</p><pre class="raw">{}</pre>',
            str(error),
            visible(stored[:TEXT_LIMIT]),
        )
    return _Tree().node(value, name, 0 if is_open else _OPEN_LEVELS)


class _Tree:
    """Draws one value, and counts what it draws."""

    def __init__(self) -> None:
        self._left = NODES_LIMIT

    def node(self, value: object, name: str, depth: int) -> SafeString:
        self._left -= 1
        if isinstance(value, dict):
            return self._folder(name, len(value), "key", value.items(), depth)
        if isinstance(value, list):
            items = ((str(index), each) for index, each in enumerate(value))
            return self._folder(name, len(value), "item", items, depth)
        text = visible(json.dumps(value, ensure_ascii=False))
        if len(text) > TEXT_LIMIT:
            text = f"{text[:TEXT_LIMIT]}… ({len(text):,} characters)"
        cls = "jstr" if isinstance(value, str) else "jnum"
        return format_html(
            '<div class="jl"><span class="jk">{}</span> <span class="{}">{}</span></div>',
            name,
            cls,
            text,
        )

    def _folder(
        self,
        name: str,
        size: int,
        what: str,
        items: Iterable[tuple[str, object]],
        depth: int,
    ) -> SafeString:
        inside = []
        for key, each in items:
            if self._left <= 0 or depth >= _DEEPEST:
                inside.append(format_html('<div class="jl q">{}</div>', "… more"))
                break
            inside.append(self.node(each, visible(key), depth + 1))
        return format_html(
            '<details class="j"{}><summary><span class="jk">{}</span> '
            '<span class="js">{} {}{}</span></summary>{}</details>',
            SafeString(" open") if depth < _OPEN_LEVELS else "",
            name,
            f"{size:,}",
            what,
            "" if size == 1 else "s",
            SafeString("".join(inside)),
        )
