"""Which waits and tasks an event may concern."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trigger_celery.vocabulary.records.schedules import Subscription
from trigger_celery.vocabulary.records.waits import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """Which waits and tasks an event of one name may concern.

    ``shapes`` are the distinct ``paths`` texts of all waits ever made on the name, so that
    the caller can see whether it asked for all hashes. ``subscriptions`` (by task) and
    ``candidates`` (by id) are the first of theirs. ``crowded`` is false if no earlier event of
    the name was still to be matched when the candidates were read; otherwise there may be some.
    """

    shapes: Sequence[str]
    subscriptions: Sequence[Subscription]
    candidates: Sequence[Candidate]
    crowded: bool
