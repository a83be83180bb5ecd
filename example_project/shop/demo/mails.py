"""How many welcome e-mails were being sent at once, by the effect log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shop.demo.screen import Screen
from shop.effects import BEGUN, Effect

STEP = "mail_welcome"
SLICES = 12


def at_once(effects: Sequence[Effect]) -> Iterator[tuple[float, int]]:
    """Return the moments at which a mail began or ended, and how many were being sent then."""
    # A mail that ends at the very moment at which another begins is no longer being sent.
    changes = sorted((e.at, 1 if e.what == BEGUN else -1) for e in effects if e.step == STEP)
    sending = 0
    for at, change in changes:
        sending += change
        yield at, sending


def most_at_once(effects: Sequence[Effect]) -> int:
    """Return how many mails were being sent when most were."""
    return max((sending for _, sending in at_once(effects)), default=0)


def draw_mails(screen: Screen, effects: Sequence[Effect], limit: int) -> None:
    """Print how many mails were being sent at most, in each of a few slices of the time."""
    moments = list(at_once(effects))
    begin, end = moments[0][0], moments[-1][0]
    size = (end - begin) / SLICES
    before = 0
    for start in (begin + size * number for number in range(SLICES)):
        inside = [(at, sending) for at, sending in moments if start <= at < start + size]
        most = max([before, *(sending for _, sending in inside)])
        before = inside[-1][1] if inside else before
        screen.line(f"{start - begin:8.2f} s  {'#' * most:.<{limit}}  {most} at once")
