"""The transaction that the body of an atomic step and its checkpoint share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from django.db import connections

from trigger_celery.errors import TransactionOpen
from trigger_celery_django.store.common.guard import Guard

_READS = re.compile(
    r"[\s(]*(select|with|values|table|show|explain|pragma|set|begin|start|commit|rollback"
    r"|savepoint|release)\b",
    re.IGNORECASE,
)
_WRITES_IN_WITH = re.compile(
    r"\b(insert\s+into|update|delete\s+from|merge\s+into)\b", re.IGNORECASE
)


@contextmanager
def step_transaction(guard: Guard) -> Iterator[None]:
    """Open the transaction that a step's body and its checkpoint share."""
    with ExitStack() as stack:
        for alias in connections:
            if alias != guard.alias:
                refuse = _refuse_writes(alias, guard.alias)
                stack.enter_context(connections[alias].execute_wrapper(refuse))
        block = guard.enter_step()
        try:
            yield
        except BaseException as error:
            guard.abandon_step(block, error)
            raise
        guard.leave_step(block)


def _refuse_writes(alias: str, home: str) -> Callable[..., Any]:
    def refuse(
        execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        if not _only_reads(str(sql)):
            raise TransactionOpen(
                f"a step with atomic=True wrote to the database {alias!r}: it commits together "
                f"with its checkpoint on {home!r}, and no other database can take part. "
                "Write there in a step of its own"
            )
        return execute(sql, params, many, context)

    return refuse


def _only_reads(sql: str) -> bool:
    found = _READS.match(sql)
    if found is None:
        return False
    return found.group(1).lower() != "with" or not _WRITES_IN_WITH.search(sql)
