"""Which runs may have a slot: pure rules, used by every store under the locks of the queues."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from trigger_celery.vocabulary.records.queues import Limits, Rate, Standing

KeyOf = tuple[str, str]
"""A queue's name and a concurrency key; the key is "" for the queue itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What a run meets on its way to a slot: a queue's limits, as its locked row has them."""

    name: str
    limits: Limits
    paused: bool = False


class Room:
    """What the limits still allow at one moment; a run that takes a slot leaves less to the next.

    ``held`` are the runs that hold slots, or were just promised one; ``counts`` are
    others, counted by queue and by key already. ``due`` says for a queue, or a key of it,
    when its next start is due by its rate: the theoretical arrival time of the generic cell
    rate algorithm, on the database's clock. It is absent where starts are allowed as if there
    had been none.
    """

    def __init__(
        self,
        gates: Iterable[Gate],
        *,
        held: Iterable[Standing] = (),
        counts: Mapping[KeyOf, int] | None = None,
        due: Mapping[KeyOf, datetime] | None = None,
        now: datetime,
    ) -> None:
        self.now = now
        self.due = dict(due or {})
        self.changed: set[KeyOf] = set()
        self.again_at: datetime | None = None
        self._gates = {gate.name: gate for gate in gates}
        self._held: Counter[KeyOf] = Counter(counts or {})
        for run in held:
            self._count(run)

    def take(self, run: Standing) -> bool:
        """Give the run a slot if there is one; False changes nothing.

        ``changed`` then names those whose ``due`` moved, and ``again_at`` when a rate alone that
        refused a run allows the next.
        """
        if self.left(run) == 0:
            return False
        rates = self._rates_of(run)
        at = max((self._earliest(gate_key, rate) for gate_key, rate in rates), default=self.now)
        if at > self.now:
            self.again_at = at if self.again_at is None else min(at, self.again_at)
            return False
        for gate_key, rate in rates:
            self._count_start(gate_key, rate)
            self.changed.add(gate_key)
        self._count(run)
        return True

    def expect(self, run: Standing) -> None:
        """Count a start that was promised by the rates: its slot is counted already."""
        for gate_key, rate in self._rates_of(run):
            self._count_start(gate_key, rate)

    def left(self, run: Standing) -> int | None:
        """Return how many such runs may have a slot as far as rates allow; None for any number."""
        gates = self._gates_of(run)
        if any(gate.paused for gate in gates):
            return 0
        return min((left for gate in gates for left in self._left(gate, run)), default=None)

    def is_followed(self, run: Standing, promised: int) -> bool:
        """Whether so many others, promised slots of the run's queue just now, admit for it too.

        They are at least half of those that may execute, so that few slots stay free until one
        of them is over. It is never so where a key has a limit: those may be of other keys.
        """
        limits = [gate.limits for gate in self._gates_of(run)]
        bounds = [each.concurrency for each in limits if each.concurrency is not None]
        if not bounds or any(each.key_concurrency is not None for each in limits):
            return False
        return promised >= 2 and 2 * promised >= min(bounds)

    @property
    def again_in(self) -> timedelta | None:
        """How long until a rate that refused a run allows the next."""
        return None if self.again_at is None else self.again_at - self.now

    def _count(self, run: Standing) -> None:
        for name in run.gates:
            self._held[name, ""] += 1
        if run.key:
            self._held[run.queue, run.key] += 1

    def _gates_of(self, run: Standing) -> list[Gate]:
        return [self._gates[name] for name in run.gates if name in self._gates]

    def _left(self, gate: Gate, run: Standing) -> Iterator[int]:
        limits = gate.limits
        if limits.concurrency is not None:
            yield max(0, limits.concurrency - self._held[gate.name, ""])
        if limits.key_concurrency is not None and run.key and gate.name == run.queue:
            yield max(0, limits.key_concurrency - self._held[gate.name, run.key])

    def _rates_of(self, run: Standing) -> list[tuple[KeyOf, Rate]]:
        """Return the rates that a start of the run counts for: none if it was started before."""
        gates = self._gates_of(run) if run.starts else []
        return [pair for gate in gates for pair in _rates(gate, run)]

    def _count_start(self, gate_key: KeyOf, rate: Rate) -> None:
        self.due[gate_key] = rate.after_one(self.due.get(gate_key), self.now)

    def _earliest(self, gate_key: KeyOf, rate: Rate) -> datetime:
        """Return when the rate allows a start."""
        return self.due.get(gate_key, self.now) - rate.tolerance


def _rates(gate: Gate, run: Standing) -> list[tuple[KeyOf, Rate]]:
    found: list[tuple[KeyOf, Rate]] = []
    if gate.limits.rate is not None:
        found.append(((gate.name, ""), gate.limits.rate))
    if gate.limits.key_rate is not None and run.key and gate.name == run.queue:
        found.append(((gate.name, run.key), gate.limits.key_rate))
    return found
