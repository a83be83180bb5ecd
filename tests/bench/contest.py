"""Alternates the sides of a comparison and keeps ratios: a bare time says nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

from bench.peers.client import Peer

Side = Callable[[], float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Ours against one reference: a pair of numbers for each round.

    ``bar`` is the ratio to reach (None: only reported), ``higher`` whether more is better.
    """

    name: str
    against: str
    unit: str
    ours: tuple[float, ...]
    reference: tuple[float, ...]
    bar: float | None = None
    higher: bool = False

    @property
    def ratios(self) -> list[float]:
        """Ours divided by the reference, round by round."""
        return [mine / other for mine, other in zip(self.ours, self.reference, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the rounds."""
        return median(self.ratios)

    @property
    def met(self) -> bool | None:
        """Whether the bar is reached, None without a bar."""
        if self.bar is None:
            return None
        return self.ratio >= self.bar if self.higher else self.ratio <= self.bar


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """What a measure may use. ``quick`` asks for a small form that only has to work."""

    quick: bool
    rounds: int
    log: Path
    peers: tuple[Peer, ...] = field(default=())

    def size(self, full: int, quick: int) -> int:
        """Return how much to do in one round."""
        return quick if self.quick else full

    def peer_sides(self, measure: str, size: int) -> dict[str, Side]:
        """Return the peers' sides of a measure, those that take part in it."""
        return {
            peer.name: partial(peer.measure, measure, size)
            for peer in self.peers
            if measure in peer.measures
        }


def alternate(sides: Mapping[str, Side], *, rounds: int) -> dict[str, tuple[float, ...]]:
    """Let every side play once a round, in turning order; return each one's numbers."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    names = list(sides)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            found[name].append(sides[name]())
    return {name: tuple(values) for name, values in found.items()}
