"""The same runs on every broker and in every pool.

Not here: gevent and eventlet. Their greenlets need no prefork signals, but a CPU-bound step
starves the heartbeat, ``-B`` is refused, and an ``async def`` body cannot start its own event
loop once two greenlets overlap.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from support.celery_states import value_of, wait_for_run, wait_until_published
from support.workers import Site, site
from testproject.shop import tasks
from testproject.shop.models import Effect
from trigger_celery import send_event
from trigger_celery.client.access import installed_engine
from trigger_celery.vocabulary.states import RunState

PLACES = [
    pytest.param(("redis", "prefork"), marks=pytest.mark.requires("redis"), id="redis-prefork"),
    pytest.param(("redis", "threads"), marks=pytest.mark.requires("redis"), id="redis-threads"),
    pytest.param(("redis", "solo"), marks=pytest.mark.requires("redis"), id="redis-solo"),
    pytest.param(
        ("rabbitmq", "prefork"), marks=pytest.mark.requires("rabbitmq"), id="rabbitmq-prefork"
    ),
    pytest.param(("filesystem", "prefork"), id="filesystem-prefork"),
    pytest.param(("filesystem", "threads"), id="filesystem-threads"),
]
CORPUS = {
    "linear": ["trigger queued", "claim executing", "complete completed"],
    "nap": [
        "trigger queued",
        "claim executing",
        "suspend suspended",
        "wake queued",
        "claim executing",
        "complete completed",
    ],
}


@pytest.fixture(scope="module", params=PLACES)
def place(transactional_db: None, request: pytest.FixtureRequest) -> Iterator[Site]:
    """Return a place with a worker of the pool."""
    broker, pool = request.param
    with site(broker, "django-db") as opened:
        opened.start(pool=pool).wait_until_ready()
        yield opened


def verbs_of(result: object) -> list[str]:
    """Return the history of a run."""
    run = wait_until_published(result)  # type: ignore[arg-type]  # an AsyncResult of any type
    history = installed_engine().store.runs.history(run.id)
    return [f"{entry.verb} {entry.state}" for entry in history]


def test_a_run_without_waits(place: Site) -> None:
    result = tasks.linear.delay(1)
    assert value_of(result) == 2
    assert place.effects(result.id) == ["first", "last"]
    assert [v for v in verbs_of(result) if "publish" not in v] == CORPUS["linear"]


def test_a_run_that_sleeps(place: Site) -> None:
    result = tasks.nap.delay(1)
    assert value_of(result) == 2
    assert place.effects(result.id) == ["first", "last"]
    assert [v for v in verbs_of(result) if "publish" not in v] == CORPUS["nap"]


@pytest.mark.parametrize("name", ["waiter", "async_waiter"])
def test_a_run_that_waits_for_an_event(place: Site, name: str) -> None:
    key = str(uuid4())
    result = getattr(tasks, name).delay(key)
    wait_for_run(result, RunState.SUSPENDED)
    send_event("go", {"key": key, "n": 5})
    assert value_of(result) in (5, 6)
    effects = place.effects(result.id)
    assert effects == {"waiter": ["first", "last"], "async_waiter": ["fetch"]}[name]
    assert [v for v in verbs_of(result) if "publish" not in v] == CORPUS["nap"]


def test_an_atomic_step_writes_once(place: Site) -> None:
    result = tasks.stores.delay(7)
    assert value_of(result) == 7
    assert place.effects(result.id) == ["stored", "last"]
    assert list(Effect.objects.filter(run=result.id).values_list("n", flat=True)) == [7]


def test_context_variables_do_not_leak_from_run_to_run(place: Site) -> None:
    results = [tasks.leaky.delay(n) for n in range(4)]
    assert [value_of(result)[0] for result in results] == [""] * 4
    assert value_of(tasks.outside.delay()) is False
