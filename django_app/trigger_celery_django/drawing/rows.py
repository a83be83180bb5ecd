"""A trace as rows: a list of links, each with the picture of its time beside it.

All x are shares of the width, written as percentages, so a row fits any screen without script and
without style. Every text is escaped here, by hand: through ``format_html`` a row costs four times
as much, and a trace has hundreds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils.html import escape as escaped
from django.utils.safestring import SafeString

from trigger_celery_django.drawing.scale import Part, Scale
from trigger_celery_django.drawing.times import spoken
from trigger_celery_django.printable import visible
from trigger_celery_django.trace import SpanKind, TraceSpan

_NOTE = 34
"""So many characters of a note beside a bar are shown."""
_ICONS = {
    SpanKind.RUN: "run",
    SpanKind.QUEUED: "queued",
    SpanKind.PAUSED: "paused",
    SpanKind.SEGMENT: "worker",
    SpanKind.STEP: "step",
    SpanKind.RECALLED: "checkpoint",
    SpanKind.FAILED: "step",
    SpanKind.WAIT: "waiting",
    SpanKind.BACKOFF: "backoff",
    SpanKind.CRASH: "crash",
    SpanKind.COPIED: "checkpoint",
    SpanKind.MORE: "more",
}
_TONES = {
    SpanKind.STEP: "ok",
    SpanKind.RECALLED: "ok",
    SpanKind.FAILED: "bad",
    SpanKind.WAIT: "warn",
    SpanKind.CRASH: "crash",
}
_RUN_TONES = {"completed": "ok", "failed": "bad", "timed_out": "bad", "suspended": "warn"}
_CODE = frozenset({SpanKind.STEP, SpanKind.FAILED, SpanKind.RECALLED})
_PATTERNS = {"wait": "tc-hatch", "backoff": "tc-dots", "crash": "tc-cross"}
_LEGEND = {
    "ok": "ran",
    "running": "runs",
    "failed": "failed",
    "wait": "waited",
    "queued": "in line",
    "backoff": "retry delay",
    "crash": "worker lost",
    "dia": "from checkpoint",
}
_MEANT = {
    SpanKind.STEP: "ok",
    SpanKind.FAILED: "failed",
    SpanKind.WAIT: "wait",
    SpanKind.BACKOFF: "backoff",
    SpanKind.CRASH: "crash",
    SpanKind.QUEUED: "queued",
    SpanKind.PAUSED: "queued",
    SpanKind.RECALLED: "dia",
    SpanKind.COPIED: "dia",
}


@dataclass(frozen=True, slots=True)
class TraceRow:
    """A span, and how deep in the tree it stands (the run itself is at level 1)."""

    span: TraceSpan
    level: int


def rows_of(trace: TraceSpan, level: int = 1) -> Iterator[TraceRow]:
    """Yield a span and all inside it, from top to bottom."""
    yield TraceRow(trace, level)
    for span in trace.spans:
        yield from rows_of(span, level + 1)


@dataclass(frozen=True, slots=True)
class Timeline:
    """The time that a trace covers: from ``began`` to ``now``, on a scale."""

    scale: Scale
    began: datetime
    now: datetime
    is_live: bool

    def second(self, moment: datetime) -> float:
        """Return how many seconds after the beginning a moment was."""
        return max(0.0, (moment - self.began).total_seconds())

    def x(self, moment: datetime) -> float:
        """Return where a moment lies, 0 to 1."""
        return self.scale.x(self.second(moment))


_BUSY = frozenset(
    {SpanKind.SEGMENT, SpanKind.STEP, SpanKind.FAILED, SpanKind.CRASH, SpanKind.BACKOFF}
)


def timeline(trace: TraceSpan, now: datetime, *, fold: bool = True) -> Timeline:
    """Return the timeline of a trace; what lasts is cut off at ``now``."""
    is_live = trace.ended_at is None
    spans = [row.span for row in rows_of(trace)]
    ends = [span.ended_at for span in spans if span.ended_at is not None]
    last = now if is_live else max([*ends, trace.began_at])
    began = min(span.began_at for span in spans if span.kind is not SpanKind.COPIED)

    def second(moment: datetime) -> float:
        return (moment - began).total_seconds()

    work = [
        (second(span.began_at), second(span.ended_at or last))
        for span in spans
        if span.kind in _BUSY
    ]
    waits = [s.until for s in spans if s.until is not None and s.ended_at is None]
    until = second(min(waits)) if is_live and waits else None
    scale = Scale(work, second(last), until=until, fold=fold)
    return Timeline(scale, began, last, is_live)


def rows(
    shown: Sequence[TraceRow], line: Timeline, *, selected: str = "", query: str = ""
) -> SafeString:
    """Return the list items of a trace; each links to ``?span=`` of itself, after ``query``."""
    return SafeString("".join(_row(row, line, selected, query) for row in shown))


def _row(row: TraceRow, line: Timeline, selected: str, query: str) -> str:
    span = row.span
    tone = _TONES.get(span.kind, "")
    if span.kind is SpanKind.RUN:
        tone = _RUN_TONES.get(span.state, "")
    toggle = f'<span class="tw">{_glyph("down")}</span>' if span.spans else ""
    beside = f' <span class="sub">{_text(_beside(span))}</span>' if _beside(span) else ""
    chosen, current = (" sel", ' aria-current="true"') if span.id == selected else ("", "")
    parent = " data-parent" if span.spans else ""
    mono = " mono" if span.kind in _CODE else ""
    kind = span.kind.value.replace(" ", "-")
    link = f"?{query}span={_text(span.id)}#inspector"
    return (
        f'<li class="row k-{kind}{chosen}" data-l="{row.level}"{parent}>'
        f'<a class="name l{min(row.level, 9)}" href="{link}"{current}>'
        f"{toggle}{_glyph(_ICONS[span.kind], tone)}"
        f'<span class="t{mono}">{_text(_name(span))}</span>'
        f'{beside}<span class="sr">{_text(_spoken(span, line))}</span></a>'
        f'<svg class="bars" aria-hidden="true">{_picture(span, line)}</svg></li>'
    )


def _text(text: str) -> str:
    """Return a text of strangers as markup: nothing of it is a tag, or turns the line around."""
    return escaped(visible(text))


def _glyph(name: str, tone: str = "") -> str:
    return f'<svg class="i {tone}"><use href="#i-{name}"/></svg>'


def _name(span: TraceSpan) -> str:
    return "retry delay" if span.kind is SpanKind.BACKOFF else span.name


def _beside(span: TraceSpan) -> str:
    if span.attempt > 1 and span.kind in (SpanKind.STEP, SpanKind.FAILED):
        return f"attempt {span.attempt}"
    if span.kind is SpanKind.FAILED:
        return "attempt 1"
    return span.detail if span.kind is SpanKind.WAIT else ""


def _spoken(span: TraceSpan, line: Timeline) -> str:
    """Return what a row says beside its name to those who cannot see the bar."""
    said = [
        span.state or span.kind.value,
        spoken(span.lasted(line.now)),
        f"{spoken(span.began_at - line.began)} after the start",
    ]
    return ", " + ", ".join([*said, span.detail] if span.detail else said)


def _percent(x: float) -> str:
    return f"{max(0.0, min(1.0, x)) * 100:.2f}%"


def _picture(span: TraceSpan, line: Timeline) -> str:
    """Return the bar of a span, a label where there is room, and marks."""
    began, ended = line.x(span.began_at), line.x(span.ended_at or line.now)
    length = spoken(span.lasted(line.now))
    stop = line.scale.next_fold(ended)
    match span.kind:
        case SpanKind.RUN:
            return _run(span, began, ended, line)
        case SpanKind.SEGMENT:
            width = _percent(max(ended - began, 0.006))
            x = _percent(began)
            rail = f'<rect class="seg" x="{x}" width="{width}" y="12" height="4" rx="2"/>'
            return rail + _label(began, ended, length, span.detail, "bad", stop=stop)
        case SpanKind.RECALLED | SpanKind.COPIED:
            note = "from checkpoint, not run again"
            return _diamond(began) + _label(began - 0.013, began + 0.008, "", note, "cp", stop=stop)
        case SpanKind.MORE:
            return ""
        case SpanKind.WAIT:
            return _wait(span, line, began, ended, length, stop)
        case SpanKind.QUEUED | SpanKind.PAUSED:
            return _bar("queued", began, ended) + _label(began, ended, length, "", stop=stop)
        case SpanKind.BACKOFF:
            note = "until the next attempt"
            return _bar("backoff", began, ended) + _label(
                began, ended, length, note, plate="card", stop=stop
            )
        case SpanKind.CRASH:
            note = "until the lease ran out"
            return _bar("crash", began, ended) + _label(
                began, ended, length, note, plate="crash", stop=stop
            )
        case SpanKind.FAILED:
            note = span.detail.partition(":")[0]
            return _bar("failed", began, ended) + _label(
                began, ended, length, note, "bad", stop=stop
            )
    return _bar("ok", began, ended) + _label(began, ended, length, "", stop=stop)


def _run(span: TraceSpan, began: float, ended: float, line: Timeline) -> str:
    state = {"suspended": "waiting", "timed_out": "failed"}.get(span.state, span.state)
    rail = (
        f'<rect class="whole {state}" x="{_percent(began)}" width="{_percent(ended - began)}" '
        f'y="11" height="6" rx="3"/>'
    )
    if span.began_at == line.began:
        return rail
    return rail + _label(began, ended, spoken(span.lasted(line.now)), "", stop=1.0)


def _wait(
    span: TraceSpan, line: Timeline, began: float, ended: float, length: str, stop: float
) -> str:
    bar = _bar("wait", began, ended)
    if span.ended_at is not None:
        return bar + _label(began, ended, length, "", plate="wait", stop=stop)
    if span.until is None or span.until <= line.now:
        return bar + _label(began, ended, f"{length} so far", "", plate="wait", stop=stop)
    due = line.x(span.until)
    ahead = (
        f'<rect class="b ahead" x="{_percent(ended)}" width="{_percent(due - ended)}" y="7" '
        f'height="14" rx="3"/>'
        f'<line class="due" x1="{_percent(due - 0.001)}" x2="{_percent(due - 0.001)}" y1="3" '
        f'y2="25"/>'
    )
    return bar + ahead + _label(began, 1.0, f"{length} so far", "")


def _diamond(x: float) -> str:
    path = '<path class="dia" d="M0 8.5L5.5 14 0 19.5-5.5 14z"/>'
    return f'<svg x="{_percent(x)}" y="0" overflow="visible">{path}</svg>'


def _bar(cls: str, began: float, ended: float) -> str:
    width = max(ended - began, 0.006)
    fill = f' fill="url(#{_PATTERNS[cls]})"' if cls in _PATTERNS else ""
    return (
        f'<rect class="b {cls}" x="{_percent(min(began, 1 - width))}" width="{_percent(width)}" '
        f'y="7" height="14" rx="3"{fill}/>'
    )


def _label(
    began: float,
    ended: float,
    text: str,
    note: str,
    cls: str = "",
    *,
    plate: str = "",
    stop: float = 1.0,
) -> str:
    """Right of the bar if the words fit before the next fold, else left, else inside on a plate.

    Widths are guessed for the narrowest column of a desktop (620 px) and, for the length alone, of
    a phone (330 px), where notes are hidden.
    """
    note = note if len(note) <= _NOTE else f"{note[: _NOTE - 1]}…"
    pixels = len(text) * 6.6 + len(note) * 6.1 + 16
    width = max(pixels / 620, (len(text) * 6.6 + 10) / 330)
    under = ""
    if ended + width <= stop:
        x, dx = ended, 7
    elif began - width >= 0:
        x, dx, cls = began, -7, f"{cls} e"
    else:
        x, dx, cls = began, 9, f"{cls} in"
        under = _plate(x, text, note, plate) if plate else ""
    more = f'<tspan class="n" dx="{6 if text else 0}">{_text(note)}</tspan>' if note else ""
    place = f'x="{_percent(x)}" dx="{dx}" y="18"'
    return f'{under}<text class="l {cls}" {place}>{_text(text)}{more}</text>'


def _plate(x: float, text: str, note: str, kind: str) -> str:
    at, extra = (0, 22) if kind == "card" else (3, 16)
    width = len(text) * 6.1 + len(note) * 5.6 + extra
    return (
        f'<svg x="{_percent(x)}" y="0" overflow="visible">'
        f'<rect class="plate {kind}" x="{at}" y="8" width="{width:.0f}" height="12" rx="2"/></svg>'
    )


def axis(line: Timeline) -> SafeString:
    """Return the head of the time column: round times below, lengths of folded stretches above."""
    scale = line.scale
    out = [
        f'<text class="tick{" odd" if number % 2 else ""}" x="{_percent(tick.x)}" '
        f'dx="{4 if tick.x else 0}" y="31">{_tick_word(tick.second)}</text>'
        for number, tick in enumerate(scale.ticks())
    ]
    for each in scale.stretches:
        if each.part is Part.WORK:
            continue
        middle = _percent((each.left + each.right) / 2)
        ahead = each.part is Part.FUTURE
        words = _seconds(each.ended - each.began) + (" left" if ahead else "")
        out.append(
            f'<text class="brk{" fut" if ahead else ""}" x="{middle}" y="13" '
            f'text-anchor="middle">{words}</text>'
        )
        if not ahead:
            out.append(
                f'<text class="tick idle" x="{middle}" y="31" text-anchor="middle">idle</text>'
            )
    if line.is_live:
        x = line.x(line.now)
        anchor = "end" if x > 0.97 else "middle"
        out.append(f'<text class="nowt" x="{_percent(x)}" y="31" text-anchor="{anchor}">now</text>')
    if scale.future is not None:
        out.append('<text class="brk dl" x="100%" y="31" text-anchor="end">deadline</text>')
    return SafeString("".join(out))


def _tick_word(second: float) -> str:
    if second == 0:
        return "0"
    if second < 1:
        return f"{second * 1000:.0f} ms"
    return f"{second:g} s" if second < 120 else _seconds(second)


def _seconds(seconds: float) -> str:
    return spoken(timedelta(seconds=seconds))


def backdrop(line: Timeline) -> SafeString:
    """Return what lies behind all rows: grid, folded stretches with torn edges, now."""
    out = [
        f'<line class="grid" x1="{_percent(tick.x)}" x2="{_percent(tick.x)}" y1="0" y2="100%"/>'
        for tick in line.scale.ticks()
    ]
    for each in line.scale.stretches:
        if each.part is Part.WORK:
            continue
        cls = "fold" if each.part is Part.FOLD else "later"
        width = _percent(each.right - each.left)
        out.append(
            f'<rect class="{cls}" x="{_percent(each.left)}" width="{width}" y="0" height="100%"/>'
        )
        if each.part is Part.FOLD:
            out += [_tear(each.left), _tear(each.right)]
    if line.is_live:
        x = _percent(line.x(line.now))
        out.append(f'<line class="now" x1="{x}" x2="{x}" y1="0" y2="100%"/>')
    return SafeString("".join(out))


def _tear(x: float) -> str:
    edge = '<rect class="tear" x="-4" width="8" height="100%" fill="url(#tc-zig)"/>'
    return f'<svg x="{_percent(x)}" y="0" width="9" height="100%" overflow="visible">{edge}</svg>'


def legend(shown: Sequence[TraceRow]) -> SafeString:
    """Return what the bars of these rows mean; only of those that occur."""
    meant = {_MEANT[row.span.kind] for row in shown if row.span.kind in _MEANT}
    items = (_key(cls, word) for cls, word in _LEGEND.items() if cls in meant)
    return SafeString(f'<ul class="legend" aria-label="Legend">{"".join(items)}</ul>')


def _key(cls: str, word: str) -> str:
    if cls == "dia":
        art = '<path class="dia" d="M8 2l5 5-5 5-5-5z"/>'
    else:
        fill = f' fill="url(#{_PATTERNS[cls]})"' if cls in _PATTERNS else ""
        art = f'<rect class="b {cls}" x="1" y="2" width="18" height="10" rx="3"{fill}/>'
    return f'<li><svg class="key" width="20" height="14" aria-hidden="true">{art}</svg>{word}</li>'
