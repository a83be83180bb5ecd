"""What failed for good and waits for a person, and the counts of its groups."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from heapq import merge
from itertools import islice
from typing import Any
from uuid import UUID

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, Q

from trigger_celery.errors import RunNotFound
from trigger_celery.vocabulary import dead_letter_groups
from trigger_celery.vocabulary.records import (
    Cause,
    Counted,
    DeadLetter,
    DeadLetterFilter,
    DeadLetterGroup,
    DeadLetterOutline,
    DeadLetterPosition,
    GroupFilter,
    GroupPosition,
    Ignore,
    Tally,
    Uncounted,
)
from trigger_celery.vocabulary.states import DeadLetterState, GroupState
from trigger_celery_django import models
from trigger_celery_django.store.common import dead_letters
from trigger_celery_django.store.common.guard import Guard
from trigger_celery_django.store.common.rows import DatabaseNow, noted, read_now

_CAUSE = tuple(field.name for field in fields(Cause))
_OUTLINE = tuple(
    field.name for field in fields(DeadLetterOutline) if field.name not in ("run_id", "cause")
)
_COLUMNS = ("run_id", *_CAUSE, *_OUTLINE)
_COUNTED = ("counted_group", "counted_state", "counted_seen")
_GROUP = tuple(field.name for field in fields(DeadLetterGroup) if field.name != "ignore")
_CHANGING = ("ignore_until", "ignore_seen", "ignore_rate", *_GROUP[1:])


class DjangoDeadLetters:
    """Implements :class:`trigger_celery.ports.DeadLetters`."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._alias = guard.alias

    def get(self, run_id: UUID) -> DeadLetter | None:
        rows = self._rows().filter(pk=run_id).values(*_COLUMNS, "error")
        row = self._guard.read(rows.first)
        if row is None:
            return None
        error = row.pop("error")
        return DeadLetter(**_columns(row), error=error)

    def find(
        self, wanted: DeadLetterFilter, *, after: DeadLetterPosition | None = None, limit: int
    ) -> Sequence[DeadLetterOutline]:
        def work() -> list[DeadLetterOutline]:
            # One state at a time, so that an index has the rows in their order.
            pages = [
                self._page(self._rows().wanted(wanted, state), after, limit)
                for state in wanted.states or DeadLetterState
            ]
            return list(islice(merge(*pages, key=_place, reverse=True), limit))

        return self._guard.read(work)

    def _page(
        self, rows: Any, after: DeadLetterPosition | None, limit: int
    ) -> list[DeadLetterOutline]:
        found = rows.last_seen_first(after).values(*_COLUMNS)[:limit]
        return sorted((_outline(row) for row in found), key=_place, reverse=True)

    def discard(self, run_id: UUID, details: Mapping[str, str]) -> bool:
        def work() -> bool:
            run = (
                models.Run.objects.using(self._alias).select_for_update().filter(pk=run_id).first()
            )
            if run is None:
                raise RunNotFound(f"no run has the id {run_id}")
            if not self._settle_open(run_id, DeadLetterState.DISCARDED, details):
                return False
            noted(run, "discard", **details).save(using=self._alias, force_insert=True)
            return True

        return self._guard.transaction(work)

    def hand_on(self, run_id: UUID, details: Mapping[str, str]) -> bool:
        return self._guard.joining(
            lambda: self._settle_open(run_id, DeadLetterState.RETRIED, details)
        )

    def _settle_open(
        self, run_id: UUID, state: DeadLetterState, details: Mapping[str, str]
    ) -> bool:
        found = self._rows().filter(pk=run_id, state=DeadLetterState.OPEN)
        return bool(found.update(**dead_letters.settled(state, details)))

    def tally(self, *, limit: int) -> Tally:
        # Nearly always nothing changed: then one query is all, without a transaction.
        if not self._guard.statement(self._has_changes):
            return Tally()
        # Read before the transaction, whose snapshot must not begin before it has its locks.
        found = self._uncounted().order_by("last_seen_at").values_list("pk", flat=True)[:limit]
        ids = self._guard.read(lambda: list(found))
        over = self._guard.read(lambda: list(self._over().values_list("pk", flat=True)))
        return self._guard.transaction(lambda: self._tally(ids, over))

    def _has_changes(self, connection: BaseDatabaseWrapper) -> bool:
        probes = [
            rows.values("pk")[:1].query.get_compiler(connection=connection).as_sql()
            for rows in (self._uncounted(), self._over())
        ]
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT " + ", ".join(f"EXISTS ({sql})" for sql, _ in probes),
                [parameter for _, parameters in probes for parameter in parameters],
            )
            return any(cursor.fetchone())

    def _uncounted(self) -> Any:
        return self._rows().filter(tallied=False)

    def _over(self) -> Any:
        """Return the groups that are not to be ignored any longer."""
        return self._group_rows().filter(ignore_until__lte=DatabaseNow())

    def _tally(self, ids: Sequence[UUID], over: Sequence[str]) -> Tally:
        skip = self._guard.connection.features.has_select_for_update_skip_locked
        locked = self._rows().filter(pk__in=ids).select_for_update(skip_locked=skip)
        rows = [row for row in locked.defer("error") if not row.tallied]
        updates = [_uncounted(row) for row in rows]
        names = dead_letter_groups.groups_of(updates)
        self._make(names)
        groups = self._locked_groups({*names, *over})
        known = {row.pk: group_record(row) for row in groups if row.seen}
        after, found = dead_letter_groups.tally(known, updates, read_now(self._guard.connection))
        changed = [models.DeadLetterGroup(**group_columns(group)) for group in after]
        self._group_rows().bulk_update(changed, _CHANGING, batch_size=50)
        self._rows().filter(pk__in=[row.pk for row in rows]).update(
            tallied=True,
            counted_group=F("fingerprint"),
            counted_state=F("state"),
            counted_seen=F("returns") + 1,
        )
        return found

    def _make(self, names: Iterable[str]) -> None:
        """Let there be a row for each group, to be locked: one without ``seen`` is new."""
        now = DatabaseNow()
        rows = [
            models.DeadLetterGroup(
                fingerprint=name, state=GroupState.OPEN, first_seen_at=now, last_seen_at=now
            )
            for name in names
        ]
        self._group_rows().bulk_create(rows, ignore_conflicts=True)

    def _locked_groups(self, names: Collection[str]) -> list[models.DeadLetterGroup]:
        """Lock in one order, so that passes that meet wait for each other in turn."""
        rows = self._group_rows().select_for_update().filter(pk__in=names)
        return list(rows.order_by("pk"))

    def groups(
        self, wanted: GroupFilter, *, after: GroupPosition | None = None, limit: int
    ) -> Sequence[DeadLetterGroup]:
        rows = self._group_rows().filter(seen__gt=0)
        exact: dict[str, object] = {
            "kind__in": wanted.kinds,
            "last_seen_at__gte": wanted.since,
            "last_seen_at__lt": wanted.until,
        }
        rows = rows.filter(**{name: value for name, value in exact.items() if value})
        if after is not None:
            same_time = Q(last_seen_at=after.last_seen_at, pk__lt=after.fingerprint)
            rows = rows.filter(
                Q(last_seen_at__lt=after.last_seen_at) | same_time,
                last_seen_at__lte=after.last_seen_at,
            )
        rows = rows.order_by("-last_seen_at", "-pk")

        def work() -> list[DeadLetterGroup]:
            pages = [
                [group_record(row) for row in rows.filter(state=state)[:limit]]
                for state in wanted.states or GroupState
            ]
            return list(islice(merge(*pages, key=_rank, reverse=True), limit))

        return self._guard.read(work)

    def group(self, fingerprint: str) -> DeadLetterGroup | None:
        rows = self._group_rows().filter(pk=fingerprint, seen__gt=0)
        row = self._guard.read(rows.first)
        return None if row is None else group_record(row)

    def groups_beginning_with(self, digits: str, *, limit: int) -> Sequence[str]:
        rows = self._group_rows().filter(pk__range=(digits, digits.ljust(16, "g")), seen__gt=0)
        names = rows.order_by("pk").values_list("pk", flat=True)
        return self._guard.read(lambda: list(names[:limit]))

    def ignore(
        self, fingerprint: str, ignore: Ignore | None, details: Mapping[str, str]
    ) -> DeadLetterGroup | None:
        def work() -> DeadLetterGroup | None:
            row = self._group_rows().select_for_update().filter(pk=fingerprint, seen__gt=0).first()
            if row is None:
                return None
            after = dead_letter_groups.looked_at(group_record(row), ignore, details)
            models.DeadLetterGroup(**group_columns(after)).save(
                using=self._alias, force_update=True
            )
            return after

        return self._guard.transaction(work)

    def _rows(self) -> Any:
        return models.DeadLetter.objects.using(self._alias)

    def _group_rows(self) -> Any:
        return models.DeadLetterGroup.objects.using(self._alias)


