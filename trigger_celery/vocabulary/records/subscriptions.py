"""The record of a task that events start."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """Each event called ``name`` that passes ``filter`` starts one run of ``task``."""

    task: str
    name: str
    filter: str
