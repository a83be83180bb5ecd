"""The store of the engine on Django's databases."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial

from django.db import connections, router, transaction

from trigger_celery.vocabulary.records import TaskVersion
from trigger_celery_django import models
from trigger_celery_django.store.bulk.operations import DjangoBulkOperations
from trigger_celery_django.store.children import DjangoChildren
from trigger_celery_django.store.common import guard, transactions
from trigger_celery_django.store.common.guard import (
    Guard,
    check_boundary,
    in_transaction,
    may_block,
)
from trigger_celery_django.store.common.rows import DatabaseNow, read_now
from trigger_celery_django.store.databases import verbs_for
from trigger_celery_django.store.dead_letters import DjangoDeadLetters
from trigger_celery_django.store.events import DjangoEvents, DjangoSubscriptions
from trigger_celery_django.store.keys import DjangoKeys
from trigger_celery_django.store.managing import DjangoManaging
from trigger_celery_django.store.queues.store import DjangoQueues
from trigger_celery_django.store.runs import DjangoCheckpoints, DjangoRuns
from trigger_celery_django.store.schedules import DjangoSchedules
from trigger_celery_django.store.sweeps import DjangoSweeps
from trigger_celery_django.store.tokens import DjangoOpenWaits, DjangoTokens
from trigger_celery_django.store.waits import DjangoWaits


class DjangoStore:
    """Implements :class:`trigger_celery.ports.Store` on one database alias.

    Without an alias it is the one that the routers choose for writing runs. Safe to share
    between threads; each uses its own connection.
    """

    def __init__(self, alias: str | None = None) -> None:
        self.alias = alias or router.db_for_write(models.Run)
        self._guard = Guard(self.alias)
        self.on_commit = self._guard.on_commit
        verbs = verbs_for(self._guard)
        self.runs = DjangoRuns(self._guard, verbs)
        self.managing = DjangoManaging(self._guard)
        self.checkpoints = DjangoCheckpoints(self._guard, verbs)
        self.children = DjangoChildren(self._guard, verbs)
        self.dead_letters = DjangoDeadLetters(self._guard)
        self.waits = DjangoWaits(self._guard, verbs)
        self.events = DjangoEvents(self._guard, verbs)
        self.subscriptions = DjangoSubscriptions(self._guard)
        self.keys = DjangoKeys(self._guard)
        self.sweeps = DjangoSweeps(self._guard)
        self.tokens = DjangoTokens(self._guard)
        self.open_waits = DjangoOpenWaits(self._guard)
        self.schedules = DjangoSchedules(self._guard, self.runs)
        self.queues = DjangoQueues(self._guard)
        self.bulk_operations = DjangoBulkOperations(self._guard, self.runs)
        guard.count_statements()

    def remember_version(self, version: TaskVersion) -> None:
        row = models.TaskVersion(
            digest=version.digest,
            task=version.task,
            source=version.source,
            file=version.file,
            first_line=version.first_line,
            created_at=DatabaseNow(),
        )
        versions = models.TaskVersion.objects.using(self.alias)
        self._guard.transaction(lambda: versions.bulk_create([row], ignore_conflicts=True))

    def now(self) -> datetime:
        return self._guard.read(lambda: read_now(self._guard.connection))

    def atomic(self) -> AbstractContextManager[None]:
        return transactions.step_transaction(self._guard)

    def joined(self) -> AbstractContextManager[None]:
        return self._guard.joined()

    def when_others_commit(self, callback: Callable[[], object]) -> None:
        for connection in connections.all(initialized_only=True):
            elsewhere = connection.alias != self.alias and connection.in_atomic_block
            if elsewhere and in_transaction(connection):
                # Called again, as there may be transactions on several.
                again = partial(self.when_others_commit, callback)
                return transaction.on_commit(again, using=connection.alias)
        callback()

    check_boundary = staticmethod(check_boundary)

    may_block = staticmethod(may_block)

    def seen_by_threads(self) -> bool:
        return not self._guard.connection.in_atomic_block

    query_count = staticmethod(guard.statements)

    def release(self) -> None:
        connections.close_all()

    def let_go(self) -> None:
        for connection in connections.all(initialized_only=True):
            if not connection.in_atomic_block:
                connection.close()

    def leave_pool(self) -> None:
        connection = self._guard.connection
        options = connection.settings_dict["OPTIONS"]
        if options.get("pool"):
            alone = {name: value for name, value in options.items() if name != "pool"}
            settings = {**connection.settings_dict, "OPTIONS": alone}
            connections[self.alias] = type(connection)(settings, self.alias)
