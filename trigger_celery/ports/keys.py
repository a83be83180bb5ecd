"""Keys that stand for a run: idempotency and debounce."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol
from uuid import UUID

from trigger_celery.vocabulary.records import HeldKey, KeyPurpose, NewKey, PushBack


class Keys(Protocol):
    """Which run holds which key. A verb takes part in :meth:`Store.joined`, which is around it.

    A key that was asked for stays locked until that transaction ends: a caller that asks for it
    meanwhile waits, and then finds the run or the free key that it left behind.
    """

    def hold(self, keys: Sequence[NewKey]) -> Sequence[HeldKey]:
        """Return the holders of these keys, in their order; a free one is given to the caller.

        No two of ``keys`` are the same. An idempotency key is free when its run is missing or
        ended in one of ``FREES``, or when its time is over; a debounce key when its run is
        missing, was ever started, or has ended.
        """

    def take(self, key: NewKey) -> None:
        """Give a key that was asked for to the caller, whichever run holds it."""

    def drop(self, run_ids: Collection[UUID]) -> None:
        """Free the keys that these runs hold."""

    def reset(self, purpose: KeyPurpose, task: str, digest: str) -> bool:
        """Free a key; return False if no run held it."""

    def push_back(self, push: PushBack) -> bool:
        """Put off a run that is queued and was never started; return False for any other.

        False, too, if it would start later than its ``max_delay`` allows: nothing is changed.
        Its time to live counts from its new time.
        """
