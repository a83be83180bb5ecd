"""Prints the comparisons and writes them down."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.contest import Comparison

HEADINGS = ("measure", "against", "ours", "reference", "unit", "ratio", "min-max", "bar", "")
VERDICTS = {True: "met", False: "NOT MET", None: ""}


def as_json(found: Comparison) -> dict[str, object]:
    """Return the record of one comparison; ``ours`` and ``reference`` are medians."""
    return {
        "name": found.name,
        "against": found.against,
        "unit": found.unit,
        "higher_is_better": found.higher,
        "ours": median(found.ours),
        "reference": median(found.reference),
        "ratio": found.ratio,
        "spread": [min(found.ratios), max(found.ratios)],
        "rounds": len(found.ours),
        "bar": found.bar,
        "met": found.met,
    }


def write(path: Path, found: Sequence[Comparison]) -> None:
    """Write all of them as one JSON list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([as_json(each) for each in found], indent=2) + "\n", "utf-8")


def render(found: Sequence[Comparison]) -> str:
    """Return the table. The times hold for this machine and hour, the ratios last."""
    rows = [HEADINGS, *map(_row, found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _row(found: Comparison) -> tuple[str, ...]:
    sign = ">=" if found.higher else "<="
    return (
        found.name,
        found.against,
        f"{median(found.ours):.2f}",
        f"{median(found.reference):.2f}",
        found.unit,
        f"{found.ratio:.2f}",
        f"{min(found.ratios):.2f}-{max(found.ratios):.2f}",
        "" if found.bar is None else f"{sign} {found.bar:.1f}",
        VERDICTS[found.met],
    )
