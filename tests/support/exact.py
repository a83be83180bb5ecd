"""Equality that ``==`` is not: of types at every level, of order, of zones and signs."""

from __future__ import annotations

from typing import Any


def same(one: Any, other: Any) -> bool:
    """Whether both are of one type and one value, and so are all their parts."""
    if type(one) is not type(other) or one != other:
        return False
    if isinstance(one, (list, tuple)):
        return all(map(same, one, other))
    if isinstance(one, dict):
        return all(map(same, one.items(), other.items()))
    if isinstance(one, (set, frozenset)):
        twins = {item: item for item in other}
        return all(same(item, twins[item]) for item in one)
    # 0.0 and -0.0, Decimal's exponent, fold and the kind of time zone: only repr differs.
    return repr(one) == repr(other)
