"""What tests of Celery's side start from: only the tasks that were there before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import _state, current_app

from trigger_celery.declare.definition import declared_tasks


@pytest.fixture(autouse=True)
def forgets_tasks() -> Iterator[None]:
    """Forget the tasks that a test declared, here and in Celery."""
    state: Any = _state
    before, finalizers = {task.name for task in declared_tasks}, set(state._on_app_finalizers)
    yield
    for name in {task.name for task in declared_tasks} - before:
        declared_tasks.remove(name)
        current_app.tasks.pop(name, None)
    state._on_app_finalizers.intersection_update(finalizers)
