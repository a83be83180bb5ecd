"""A stand-in for a payment gateway: the first request for each payment fails.

Like a real one it takes an idempotency key: a payment that is asked for twice is made once.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from pathlib import Path
from typing import TypedDict

from django.conf import settings


class GatewayUnavailable(Exception):
    """The gateway answered 503; nothing was charged."""


class Payment(TypedDict):
    """A payment that was made."""

    id: str
    amount: Decimal


def charge(amount: Decimal, *, idempotency_key: str) -> Payment:
    """Charge ``amount``. Raises :exc:`GatewayUnavailable` the first time for each key."""
    digest = _digest(idempotency_key)
    seen = Path(settings.SHOP_HOME) / "gateway" / digest
    if not seen.exists():
        seen.parent.mkdir(exist_ok=True)
        seen.touch()
        raise GatewayUnavailable("503 Service Unavailable")
    return Payment(id=f"ch_{digest}", amount=amount)


def pay_back(*, idempotency_key: str) -> str:
    """Pay money back and return the id of the refund."""
    return f"re_{_digest(idempotency_key)}"


def _digest(idempotency_key: str) -> str:
    return hashlib.sha256(idempotency_key.encode()).hexdigest()[:16]
