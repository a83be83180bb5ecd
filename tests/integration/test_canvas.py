"""Links, chains, groups, chords and errbacks with durable members: once, at the final end."""

from __future__ import annotations

import pytest
from celery import chain, chord, group
from celery.exceptions import ChordError

from support.celery_states import run_of, value_of, wait_for_state, wait_until_published
from support.waiting import eventually
from support.workers import Site, Worker
from testproject.shop.tasks import (
    failing,
    linear,
    nap,
    plain_add,
    tagged,
    tagged_error,
    tagged_sum,
    total,
)
from trigger_celery.vocabulary.states import RunState

pytestmark = [
    pytest.mark.requires("redis"),
    pytest.mark.usefixtures("worker"),
    pytest.mark.parametrize(
        "place", [("redis", "redis"), ("redis", "django-db")], indirect=True, ids=["redis", "orm"]
    ),
]


@pytest.fixture
def tag(request: pytest.FixtureRequest) -> str:
    """Return a word that marks the effects of this test."""
    return str(abs(hash(request.node.nodeid)))


def quiet_effects(place: Site, worker: Worker, tag: str) -> list[str]:
    """Return the effects of a tag once nothing can come any more: a later task was done."""
    marker = tagged.delay("end", f"{tag}-end")
    value_of(marker)
    return place.effects(tag)


def test_a_link_of_a_suspending_run_fires_once_at_its_end(
    place: Site, worker: Worker, tag: str
) -> None:
    result = nap.apply_async((1,), link=tagged.s(tag))
    assert value_of(result) == 2
    eventually(lambda: place.effects(tag))
    assert wait_until_published(result).fence == 2
    assert quiet_effects(place, worker, tag) == ["2"]


def test_a_durable_link_runs_with_the_result(place: Site, worker: Worker) -> None:
    callback = nap.s()
    callback.freeze()
    value_of(nap.apply_async((1,), link=callback))
    assert value_of(nap.AsyncResult(str(callback.id))) == 3


def test_errbacks_fire_once_and_links_do_not(place: Site, worker: Worker, tag: str) -> None:
    result = failing.apply_async(link=tagged.s(tag), link_error=tagged_error.s(tag=tag))
    with pytest.raises(ValueError, match="it failed"):
        value_of(result)
    assert result.state == "FAILURE"
    eventually(lambda: place.effects(tag))
    assert quiet_effects(place, worker, tag) == ["errback"]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (lambda: (nap.s(1), plain_add.s(10)), 12),
        (lambda: (plain_add.s(1, 1), nap.s(), plain_add.s(10)), 13),
        (lambda: (plain_add.s(1, 1), nap.s()), 3),
        (lambda: (nap.s(1), nap.s(), nap.s()), 4),
    ],
    ids=["first", "middle", "last", "only"],
)
def test_a_chain_goes_through_suspending_members(
    place: Site, worker: Worker, tag: str, steps: object, expected: int
) -> None:
    assert callable(steps)
    assert value_of(chain(*steps(), tagged.s(tag))()) == expected
    assert quiet_effects(place, worker, tag) == [str(expected)]


def test_a_group_gives_all_results(place: Site, worker: Worker) -> None:
    assert value_of(group(nap.s(n) for n in range(4))()) == [1, 2, 3, 4]


def test_a_chord_of_suspending_members_calls_its_body_once(
    place: Site, worker: Worker, tag: str
) -> None:
    result = chord([nap.s(n) for n in range(4)], tagged_sum.s(tag))()
    assert value_of(result) == 10
    assert quiet_effects(place, worker, tag) == ["sum10"]


def test_a_chord_may_have_a_durable_body_that_suspends(place: Site, worker: Worker) -> None:
    result = chord([nap.s(1), linear.s(2), plain_add.s(1, 1)], total.s())()
    assert value_of(result) == 7
    assert run_of(result).fence == 2
    assert place.effects(result.id) == ["last"]


def test_a_group_may_stand_within_a_chain(place: Site, worker: Worker, tag: str) -> None:
    work = chain(nap.s(0), group(nap.s(), nap.s()), tagged_sum.s(tag))
    assert value_of(work()) == 4
    assert quiet_effects(place, worker, tag) == ["sum4"]


def test_a_failing_member_of_a_chord_fires_the_errback_of_its_body(
    place: Site, worker: Worker, tag: str
) -> None:
    body = tagged_sum.s(tag).on_error(tagged_error.s(tag=tag))
    result = chord([nap.s(1), failing.s()], body)()
    wait_for_state(result, "FAILURE")
    assert isinstance(result.result, ChordError)
    eventually(lambda: place.effects(tag))
    assert quiet_effects(place, worker, tag) == ["errback"]


def test_the_steps_of_members_ran_once(place: Site, worker: Worker) -> None:
    results = group(nap.s(n) for n in range(3))()
    value_of(results)
    for member in results.results:
        assert place.effects(member.id) == ["first", "last"]
        assert run_of(member).state is RunState.COMPLETED
