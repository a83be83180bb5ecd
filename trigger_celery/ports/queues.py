"""Durable queues: what they allow, and which runs are let in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from trigger_celery.vocabulary.records.queues import (
    Admitted,
    Holder,
    Limits,
    QueueLoad,
    Rate,
    StoredQueue,
)


class Queues(Protocol):
    """Limits on the runs that execute at a time, and on how often runs start.

    A run meets the limits of the deployment (the queue ``EVERYTHING``), of its task
    (``OF_TASK`` and the task's name), of its queue and of its concurrency key there, all at
    once. A queue without limits that is not paused costs nothing; where one is limited,

    * :meth:`Runs.create <trigger_celery.ports.Runs.create>` puts a run that may start now in
      line, with no ``due_at``, instead of leaving its first nudge to the caller;
    * :meth:`Runs.claim <trigger_celery.ports.Runs.claim>` takes a slot with the run, or puts
      the run in line and returns None. It never gives more slots than there are, at any
      moment of the database: it holds the locks of the queues from before it counts. A
      run that executes without a slot is counted at :meth:`declare`. A run that only a rate refuses
      there waits for the next :meth:`admit` of its queue: that of a sweep at the latest.

    A slot is held by the run that executes under the fence that took it, and by no other: any verb
    by which a run stops executing frees its slot in the same transaction. Locks are taken in
    the order queue (by name), run.
    """

    def declare(self, declared: Mapping[str, Limits]) -> int:
        """Store what code says of these queues; what people changed stays.

        Returns how many were new or changed. Runs that execute without a slot while their
        queue becomes limited get one, and so they count. Runs that are being claimed at the
        moment in which a queue gets its first limit may be left out of the count until their
        segment ends: so many more than the limit may execute until then.
        """

    def get(self, name: str) -> StoredQueue | None:
        """Return the queue, or None."""

    def all(self) -> Sequence[StoredQueue]:
        """Return all queues, by name."""

    def override(self, name: str, limits: Mapping[str, int | Rate | None]) -> bool:
        """Let these limits stand in for declared ones, by their names in ``Limits``.

        Limits that are not named stay as they are, also if they change at the same
        time. Returns False if nothing changed. Raises ``QueueNotFound``.
        """

    def reset(self, name: str) -> bool:
        """Let what code says hold again; False if no limit stood in. Raises ``QueueNotFound``."""

    def pause(self, name: str, *, by: str = "", reason: str = "") -> bool:
        """Start no runs of the queue until it is resumed; False if it was paused already.

        ``EVERYTHING`` can always be paused. Raises ``QueueNotFound``.
        """

    def resume(self, name: str) -> bool:
        """Let a paused queue go on; False if it was not paused. Raises ``QueueNotFound``."""

    def loads(self) -> Sequence[QueueLoad]:
        """Return how full each queue with runs in it is, by name.

        For ``EVERYTHING`` and the queues of tasks too, where they are limited.
        """

    def holders(self, name: str, *, limit: int) -> Sequence[Holder]:
        """Return the holders of slots of the queue, the longest first."""

    def holds(self, run_id: UUID) -> bool:
        """Whether a run holds a slot."""

    def lines(self) -> Sequence[str]:
        """Return the queues that runs stand in line for, by name."""

    def admit(self, queue: str, *, limit: int, nudge_interval: timedelta) -> Admitted:
        """Promise free slots to the next ``limit`` runs in line at most; the caller nudges them.

        Keys take turns; within a key the run with the earliest ``line_at`` is next. A run
        that was promised a slot counts as holding it for ``nudge_interval``, and is ``due``
        after that: the sweep nudges it again. Paused, delayed and ended runs are passed over.
        """

    def count_request(self, kind: str, sender: str, rate: Rate) -> timedelta:
        """Count a request of a sender; zero if its rate allows it.

        Else nothing is counted, and the return value is how long until the rate allows the next.
        Of several at once no more pass than the rate allows. A transaction of user code that it
        is called in may undo the count, and so may a failure of the database's machine.
        """

    def clean_up(self, *, limit: int) -> int:
        """Delete at most ``limit`` rows of each kind that mean nothing any more; return how many.

        That are slots and places in line of runs that moved on, and rates of keys and senders
        without starts or requests to count.
        """
