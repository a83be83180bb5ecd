"""Python source as a table: a line each, coloured, with what happened at it."""

from __future__ import annotations

import io
import keyword
import tokenize
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.utils.html import escape, format_html
from django.utils.safestring import SafeString

from trigger_celery_django.drawing.badges import icon


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What happened at a line: in words, with an icon, as a tone of the line's result.

    ``row`` is a class of the whole line: ``hit`` for the chosen one, ``err`` for one that raised,
    ``hit wait`` for one that is waited at.
    """

    words: str
    icon: str = ""
    tone: str = ""
    row: str = ""


def source_lines(
    lines: Iterable[tuple[int, str]], marks: Mapping[int, Mark], *, results: bool = True
) -> SafeString:
    """Return the rows of a table for lines of source with their numbers."""
    numbered = list(lines)
    coloured = _coloured([text for _, text in numbered])
    return SafeString(
        "".join(
            _line(number, markup, marks.get(number), results=results)
            for (number, _), markup in zip(numbered, coloured, strict=True)
        )
    )


def _line(number: int, markup: str, mark: Mark | None, *, results: bool) -> str:
    sign = icon(mark.icon, mark.tone) if mark is not None and mark.icon else ""
    result = ""
    if results:
        tone, words = ("", "") if mark is None else (mark.tone, mark.words)
        result = format_html('<td class="res {}">{}</td>', tone, words)
    return (
        f'<tr class="{mark.row if mark else ""}"><td class="ln">{number}</td>'
        f'<td class="gut">{sign}</td><td class="src"><code>{markup or " "}</code></td>{result}</tr>'
    )


def _coloured(lines: list[str]) -> list[str]:
    """Return each line as markup: keywords, strings, comments and numbers have a class.

    A piece of a file need not be whole: what cannot be read as Python stays plain.
    """
    spans: dict[int, list[tuple[int, int, str]]] = {}
    try:
        for token in tokenize.generate_tokens(io.StringIO("\n".join(lines)).readline):
            if cls := _class_of(token):
                _cover(spans, token, cls, lines)
    except (tokenize.TokenError, IndentationError, SyntaxError):
        pass  # what was read until then keeps its colours
    return [_painted(text, spans.get(row, ())) for row, text in enumerate(lines, 1)]


def _cover(
    spans: dict[int, list[tuple[int, int, str]]],
    token: tokenize.TokenInfo,
    cls: str,
    lines: list[str],
) -> None:
    """Note which columns a token covers in each of its lines."""
    (first, begins), (last, ends) = token.start, token.end
    for row in range(first, last + 1):
        left = begins if row == first else 0
        right = ends if row == last else len(lines[row - 1])
        spans.setdefault(row, []).append((left, right, cls))


_STRINGS = {
    tokenize.STRING,
    *(getattr(tokenize, f"FSTRING_{part}", -1) for part in ("START", "MIDDLE", "END")),
}


def _class_of(token: tokenize.TokenInfo) -> str:
    if token.type in _STRINGS:
        return "s"
    if token.type == tokenize.COMMENT:
        return "c"
    if token.type == tokenize.NUMBER:
        return "m"
    is_keyword = token.type == tokenize.NAME and keyword.iskeyword(token.string)
    return "k" if is_keyword else ""


def _painted(text: str, spans: Iterable[tuple[int, int, str]]) -> str:
    out, at = [], 0
    for left, right, cls in spans:
        if left < at:
            continue
        painted = escape(text[left:right])
        out.append(f'{escape(text[at:left])}<span class="{cls}">{painted}</span>')
        at = right
    return "".join([*out, escape(text[at:])])