def _columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a dead letter by the columns of its row."""
    shown = {name: row[name] for name in ("run_id", *_OUTLINE)}
    cause = Cause(**{name: row[name] for name in _CAUSE})
    return {**shown, "state": DeadLetterState(row["state"]), "cause": cause}


def _outline(row: Mapping[str, Any]) -> DeadLetterOutline:
    return DeadLetterOutline(**_columns(row))


def _uncounted(row: models.DeadLetter) -> Uncounted:
    columns = {name: getattr(row, name) for name in (*_COLUMNS, *_COUNTED)}
    counted = None
    if columns["counted_seen"]:
        counted = Counted(
            group=columns["counted_group"],
            state=DeadLetterState(columns["counted_state"]),
            seen=columns["counted_seen"],
        )
    return Uncounted(dead_letter=_outline(columns), counted=counted)


def _place(dead_letter: DeadLetterOutline) -> tuple[Any, ...]:
    return dead_letter.last_seen_at, dead_letter.run_id


def _rank(group: DeadLetterGroup) -> tuple[Any, ...]:
    return group.last_seen_at, group.fingerprint


def group_record(row: models.DeadLetterGroup) -> DeadLetterGroup:
    """Return the record of a row."""
    columns: dict[str, Any] = {name: getattr(row, name) for name in _GROUP}
    columns["state"] = GroupState(row.state)
    columns["tasks"] = tuple(json.loads(row.tasks))
    columns["recent"] = tuple((hour, count) for hour, count in json.loads(row.recent))
    if row.state == GroupState.IGNORED:
        columns["ignore"] = Ignore(
            until=row.ignore_until, seen=row.ignore_seen, rate=row.ignore_rate
        )
    return DeadLetterGroup(**columns)


def group_columns(group: DeadLetterGroup) -> dict[str, Any]:
    """Return the columns of a group."""
    ignore = group.ignore or Ignore()
    return {
        **{name: getattr(group, name) for name in _GROUP},
        "tasks": json.dumps(group.tasks),
        "recent": json.dumps(group.recent),
        "ignore_until": ignore.until,
        "ignore_seen": ignore.seen,
        "ignore_rate": ignore.rate,
    }
