"""The rows that runs are found by tag with; a run's own column says what its tags are."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from uuid import UUID

from trigger_celery.vocabulary.records import NewRun
from trigger_celery_django.models import RunTag
from trigger_celery_django.store.common.bulk import insert


def tags_text(tags: Sequence[str]) -> str:
    """Return the text of a row's tags."""
    return json.dumps(tags) if tags else ""


def add_tags(alias: str, runs: Sequence[NewRun], created: Collection[UUID]) -> None:
    """Store the tags of those runs that were created; without tags nothing is sent."""
    rows = [
        RunTag(run_id=run.id, tag=tag)
        for run in {run.id: run for run in runs}.values()
        if run.id in created
        for tag in run.tags
    ]
    if rows:
        insert(alias, rows)


def replace_tags(alias: str, run_id: UUID, tags: Sequence[str]) -> None:
    """Store these tags of a run in place of what it had."""
    RunTag.objects.using(alias).filter(run=run_id).delete()
    insert(alias, [RunTag(run_id=run_id, tag=tag) for tag in tags])
