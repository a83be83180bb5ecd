"""Which recorded outcome belongs to which call: keys, their order, and what may not change."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock, get_ident

from trigger_celery.body.threads import CURE
from trigger_celery.engine.segment.failures import Failed
from trigger_celery.engine.segment.scopes import Branches, Scope
from trigger_celery.errors import DuplicateStepKey, ForeignThread, InvalidName, NonDeterminismError
from trigger_celery.vocabulary import step_keys
from trigger_celery.vocabulary.records import Outcome, Outcomes, StepKind
from trigger_celery.vocabulary.states import WaitState

KEY_LIMIT = 250
GAP = 1 << 20
"""Distance between the positions of consecutive calls: room for steps that new code inserts."""


@dataclass(frozen=True, slots=True)
class CallSite:
    """The place of one durable call: its key, its position, and what is recorded there.

    ``before`` are failures that the code met before it and that may still be forgotten: they
    have to be kept before anything is recorded here.
    """

    key: str
    position: int
    outcome: Outcome | None
    scope: Scope
    before: tuple[Failed, ...] = ()


class Replay:
    """Gives each durable call of a body its key and finds what earlier segments recorded."""

    def __init__(self, outcomes: Outcomes, *, step_limit: int) -> None:
        self._recorded = outcomes.recorded
        self._failures = outcomes.failures
        self._positions = sorted(outcome.position for outcome in outcomes.recorded.values())
        self._limit = step_limit
        self._taken: set[str] = set()
        self._backoffs = _open_backoffs(outcomes.recorded)
        self.branches = Branches()
        self.misuse: Exception | None = None
        self._lock = Lock()  # branches of a def body are threads

    def place(self, name: str, kind: StepKind, explicit: str | None) -> CallSite:
        """Return the call site of the next call of this name.

        The key is scope path + name + occurrence; ``explicit`` overrides it. Raises
        :exc:`DuplicateStepKey` if the key was given out in this segment, and
        :exc:`NonDeterminismError` if something else was recorded there or in another order.
        """
        with self._lock:
            branches = self.branches
            scope = branches.main if branches.is_single else branches.current()
            if self.misuse is not None or scope.thread != get_ident():
                self._refuse(f"{kind} {name!r}", scope)
            return self._place(scope, name, kind, explicit)

    def _place(self, scope: Scope, name: str, kind: StepKind, explicit: str | None) -> CallSite:
        key = self._key(scope, name, explicit)
        if scope.tasks:
            self.branches.absorb(scope)
        before = tuple(scope.failed) if scope.failed else ()
        outcome = self._recorded.get(key)
        if outcome is None:
            site = CallSite(key, self._next_position(scope), None, scope, before)
        else:
            _check_same(key, kind, outcome, scope)
            site = CallSite(key, outcome.position, outcome, scope, before)
        scope.last_key = key
        scope.last_position = scope.floor = site.position
        return site

    def name_once(self, name: str) -> str:
        """Return a key for a call that records nothing but must be the same on each replay."""
        with self._lock:
            scope = self.branches.current()
            if not self.branches.is_pool_thread:  # an async body may ask Django's thread to do it
                self._refuse(name, scope)
            return self._key(scope, name, None)

    def check_thread(self, what: str) -> None:
        """Raise :exc:`ForeignThread` for a call in a thread that the body started itself."""
        self._refuse(what, self.branches.current())

    def check_use(self) -> None:
        """Raise what the body did wrong where it may not have seen the error."""
        if self.misuse is not None:
            raise self.misuse

    def _refuse(self, what: str, scope: Scope) -> None:
        self.check_use()
        if scope.thread != get_ident():
            self.misuse = ForeignThread(
                f"{what} was called in a thread that the body started itself. {CURE}"
            )
            raise self.misuse

    def recorded(self, key: str) -> Outcome | None:
        """Return what earlier segments recorded under a key that no call has to itself."""
        return self._recorded.get(key)

    @property
    def is_fresh(self) -> bool:
        """Whether nothing of this attempt is recorded yet."""
        return not self._recorded and not self._failures

    def failures(self, key: str) -> int:
        """Return how often the step failed since the run began, or a person retried it."""
        return self._failures.get(key, 0)

    def backoff(self, key: str) -> str | None:
        """Return the key of the open wait until the step may be tried again, if there is one.

        It is open when something else woke the run: a parallel branch, or a lost worker.
        """
        return self._backoffs.get(key)

    def _key(self, scope: Scope, name: str, explicit: str | None) -> str:
        if explicit is None:
            number = scope.counts[name] = scope.counts.get(name, 0) + 1
            key = f"{scope.path}{name}" if number == 1 else f"{scope.path}{name}#{number}"
        else:
            key = explicit
        if not isinstance(key, str) or not 0 < len(key) <= KEY_LIMIT or not key.isprintable():
            raise InvalidName(
                "expected a step key to be printable text of 1 to "
                f"{KEY_LIMIT} characters, got: {key!r}"
            )
        own = name if explicit is None else explicit
        if own[0] == step_keys.RESERVED:
            step_keys.check_unreserved(own, "a step key")
        if key in self._taken:
            raise DuplicateStepKey(
                f"two calls of this run use the key {key!r}: make the key= of {name!r} different "
                "for each call, for example from its arguments, or leave it out"
            )
        if len(self._taken) >= self._limit:
            raise NonDeterminismError(
                f"the run reached its limit of {self._limit:,} recorded calls at {key!r}: split "
                "it into several runs, or raise TRIGGER_CELERY['STEP_LIMIT']"
            )
        self._taken.add(key)
        return key

    def _next_position(self, scope: Scope) -> int:
        """Return a position after the scope's last and before what is recorded behind it."""
        last = scope.floor
        index = bisect_right(self._positions, last)
        if index == len(self._positions):
            return last + GAP
        return (last + self._positions[index]) // 2


def _open_backoffs(recorded: Mapping[str, Outcome]) -> dict[str, str]:
    return {
        step: outcome.key
        for outcome in recorded.values()
        if outcome.kind is StepKind.RETRY
        and outcome.wait is WaitState.WAITING
        and (step := step_keys.retried_step(outcome.key))
    }


def _check_same(key: str, kind: StepKind, outcome: Outcome, scope: Scope) -> None:
    if outcome.kind is not kind:
        raise NonDeterminismError(
            f"{key!r} is a {kind} in the code but a {outcome.kind} in the record of this run: "
            "the code changed under a run that had passed this point"
        )
    if outcome.position < scope.last_position:
        last = scope.last_key
        raise NonDeterminismError(
            f"the code calls {last!r} before {key!r}, but this run recorded {key!r} before "
            f"{last!r}: the order changed under a run that had passed both"
        )
