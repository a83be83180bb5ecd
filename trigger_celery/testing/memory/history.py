"""The history of runs in the in-memory store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from uuid import UUID

from trigger_celery.testing.memory.tables import Core
from trigger_celery.vocabulary.records import HistoryEntry


class MemoryHistory:
    """The verbs of :class:`trigger_celery.ports.Runs` that say what has happened."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def history(self, run_id: UUID) -> Sequence[HistoryEntry]:
        """Return every transition of the run, oldest first."""
        with self._core.lock:
            return tuple(self._core.tables.history.get(run_id, ()))

    def note(self, run_id: UUID, verb: str, details: Mapping[str, str]) -> None:
        """Add an entry to the history of a run that changes nothing; silent without the run."""
        with self._core.transactions.own():
            row = self._core.tables.runs.get(run_id)
            if row is not None:
                self._core.note(row.run, verb, **details)

    def notes_since_end(self, run_id: UUID, verb: str) -> Sequence[HistoryEntry]:
        """Return what was noted under the verb since the run ended, oldest first."""
        since = takewhile(lambda entry: entry.state.terminal, reversed(self.history(run_id)))
        return tuple(entry for entry in since if entry.verb == verb)[::-1]
