"""The limits of a durable queue, as code and settings say them: ``RateLimit`` and its checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from typing import Any

from trigger_celery.config import suggest
from trigger_celery.errors import DeclarationError, InvalidTime, UnknownOption
from trigger_celery.vocabulary.checks import LONGEST, duration
from trigger_celery.vocabulary.records import Rate

ARGUMENTS = {
    "concurrency_limit": "concurrency",
    "key_limit": "key_concurrency",
    "rate_limit": "rate",
    "key_rate_limit": "key_rate",
}
"""What authors call the limits, and what the record ``Limits`` calls them."""
RATES = frozenset({"rate_limit", "key_rate_limit"})


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most so many first starts of runs in a time; ``per`` is a ``timedelta`` or seconds.

    ``RateLimit(100, per=60)`` is smooth: one start each 0.6 seconds. ``burst`` starts may come
    at once after a pause that long, the next ones one by one again: in any stretch of ``per``
    that counts one of its ends, at most ``limit + burst - 1`` runs start.

    Raises :exc:`DeclarationError` for a rate of zero and for what is no number.
    """

    limit: int
    _: KW_ONLY
    per: timedelta | float
    burst: int = 1

    def __post_init__(self) -> None:
        whole(self.limit, "the limit of a RateLimit", least=1)
        whole(self.burst, "the burst of a RateLimit", least=1)
        try:
            per = duration(self.per, "per of a RateLimit")
        except InvalidTime as error:
            raise DeclarationError(str(error)) from None
        if per // timedelta.resolution < self.limit:
            raise DeclarationError(
                "expected a RateLimit to leave a microsecond or more between two starts, "
                f"got: {self.limit:,} per {per}"
            )
        # Whole numbers: the product of a duration and a large number may not be a timedelta.
        if per // timedelta.resolution * self.burst > LONGEST // timedelta.resolution * self.limit:
            raise DeclarationError(
                "expected the burst of a RateLimit to be earned again within a hundred years, "
                f"got: {self.burst:,} at {self.limit:,} per {per}"
            )
        object.__setattr__(self, "per", per)

    @property
    def rate(self) -> Rate:
        """What the engine counts with; the interval is rounded up, so the limit holds."""
        per = duration(self.per, "per")
        return Rate(interval=-(-per // self.limit), burst=self.burst)


def whole(value: object, what: str, *, least: int = 0, most: int | None = None) -> int:
    """Return a whole number in these bounds. Raises :exc:`DeclarationError` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise DeclarationError(
            f"expected {what} to be a whole number of {least:,} or more, got: {value!r}"
        )
    if most is not None and value > most:
        raise DeclarationError(f"expected {what} to be at most {most:,}, got: {value:,}")
    return value


def checked(given: Mapping[str, object], what: str) -> dict[str, Any]:
    """Return limits by their names in :class:`~trigger_celery.vocabulary.records.Limits`.

    They are given by their names in :data:`ARGUMENTS`, None for no limit; ``what`` names whose
    they are. Raises :exc:`DeclarationError`, :exc:`UnknownOption`.
    """
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name not in ARGUMENTS:
            raise UnknownOption(f"{what} has no limit {name!r}{suggest(name, ARGUMENTS)}")
        found[ARGUMENTS[name]] = _checked(name, value, f"{name} of {what}")
    total, of_key = found.get("concurrency"), found.get("key_concurrency")
    if total and of_key and of_key > total:
        raise DeclarationError(
            f"expected key_limit of {what} to be at most its concurrency_limit ({total:,}), "
            f"got: {of_key:,}: no key could ever reach it"
        )
    return found


def _checked(name: str, value: object, what: str) -> int | Rate | None:
    if value is None:
        return None
    if name in RATES:
        if not isinstance(value, RateLimit):
            raise DeclarationError(f"expected {what} to be a RateLimit, got: {value!r}")
        return value.rate
    if name == "key_limit" and value == 0 and not isinstance(value, bool):
        raise DeclarationError(
            f"expected {what} to be 1 or more, got: 0. To start nothing, pause the queue, or "
            "give it concurrency_limit=0"
        )
    return whole(value, what)
