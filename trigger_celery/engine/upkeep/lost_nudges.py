"""Repairs lost messages: nudges queued runs again, where their nudges are likely lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from trigger_celery.engine.core import Engine
from trigger_celery.vocabulary import lifecycle
from trigger_celery.vocabulary.records import RecentClaim, Unclaimed

LATEST = 500
"""How many transitions the sweep looks back at for claims."""


@dataclass(kw_only=True)
class Evidence:
    """What a pass knows of the ways to the workers: how far they have got, and what waits there."""

    engine: Engine
    reached: dict[tuple[str, str], datetime] = field(default_factory=dict)
    passed: dict[str, datetime] = field(default_factory=dict)
    backlogs: dict[str, int | None] = field(default_factory=dict)

    @classmethod
    def of(cls, engine: Engine, claims: Sequence[RecentClaim]) -> Evidence:
        """Gather what the last claims say."""
        found = cls(engine=engine)
        for claim in claims:
            route, at = engine.dispatcher.route(claim.nudge), claim.available_at
            key = (claim.nudge.task, route)
            found.reached[key] = max(at, found.reached.get(key, at))
            found.passed[route] = max(at, found.passed.get(route, at))
        return found

    def is_lost(self, waiting: Unclaimed) -> bool:
        """Whether the nudge of this run is likely lost."""
        route = self.engine.dispatcher.route(waiting.nudge)
        if route not in self.backlogs:  # a broker is asked once a pass
            self.backlogs[route] = self.engine.dispatcher.backlog(waiting.nudge)
        return lifecycle.is_nudge_lost(
            waiting.due_at,
            reached=self.reached.get((waiting.nudge.task, route)),
            passed=self.passed.get(route),
            backlog=self.backlogs[route],
        )


def repair_nudges(engine: Engine, until: float) -> int:
    """Nudge queued runs again whose nudges are likely lost, ``sweep_batch`` a pass at most.

    A run whose nudge only waits behind others is left alone, however long: a second message
    would make the wait longer. Returns how many were nudged.
    """
    sweeps, config, evidence = engine.store.sweeps, engine.config, None
    task, left = "", config.sweep_batch
    while left and (waiting := sweeps.unclaimed(after=task, limit=config.sweep_batch)):
        if evidence is None:
            claims = sweeps.recent_claims(within=config.nudge_interval, limit=LATEST)
            evidence = Evidence.of(engine, claims)
        task = waiting[0].nudge.task
        lost = [each.nudge.run_id for each in waiting if evidence.is_lost(each)][:left]
        if lost:
            nudges = sweeps.nudge_again(lost, nudge_interval=config.nudge_interval)
            engine.dispatcher.nudge(nudges)
            left -= len(nudges)
        if engine.clock.monotonic() >= until:
            break
    return config.sweep_batch - left
