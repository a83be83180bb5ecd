"""A soft time limit in a real worker ends the attempt of an async task, and only that."""

from __future__ import annotations

import pytest

from support.celery_states import value_of, wait_until_published
from support.workers import Site
from testproject.shop.tasks import soft_limited, tagged, tagged_error
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.models import FailedAttempt

PLACE = ("redis", "redis")
pytestmark = pytest.mark.requires("redis")


def test_an_async_task_over_its_soft_limit_is_tried_again(place: Site) -> None:
    worker = place.start(concurrency=1)
    worker.wait_until_ready()
    result = soft_limited.apply_async(
        link=tagged.s("soft-link"), link_error=tagged_error.s(tag="soft-error")
    )
    assert value_of(result) == "survived"
    run = wait_until_published(result)
    assert (run.state, run.attempt, run.crashes) == (RunState.COMPLETED, 2, 0)
    assert place.effects(result.id) == ["first", "left-1", "left-2", "last"]
    assert len(set(place.pids(result.id))) == 1
    [failed] = FailedAttempt.objects.filter(run_id=result.id)
    assert "SoftTimeLimitExceeded" in failed.error
    assert place.effects("soft-error") == []
    worker.tell_to_stop()
    assert worker.process.wait(15) == 0
