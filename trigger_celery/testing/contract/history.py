"""The contract of a store: the history tells every move."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import pairwise
from uuid import UUID, uuid4

from trigger_celery.ports import Store
from trigger_celery.testing.contract.records import ending, event_wait, sleeping, suspension
from trigger_celery.testing.contract.tools import (
    Advance,
    claim,
    emitted,
    got,
    queued,
    started,
    suspend,
    swept,
    wait_ids,
)
from trigger_celery.vocabulary.states import TRANSITIONS, RunState


class HistoryContract:
    """Every move is told, in order, and every move is allowed."""

    def test_the_history_tells_every_move_of_a_long_life(
        self, store: Store, advance: Advance
    ) -> None:
        run_id = self._long_life(store, advance)
        history = store.runs.history(run_id)
        assert [(entry.verb, entry.state) for entry in history] == [
            ("trigger", "queued"),
            ("claim", "executing"),
            ("hand back", "queued"),
            ("claim", "executing"),
            ("recover", "queued"),
            ("claim", "executing"),
            ("suspend", "suspended"),
            ("wake", "queued"),
            ("claim", "executing"),
            ("suspend", "suspended"),
            ("wake", "queued"),
            ("claim", "executing"),
            ("fail", "failed"),
            ("retry", "queued"),
            ("claim", "executing"),
            ("complete", "completed"),
            ("publish", "completed"),
        ]
        for before, after in pairwise(history):
            assert before.sequence < after.sequence
            assert before.at <= after.at
            assert before.fence <= after.fence
            assert before.state is after.state or after.state in TRANSITIONS[before.state]
        assert {entry.run_id for entry in history} == {run_id}
        assert all(isinstance(json.loads(entry.data), dict) for entry in history)
        assert [entry.worker for entry in history if entry.verb == "claim"] == ["w1"] * 6

    def _long_life(self, store: Store, advance: Advance) -> UUID:
        run_id = queued(store)
        store.runs.hand_back(claim(store, run_id).lease, "t")
        claim(store, run_id)
        store.runs.recover(run_id, "w1")
        lease = claim(store, run_id).lease
        suspend(store, lease, suspension(event_wait(), sleeping()))
        store.waits.looked(run_id, fence=lease.fence)
        store.waits.resolve(emitted(store).sequence, wait_ids(store))
        suspend(store, claim(store, run_id).lease, suspension(sleeping("nap", timedelta(0))))
        assert swept(store) == [run_id]
        store.runs.end(claim(store, run_id).lease, ending(RunState.FAILED))
        store.runs.retry(run_id)
        store.runs.end(claim(store, run_id).lease, ending(publish_within=timedelta(0)))
        store.runs.published(claim(store, run_id).lease)
        return run_id

    def test_a_note_is_told_and_changes_nothing(self, store: Store) -> None:
        lease = started(store)
        before = got(store, lease.run_id)
        store.runs.note(lease.run_id, "hook", {"hook": "on_start", "error": "\N{SNOWMAN} 'x'"})
        assert got(store, lease.run_id) == before
        last = store.runs.history(lease.run_id)[-1]
        assert (last.verb, last.state, last.fence, last.worker) == ("hook", "executing", 1, "w1")
        assert json.loads(last.data) == {"hook": "on_start", "error": "\N{SNOWMAN} 'x'"}
        store.runs.end(lease, ending())
        store.runs.note(lease.run_id, "hook", {})
        assert store.runs.history(lease.run_id)[-1].state is RunState.COMPLETED
        store.runs.note(uuid4(), "hook", {})

    def test_what_was_noted_since_the_end_is_told_apart_from_a_life_before(
        self, store: Store
    ) -> None:
        def told() -> list[str]:
            found = store.runs.notes_since_end(run_id, "hook")
            assert [entry.sequence for entry in found] == sorted(e.sequence for e in found)
            return [json.loads(entry.data)["hook"] for entry in found]

        run_id = queued(store)
        assert told() == []
        lease = claim(store, run_id).lease
        store.runs.note(run_id, "hook", {"hook": "on_start"})
        assert told() == []
        store.runs.end(lease, ending(RunState.FAILED))
        assert told() == []
        for name in ("on_failure", "on_complete"):
            store.runs.note(run_id, "hook", {"hook": name})
            store.runs.note(run_id, "other", {"hook": "no"})
        assert told() == ["on_failure", "on_complete"]
        store.runs.note(queued(store), "hook", {"hook": "of another run"})
        store.runs.retry(run_id)
        assert told() == []
        lease = claim(store, run_id).lease
        store.runs.end(lease, ending(publish_within=timedelta(0)))
        store.runs.note(run_id, "hook", {"hook": "on_success"})
        claim(store, run_id)
        store.runs.note(run_id, "hook", {"hook": "on_complete"})
        assert told() == ["on_success", "on_complete"]
        assert store.runs.notes_since_end(uuid4(), "hook") in ([], ())

    def test_the_history_tells_cancellations_and_timeouts(self, store: Store) -> None:
        lease, run_id = started(store), queued(store)
        store.runs.end(lease, ending(RunState.TIMED_OUT))
        store.runs.cancel(run_id, "no longer needed")
        last = store.runs.history(lease.run_id)[-1]
        assert (last.verb, last.state) == ("time out", "timed_out")
        last = store.runs.history(run_id)[-1]
        assert (last.verb, last.state) == ("cancel", "canceled")
        assert got(store, run_id).error == "no longer needed"
