"""Counts of the last hours as a small row of bars."""

from __future__ import annotations

from collections.abc import Iterable

from django.utils.html import format_html
from django.utils.safestring import SafeString

HOURS = 24
_HEIGHT = 24
_LEAST = 1


def spark(counted: Iterable[tuple[int, int]], hour: int, tone: str) -> SafeString:
    """Return a bar for each of the last 24 hours; ``counted`` are hours since 1970 and numbers."""
    by_hour = dict(counted)
    values = [by_hour.get(each, 0) for each in range(hour - HOURS + 1, hour + 1)]
    most = max(values) or 1
    step = 100 / HOURS
    bars = []
    for index, value in enumerate(values):
        height = max(_LEAST, value / most * (_HEIGHT - 2))
        bars.append(
            f'<rect x="{index * step + step * 0.12:.2f}%" y="{_HEIGHT - height:.1f}" '
            f'width="{step * 0.76:.2f}%" height="{height:.1f}"/>'
        )
    return format_html(
        '<svg class="spark {}" width="96" height="24" role="img" '
        'aria-label="last 24 hours: {}, at most {} an hour">{}</svg>',
        tone,
        f"{sum(values):,}",
        f"{max(values):,}",
        SafeString("".join(bars)),
    )
