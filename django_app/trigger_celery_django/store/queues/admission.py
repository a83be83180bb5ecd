"""Lets in runs that stand in line: promises free slots, under the locks of the queues."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from trigger_celery.vocabulary.admission import Room
from trigger_celery.vocabulary.records import EVERYTHING, Admitted
from trigger_celery_django import models
from trigger_celery_django.store.common.guard import Guard
from trigger_celery_django.store.common.rows import aware, nudge
from trigger_celery_django.store.databases import admission_rows
from trigger_celery_django.store.queues import slots
from trigger_celery_django.store.queues.admission_rows import WINDOW, AdmissionRows, SubLines
from trigger_celery_django.store.queues.limits import gate_of
from trigger_celery_django.store.queues.next_runs import Turns


def admit(guard: Guard, queue: str, *, limit: int, nudge_interval: timedelta) -> Admitted:
    """Promise free slots to the next ``limit`` runs in line at most; the caller nudges them."""
    admission = _Admission(admission_rows(guard, queue), queue, nudge_interval)
    return guard.transaction(lambda: admission.admit(limit))


class _Admission:
    """One admission, in a transaction."""

    def __init__(self, rows: AdmissionRows, queue: str, nudge_interval: timedelta) -> None:
        self._rows, self._queue, self._alias = rows, queue, rows.alias
        self._nudge_interval = nudge_interval

    def admit(self, limit: int) -> Admitted:
        gates = self._rows.lock()
        if not gates and self._rows.waiting(""):
            # Nothing limits them any more. With a row there is one admission at a time.
            self._rows.save_turn("")
            gates = self._rows.lock()
        if any(gates[name].paused_at for name in (EVERYTHING, self._queue) if name in gates):
            return Admitted()
        last_key = gates[self._queue].last_key if self._queue in gates else ""
        # Not before the locks: they show the runs that joined while another was leaving.
        waiting = self._rows.waiting(last_key)
        if not waiting:
            return Admitted()
        return self._let_in(list(gates.values()), waiting, last_key, limit)

    def _let_in(
        self, gates: Sequence[models.DurableQueue], waiting: SubLines, last_key: str, limit: int
    ) -> Admitted:
        room = self._room(gates, waiting)
        turns = Turns(room, self._queue, waiting, self._rows.places)
        chosen = list(turns.take(limit))
        if chosen:
            ids = [run.pk for run in chosen]
            self._rows.promise(ids, room.now, room.now + self._nudge_interval)
        removed = self._rows.remove(turns.gone, room.now) if turns.gone else 0
        turn, is_part = last_key, len(waiting) == WINDOW
        if chosen:
            turn = chosen[-1].concurrency_key
        elif is_part:
            # No run of this part of the line got in: the next call looks at the next part.
            turn = waiting[-1][0]
        if turn != last_key:
            self._rows.save_turn(turn)
        # Without any progress it would be the same again.
        unfinished = (turns.cut_short or is_part) and bool(chosen or removed)
        return Admitted(
            nudges=tuple(nudge(run) for run in chosen),
            again_in=room.again_in,
            more=len(chosen) >= limit or unfinished,
        )

    def _room(self, rows: Sequence[models.DurableQueue], waiting: SubLines) -> Room:
        gates = [row for row in rows if row.limited]
        now = min(aware(row.read_at) for row in rows)  # type: ignore[attr-defined]  # annotated
        keys = {key for key, _ in waiting}
        names, since = [gate.name for gate in gates], now - self._nudge_interval
        counts = self._rows.counts(names, since) if gates else {}
        room = slots.room(self._alias, gates, now, counts, line=self._queue, keys=keys)
        limits = [gate_of(gate).limits for gate in gates]
        if any(limit.rate or limit.key_rate for limit in limits):
            _, promised = slots.holding(self._alias, names, since)
            for slot in promised.select_related("run"):
                room.expect(slots.standing_of(slot.run))
        return room
