"""The child runs of the in-memory store."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from uuid import UUID

from trigger_celery.testing.memory.runs import MemoryRuns
from trigger_celery.testing.memory.tables import Core
from trigger_celery.vocabulary import lifecycle
from trigger_celery.vocabulary.records import ChildEnd, Created, Lease, NewRun, Nudge, Run

_SHOWN = 10


class MemoryChildren:
    """Implements :class:`trigger_celery.ports.Children`."""

    def __init__(self, core: Core, runs: MemoryRuns) -> None:
        self._core = core
        self._runs = runs

    def create(self, lease: Lease, runs: Sequence[NewRun]) -> Created:
        """Insert queued children of the leased run; return the ids that were new."""
        with self._core.transactions.own():
            parent = self._core.held(lease).run
            created = self._runs.create(runs)
            if created:
                ids = [str(run.id) for run in runs if run.id in created]
                self._core.note(
                    parent,
                    "start children",
                    key=runs[0].parent_key,
                    count=len(ids),
                    first=ids[:_SHOWN],
                )
            return created

    def live(self, parent_id: UUID, key: str) -> bool:
        """Whether one of these children has still to end."""
        with self._core.lock:
            return any(run.spec.parent_key == key for run in self._live(parent_id))

    def ends(self, ids: Collection[UUID]) -> Mapping[UUID, ChildEnd]:
        """Return where these runs are, by id; unknown ones are left out."""
        with self._core.lock:
            rows = self._core.tables.runs
            return {run_id: _end(rows[run_id].run) for run_id in ids if run_id in rows}

    def close(
        self, parent_id: UUID, error: str, *, limit: int, key: str | None = None
    ) -> Sequence[Nudge]:
        """Cancel at most ``limit`` children that are live and close with their parent."""
        with self._core.transactions.own():
            found = [
                run
                for run in reversed(list(self._live(parent_id)))
                if run.spec.closes_with_parent and (key is None or run.spec.parent_key == key)
            ]
            now, patience = self._core.now(), self._core.nudge_interval
            return [
                self._core.finish(
                    lifecycle.cancel(run, now, error=error, nudged_within=patience), "cancel"
                )
                for run in found[:limit]
            ]

    def _live(self, parent_id: UUID) -> Iterator[Run]:
        """Yield the live children, the latest first: of many it is mostly the last to end."""
        return (
            row.run
            for row in reversed(self._core.tables.runs.values())
            if row.run.spec.parent_id == parent_id and not row.run.state.terminal
        )


def _end(run: Run) -> ChildEnd:
    return ChildEnd(run_id=run.id, state=run.state, output=run.output, error=run.error)
