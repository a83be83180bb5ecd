"""The columns of a run: their one list, what a new row gets, and the record of a row.

The list is made of the fields of the records, whose names are those of the columns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from trigger_celery.vocabulary.records import ListedRun, Run, RunSpec
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django import models
from trigger_celery_django.store.common.tags import tags_text

SPEC_COLUMNS = tuple(field.name for field in fields(RunSpec))
"""What no transition changes."""
STATE_COLUMNS = tuple(field.name for field in fields(Run) if field.name != "spec")
"""What the transitions change."""
RUN_COLUMNS = SPEC_COLUMNS + STATE_COLUMNS

LISTED_COLUMNS = tuple(field.name for field in fields(ListedRun))
"""What a list of runs reads."""

_SPECS = len(SPEC_COLUMNS)
_TAGS, _STATE = SPEC_COLUMNS.index("tags"), STATE_COLUMNS.index("state")


def spec_columns(spec: RunSpec) -> dict[str, Any]:
    """Return the columns of what a run is."""
    columns = {name: getattr(spec, name) for name in SPEC_COLUMNS}
    return {**columns, "tags": tags_text(spec.tags) if spec.tags else ""}


def run_columns(run: Run) -> dict[str, Any]:
    """Return the columns of a run."""
    return {**spec_columns(run.spec), **{name: getattr(run, name) for name in STATE_COLUMNS}}


def run_of(columns: Sequence[Any]) -> Run:
    """Return the record of a row's columns, given in the order of ``RUN_COLUMNS``."""
    spec, state = list(columns[:_SPECS]), list(columns[_SPECS:])
    spec[_TAGS] = tuple(json.loads(spec[_TAGS])) if spec[_TAGS] else ()
    state[_STATE] = RunState(state[_STATE])
    return Run(
        spec=RunSpec(**dict(zip(SPEC_COLUMNS, spec, strict=True))),
        **dict(zip(STATE_COLUMNS, state, strict=True)),
    )


def run_record(row: models.Run) -> Run:
    """Return the record of a row."""
    return run_of([getattr(row, name) for name in RUN_COLUMNS])


def listed_run(columns: Mapping[str, Any]) -> ListedRun:
    """Return the record of ``LISTED_COLUMNS`` by their names."""
    tags = tuple(json.loads(columns["tags"])) if columns["tags"] else ()
    return ListedRun(**{**columns, "state": RunState(columns["state"]), "tags": tags})
