"""Failures of steps that hold: raised to the body, and by every replay as they were then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from trigger_celery.errors import CodecError, StepFailed
from trigger_celery.ports import Codec
from trigger_celery.values import raised
from trigger_celery.values.failures import Failure, from_text
from trigger_celery.vocabulary.records import FailedAttempt, Holds, Outcome


@dataclass(slots=True, eq=False)
class Failed:
    """One failure: ``error`` is what the body got, ``cause`` what the step's body raised.

    Of a replayed one there is no cause. ``text`` is what people see of it.
    """

    key: str
    number: int
    error: Exception
    holds: Holds
    text: str
    cause: Exception | None = None


class Failures:
    """Those that the body of one segment met."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._met: list[Failed] = []

    def hold(
        self, attempt: FailedAttempt, error: Exception, holds: Holds
    ) -> tuple[FailedAttempt, Failed]:
        """Return what to record of a step that is not tried again, and what its body gets."""
        text = raised.dump(error, self._codec.encode, self._codec.decode)
        attempt = replace(attempt, raised=text, holds=holds)
        again = self._again(text, attempt.error)
        trace = error.__traceback__
        again.with_traceback(trace.tb_next if trace is not None else None)
        if again.__cause__ is None:
            again.__context__ = error.__context__
            again.__suppress_context__ = error.__suppress_context__
        elif error.__cause__ is not None:
            again.__cause__.__traceback__ = error.__cause__.__traceback__
        return attempt, Failed(attempt.key, attempt.number, again, holds, attempt.error, error)

    def replayed(self, outcome: Outcome, number: int) -> Failed:
        """Return a recorded failure, to be raised again."""
        assert outcome.value is not None
        assert outcome.error is not None
        error = self._again(outcome.value, outcome.error)
        failed = Failed(outcome.key, number, error, outcome.holds, outcome.error)
        self._met.append(failed)
        return failed

    def met(self, failed: Failed) -> None:
        """Note that the body gets this failure, now that it is recorded."""
        self._met.append(failed)

    def _again(self, text: str, described: str) -> Exception:
        if text:
            try:
                return raised.load(text, self._codec.decode)
            except CodecError:  # another process raised it, of a class that is unknown here
                pass
        failure = from_text(described)
        return StepFailed(failure.kind, failure.message)

    def behind(self, error: BaseException) -> Failed | None:
        """Return the failure that ``error`` is, or is raised from; of several the firmest."""
        found = [each for one in _explicit_causes(error) for each in self._met if each.error is one]
        return max(found, key=lambda each: _FIRMNESS.index(each.holds), default=None)

    def unwrapped(self, error: Exception) -> Exception:
        """Return what a step really raised, where its body got a :exc:`StepFailed` for it."""
        for each in self._met:
            if each.error is error and isinstance(error, StepFailed) and each.cause is not None:
                each.error = each.cause.with_traceback(error.__traceback__)
                return each.error
        return error

    def described(self, error: Exception, failure: Failure) -> Failure:
        """Return what people see of ``error``: what was recorded, where that says more."""
        failed = self.behind(error)
        if failed is None or failed.error is not error:
            return failure
        if failed.cause is None:
            return replace(from_text(failed.text), notes=failure.notes)
        return failure


_FIRMNESS = (Holds.NOT, Holds.ATTEMPT, Holds.LIFE, Holds.ALWAYS)


def _explicit_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, what it was raised from, and so on; of a group each branch's."""
    seen: list[BaseException] = []
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if each is None or any(each is one for one in seen):
            continue
        seen.append(each)
        yield each
        left.append(each.__cause__)
        if isinstance(each, BaseExceptionGroup):
            left += each.exceptions


def not_kept(failures: Iterable[Failed]) -> dict[str, int]:
    """Return those that do not hold always, as the store names them."""
    return {each.key: each.number for each in failures if each.holds is not Holds.ALWAYS}
