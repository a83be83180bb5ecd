"""One stretch of a run inside one worker: the run, its lease, its replay, and how it is left."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

from trigger_celery.engine.core import Engine
from trigger_celery.engine.process.leases import Holding
from trigger_celery.engine.segment.effects import Io, Routine
from trigger_celery.engine.segment.failures import Failed, Failures, not_kept
from trigger_celery.engine.segment.leaving import Leaving
from trigger_celery.engine.segment.metering import Meter
from trigger_celery.engine.segment.replay import CallSite, Replay
from trigger_celery.errors import SuspensionSwallowed, TransactionOpen
from trigger_celery.ports import Store
from trigger_celery.vocabulary.records import Checkpoint, Claimed, Holds


class Segment:
    """What the stages of a step, and all other durable calls of one segment, work on.

    ``held`` is the lease that it writes under, ``leaving`` how its body is left; ``store``
    fails at once while the database is away, ``patient`` calls again. ``is_rewritten`` says that
    each ``await`` of the body is a step, ``watches`` that what steps change in place is looked for.
    """

    def __init__(
        self,
        engine: Engine,
        claimed: Claimed,
        held: Holding,
        replay: Replay,
        *,
        is_async: bool,
        is_rewritten: bool,
    ) -> None:
        self.engine = engine
        self.store = engine.store
        self.patient = engine.patient
        self.run = claimed.run
        self.held = held
        self.lease = claimed.lease
        self.replay = replay
        self.failures = Failures(engine.codec)
        self.leaving = Leaving(claimed.run.id, replay.branches)
        self.is_async = is_async
        self.is_rewritten = is_rewritten
        self.watches = engine.watches_changes or engine.config.warn_of_changes
        self.worker = claimed.run.worker
        self.decode = engine.codec.decode
        self._anchor = (claimed.now, engine.clock.monotonic())

    def meter(self) -> Meter:
        """Return a running meter."""
        return Meter(self.store, self.engine.clock, self._anchor)

    def now(self) -> datetime:
        """Return the database's time: that of the claim, and what has passed here since."""
        at, monotonic = self._anchor
        return at + timedelta(seconds=self.engine.clock.monotonic() - monotonic)

    def may_go_on(self, what: str) -> bool:
        """Whether the run goes on at the boundary ``what``; else it is to be handed back.

        Raises ``LeaseLost``, what the body is being left for, and ``TransactionOpen``.
        """
        self.leaving.raise_again()
        self.held.check()
        if self.held.paused or self.engine.draining():
            self.leaving.handing_back = True
            return False
        if not self.is_async:  # Django has no transactions in async code
            self.store.check_boundary(what)
        return True

    def boundary(self, what: str, site: CallSite) -> Routine[None]:
        """Pass a boundary, or leave the body because the run is handed back there."""
        if not self.may_go_on(what):
            yield from self.leaving.park(None, what)
        if site.before:
            yield Io(partial(self.keep, site.before))

    def keep(self, failures: Sequence[Failed]) -> None:
        """Make final what failed before: the body chose its way by it, and records more now."""
        if not (kept := not_kept(failures)):
            return
        self.leaving.raise_again()
        self.held.write(self.patient.checkpoints.keep_failures, kept)
        for each in failures:
            each.holds = Holds.ALWAYS

    def record(self, checkpoint: Checkpoint) -> None:
        """Store a checkpoint."""
        self.leaving.raise_again()  # an interrupted body may still come here from its own thread
        self.held.write(self.patient.checkpoints.record, checkpoint)

    def heartbeat(self) -> None:
        """Extend the lease now; a database that is away does not disturb the step."""
        self.engine.leases.renew_now(self.held)


def end_transactions(store: Store) -> None:
    """Undo what failed user code left open in this thread: nothing of ours may join it."""
    try:
        store.check_boundary("the end of what failed")
    except TransactionOpen:
        store.release()


def swallowed(segment: Segment, keys: Sequence[str]) -> SuspensionSwallowed:
    """Return the error for a body, or a branch, that returned although it was being left."""
    return SuspensionSwallowed(
        f"task {segment.run.task!r} caught the suspension at {', '.join(keys)!r} and "
        "went on: a bare 'except:' or 'except BaseException:' stands around it. Catch "
        "Exception instead, or raise again what you do not know."
    )
