"""Where a moment lies on a timeline whose idle stretches are folded.

A run may wait seven days between steps of 200 ms: drawn to scale, no step would be seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

FOLD_WIDTH = 0.085
"""The share of the width that a folded stretch has, whatever its length."""
_ALL_FOLDS = 0.4
_LEAST_SHARE = 0.035
_LEAST_IDLE = 5.0
_IDLE_FACTOR = 3
_LEAST_TICK = 0.125
_STEPS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10, 20, 30),
    *(60, 120, 300, 600, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400, 604_800),
)


class Part(Enum):
    """What a stretch of the timeline is."""

    WORK = "work"
    FOLD = "fold"
    FUTURE = "future"


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the time, in seconds since the beginning, and its share of the width (0 to 1)."""

    part: Part
    began: float
    ended: float
    left: float = 0.0
    right: float = 0.0


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the grid: where it stands, and the second it stands for."""

    x: float
    second: float


class Scale:
    """Maps seconds since a run began to 0..1, piecewise linear and monotone.

    ``work`` are the stretches in which something happened, ``now`` is the last moment that is
    shown, ``until`` a deadline ahead of it. With ``fold`` an idle stretch that is long beside
    all the work, and longer than five seconds, gets a fixed narrow width. Work is never folded.
    """

    def __init__(
        self,
        work: Iterable[tuple[float, float]],
        now: float,
        *,
        until: float | None = None,
        fold: bool = True,
    ) -> None:
        now = max(now, 0.001)
        self.stretches = _laid_out(_parts(_merged(work, now), now, until, fold=fold))

    @property
    def folds(self) -> list[Stretch]:
        """The idle stretches that are folded."""
        return [stretch for stretch in self.stretches if stretch.part is Part.FOLD]

    @property
    def future(self) -> Stretch | None:
        """The stretch from now to the deadline, if there is one."""
        last = self.stretches[-1]
        return last if last.part is Part.FUTURE else None

    def x(self, second: float) -> float:
        """Return where a moment lies."""
        for each in self.stretches:
            if second <= each.ended:
                if each.ended == each.began:
                    return each.left
                share = (second - each.began) / (each.ended - each.began)
                return each.left + (each.right - each.left) * max(0.0, min(1.0, share))
        return self.stretches[-1].right

    def next_fold(self, x: float) -> float:
        """Return where the next stretch begins that is not work, right of ``x``; 1 if none does."""
        others = (each.left for each in self.stretches if each.part is not Part.WORK)
        return min((left for left in others if left >= x - 1e-9), default=1.0)

    def ticks(self) -> Iterator[Tick]:
        """Yield round seconds, about an eighth of the width apart, in stretches of work only."""
        for each in self.stretches:
            if each.part is not Part.WORK or each.ended <= each.began:
                continue
            a_second = (each.right - each.left) / (each.ended - each.began)
            step = next((step for step in _STEPS if step * a_second >= _LEAST_TICK), _STEPS[-1])
            number = int(each.began / step) + (each.began > 0)
            while number * step <= each.ended - step / 4 or number * step == each.began:
                second = number * step
                yield Tick(each.left + (second - each.began) * a_second, second)
                number += 1


def _merged(work: Iterable[tuple[float, float]], now: float) -> list[tuple[float, float]]:
    busy: list[tuple[float, float]] = []
    for began, ended in sorted(work):
        began, ended = max(0.0, began), min(ended, now)
        if busy and began <= busy[-1][1]:
            busy[-1] = (busy[-1][0], max(busy[-1][1], ended))
        elif ended >= began:
            busy.append((began, ended))
    return busy or [(0.0, min(now, 0.001))]


def _parts(
    busy: list[tuple[float, float]], now: float, until: float | None, *, fold: bool
) -> list[Stretch]:
    worked = sum(ended - began for began, ended in busy)
    longest = max(_LEAST_IDLE, _IDLE_FACTOR * worked) if fold else float("inf")
    parts: list[Stretch] = []
    at = 0.0
    for began, ended in [*busy, (now, now)]:
        if began - at > longest:
            parts += [Stretch(Part.FOLD, at, began), Stretch(Part.WORK, began, ended)]
        elif parts and parts[-1].part is Part.WORK:
            parts[-1] = Stretch(Part.WORK, parts[-1].began, ended)
        else:
            parts.append(Stretch(Part.WORK, at, ended))
        at = max(at, ended)
    if until is not None and until > now:
        parts.append(Stretch(Part.FUTURE, now, until))
    return parts


def _laid_out(parts: list[Stretch]) -> list[Stretch]:
    """Share the width: folds have one width, the future has two, work gets the rest by length."""
    weights = {Part.WORK: 0, Part.FOLD: 1, Part.FUTURE: 2}
    fold = min(FOLD_WIDTH, _ALL_FOLDS / max(1, sum(weights[each.part] for each in parts)))
    work = [each for each in parts if each.part is Part.WORK]
    whole = sum(each.ended - each.began for each in work) or 1.0
    wanted = [
        max(_LEAST_SHARE, (each.ended - each.began) / whole) if each.ended > each.began else 0.003
        for each in work
    ]
    spare = 1 - sum(fold * weights[each.part] for each in parts)
    shares = iter([each / sum(wanted) * spare for each in wanted])
    found, left = [], 0.0
    for each in parts:
        right = left + (next(shares) if each.part is Part.WORK else fold * weights[each.part])
        found.append(Stretch(each.part, each.began, each.ended, left, right))
        left = right
    return found
