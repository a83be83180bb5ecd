"""Each verb moves a run as the functions of ``vocabulary.lifecycle`` say, times included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, get_args, get_origin, get_type_hints
from uuid import UUID

from trigger_celery.ports import Store
from trigger_celery.testing.contract.tools import (
    AWKWARD,
    LEASE,
    LONG,
    LOOK_WITHIN,
    NUDGE_INTERVAL,
    Advance,
    asked,
    claim,
    emitted,
    ending,
    event_wait,
    got,
    limit,
    new_run,
    queued,
    run_in,
    sleeping,
    started,
    suspend,
    suspended,
    suspension,
    swept,
    wait_ids,
)
from trigger_celery.values.failures import crashed, overdue
from trigger_celery.vocabulary import lifecycle
from trigger_celery.vocabulary.identity import new_id, new_token
from trigger_celery.vocabulary.records import Lease, NewRun, PushBack, Run, RunSpec
from trigger_celery.vocabulary.states import RunState, WaitState

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
AUDIT = {"by": "ann"}
Expected = Callable[[Run, datetime], Run]


def becomes(
    store: Store, run_id: UUID, verb: Callable[[], object], expected: Expected
) -> tuple[Run, datetime]:
    """Call the verb, and fail unless the run became what ``expected`` makes of it.

    A time is right if some moment between the beginning and the end of the verb gives it: on a
    clock that stands still it is exact. Returns the run, and the latest such moment.
    """
    before, earliest = got(store, run_id), store.now()
    verb()
    after, latest = got(store, run_id), store.now()
    _check(after, expected(before, earliest), expected(before, latest))
    return after, latest


def _check(run: Run, first: Run, last: Run) -> None:
    for name in (field.name for field in fields(Run)):
        value, low, high = (getattr(each, name) for each in (run, first, last))
        if value is None or not isinstance(low, datetime):
            assert value == low, f"{name} is {value!r}, expected {low!r}"
        else:
            assert low <= value <= high, f"{name} is {value}, expected {low} to {high}"


def _created(store: Store, new: NewRun, *, limited: bool = False) -> Run:
    create = partial(lifecycle.create, new, nudge_interval=NUDGE_INTERVAL, limited=limited)
    earliest = store.now()
    store.runs.create([new])
    run = got(store, new.id)
    _check(run, create(earliest), create(store.now()))
    return run


def _queue(run: Run, now: datetime) -> Run:
    return lifecycle.queue(run, now, nudge_interval=NUDGE_INTERVAL)


def _crash(run: Run, now: datetime) -> Run:
    return lifecycle.crash(run, now, nudge_interval=NUDGE_INTERVAL, give_up=crashed)[0]


def _expire(run: Run, now: datetime) -> Run:
    return lifecycle.force_end(run, overdue(run), now, nudge_interval=NUDGE_INTERVAL)


def _claim(store: Store, run_id: UUID, *, length: timedelta = LEASE) -> Lease:
    what = asked(run_id, length=length)
    run, _ = becomes(
        store,
        run_id,
        lambda: store.runs.claim(what),
        lambda run, now: lifecycle.claim(run, what, now),
    )
    return Lease(run_id, run.fence, what.token)


def _sweep(store: Store, run_id: UUID, expected: Expected) -> Run:
    return becomes(store, run_id, lambda: swept(store), expected)[0]


def _some(hint: object) -> object:
    """Return a value of a field's type that is not its default: a new field needs no new test."""
    kinds = {UUID: new_id(), str: "some", int: 7, bool: True, timedelta: MINUTE}
    if get_origin(hint) is tuple:
        return ("some", AWKWARD)
    return next(value for kind, value in kinds.items() if kind in (hint, *get_args(hint)))


class StartingLifecycleContract:
    """How a run is created, claimed and kept by its worker."""

    def test_a_run_is_created_as_the_lifecycle_says(self, store: Store) -> None:
        _created(store, new_run())
        _created(store, replace(new_run(), ttl=MINUTE, max_duration=LONG, priority=7))
        delayed = _created(store, replace(new_run(delay=LONG), ttl=MINUTE))
        until = store.now() + MINUTE
        _created(store, replace(new_run(delay=LONG), expires_at=until, ttl=LONG))
        assert delayed.due_at == delayed.available_at
        assert delayed.deadline_at == delayed.available_at + MINUTE

    def test_every_field_of_a_new_run_is_kept(self, store: Store) -> None:
        values: dict[str, Any] = {
            name: _some(hint) for name, hint in get_type_hints(RunSpec).items()
        }
        spec = RunSpec(**values)
        store.runs.create([NewRun(**values)])
        assert got(store, spec.id).spec == spec
        claimed = store.runs.claim(asked(spec.id, task=spec.task))
        assert claimed is not None
        assert claimed.run.spec == spec

    def test_a_run_with_a_start_in_the_past_may_start_now(self, store: Store) -> None:
        start = store.now() - LONG
        run = _created(store, replace(new_run(), available_at=start, ttl=MINUTE))
        assert run.available_at == start
        assert run.deadline_at is not None
        assert run.deadline_at > store.now()

    def test_the_first_and_the_last_place_in_line_can_be_stored(self, store: Store) -> None:
        _created(store, replace(new_run(), priority=2**31 - 1))
        _created(store, replace(new_run(), priority=1 - 2**31))

    def test_a_run_of_a_limited_queue_is_not_due(self, store: Store) -> None:
        limit(store, concurrency=1)
        assert _created(store, run_in(), limited=True).due_at is None
        assert _created(store, run_in(delay=LONG), limited=True).due_at is not None

    def test_a_claim_moves_a_run_as_the_lifecycle_says(self, store: Store) -> None:
        _claim(store, queued(store))
        timely = replace(new_run(), ttl=MINUTE, max_duration=LONG)
        store.runs.create([timely])
        lease = _claim(store, timely.id)
        deadline_at = got(store, timely.id).deadline_at
        store.runs.hand_back(lease, new_token())
        _claim(store, timely.id, length=2 * LEASE)
        assert got(store, timely.id).deadline_at == deadline_at

    def test_a_time_to_live_ends_with_the_first_start(self, store: Store) -> None:
        new = replace(new_run(), ttl=MINUTE)
        store.runs.create([new])
        _claim(store, new.id)
        assert got(store, new.id).deadline_at is None

    def test_a_claim_with_a_slot_moves_a_run_in_the_same_way(self, store: Store) -> None:
        limit(store, concurrency=2)
        new = replace(run_in(), ttl=MINUTE, max_duration=LONG)
        store.runs.create([new])
        what = asked(new.id)
        becomes(
            store,
            new.id,
            lambda: store.runs.claim(what),
            lambda run, now: lifecycle.claim(run, what, now),
        )

    def test_a_renewal_lasts_as_long_as_the_claim_asked_for(self, store: Store) -> None:
        lease = _claim(store, queued(store), length=7 * MINUTE)
        becomes(
            store,
            lease.run_id,
            lambda: store.runs.renew([lease]),
            lambda run, now: replace(run, due_at=now + 7 * MINUTE),
        )

    def test_a_run_is_handed_back_as_the_lifecycle_says(self, store: Store) -> None:
        lease = started(store)
        becomes(store, lease.run_id, lambda: store.runs.hand_back(lease, new_token()), _queue)


class WaitingLifecycleContract:
    """How a run is suspended and woken."""

    def test_a_timer_is_when_a_suspended_run_is_due(self, store: Store) -> None:
        lease = started(store)

        def expected(run: Run, now: datetime) -> Run:
            return lifecycle.suspend(
                run, now, next_attempt=2, first_due=now + MINUTE, look_within=None
            )

        what = suspension(sleeping(), sleeping("second", MINUTE), next_attempt=2)
        becomes(store, lease.run_id, lambda: suspend(store, lease, what), expected)

    def test_a_wait_without_a_look_back_is_due_within_the_look_back_time(
        self, store: Store
    ) -> None:
        lease = started(store)

        def expected(run: Run, now: datetime) -> Run:
            return lifecycle.suspend(
                run, now, next_attempt=1, first_due=now + LONG, look_within=LOOK_WITHIN
            )

        what = suspension(event_wait(delay=LONG), sleeping())
        run, latest = becomes(store, lease.run_id, lambda: suspend(store, lease, what), expected)
        assert run.due_at is not None
        assert run.due_at <= latest + LOOK_WITHIN < latest + LONG
        store.waits.looked(lease.run_id, fence=lease.fence)
        due_at = got(store, lease.run_id).due_at
        assert due_at is not None
        assert due_at >= run.due_at + LONG - LOOK_WITHIN - SECOND * 59

    def test_a_run_whose_wait_is_over_already_is_queued_at_once(self, store: Store) -> None:
        run_id = suspended(store, event_wait())
        store.waits.resolve(emitted(store).sequence, wait_ids(store))
        lease = claim(store, run_id).lease

        def expected(run: Run, now: datetime) -> Run:
            waiting = lifecycle.suspend(run, now, next_attempt=1, first_due=None, look_within=None)
            return _queue(waiting, now)

        again = replace(suspension(), keys=("approval",))
        becomes(store, run_id, lambda: suspend(store, lease, again), expected)

    def test_whatever_ends_a_wait_queues_the_run_in_the_same_way(
        self, store: Store, advance: Advance
    ) -> None:
        by_event, by_hand, by_time = (
            suspended(store, event_wait(match_hash=match_hash, delay=MINUTE))
            for match_hash in (1, 2, 3)
        )
        event = emitted(store).sequence
        ids = wait_ids(store, match_hash=1)
        becomes(store, by_event, lambda: store.waits.resolve(event, ids), _queue)
        ids = wait_ids(store, match_hash=2)
        conclude = partial(store.waits.conclude, ids, WaitState.COMPLETED)
        becomes(store, by_hand, conclude, _queue)
        advance(MINUTE + SECOND)
        _sweep(store, by_time, _queue)


class EndingLifecycleContract:
    """How a run ends, is published, and starts another life."""

    def test_an_end_moves_a_run_as_the_lifecycle_says(self, store: Store) -> None:
        for publish in (True, False):
            new = replace(new_run(), max_duration=LONG)
            store.runs.create([new])
            lease = claim(store, new.id).lease
            how = ending(RunState.FAILED, error="no", publish=publish, publish_within=MINUTE)
            becomes(
                store,
                new.id,
                partial(store.runs.end, lease, how),
                lambda run, now, how=how: lifecycle.end(run, how, now),  # type: ignore[misc]
            )

    def test_an_end_is_published_as_the_lifecycle_says(
        self, store: Store, advance: Advance
    ) -> None:
        lease = started(store)
        store.runs.end(lease, ending(output="1"))
        advance(LEASE + SECOND)
        what = asked(lease.run_id, worker="w2")
        run, _ = becomes(
            store,
            lease.run_id,
            lambda: store.runs.claim(what),
            lambda run, now: lifecycle.claim_to_publish(run, what, now),
        )
        last = Lease(run.id, run.fence, what.token)
        becomes(store, run.id, lambda: store.runs.published(last), lifecycle.publish)

    def test_the_end_of_a_dead_publisher_is_handed_over(self, store: Store) -> None:
        lease = started(store)
        store.runs.end(lease, ending())
        hand_over = partial(lifecycle.hand_over_publishing, nudge_interval=NUDGE_INTERVAL)
        becomes(store, lease.run_id, lambda: store.runs.recover(lease.run_id, "w1"), hand_over)

    def test_a_run_is_canceled_as_the_lifecycle_says(self, store: Store) -> None:
        cancel = partial(lifecycle.cancel, error="no")
        for run_id in (queued(store), started(store).run_id, suspended(store, sleeping())):
            becomes(store, run_id, partial(store.runs.cancel, run_id, "no"), cancel)

    def test_a_child_is_closed_as_the_lifecycle_says(self, store: Store) -> None:
        parent = started(store)
        child = replace(new_run(), parent_id=parent.run_id, parent_key="k", closes_with_parent=True)
        store.children.create(parent, [child])
        cancel = partial(lifecycle.cancel, error="no", nudged_within=NUDGE_INTERVAL)
        close = partial(store.children.close, parent.run_id, "no", limit=9)
        becomes(store, child.id, close, cancel)

    def test_a_retry_starts_another_life_as_the_lifecycle_says(self, store: Store) -> None:
        lease = started(store)
        store.runs.end(lease, ending(RunState.FAILED, error="no"))
        retry = partial(lifecycle.retry, nudge_interval=NUDGE_INTERVAL)
        becomes(store, lease.run_id, lambda: store.runs.retry(lease.run_id), retry)

    def test_a_run_that_is_overdue_ends_as_the_lifecycle_says(
        self, store: Store, advance: Advance
    ) -> None:
        unstarted = replace(new_run(), ttl=MINUTE)
        executing, waiting = (replace(new_run(), max_duration=MINUTE) for _ in range(2))
        store.runs.create([unstarted, executing, waiting])
        claim(store, executing.id, length=LONG)
        lease = claim(store, waiting.id).lease
        suspend(store, lease, suspension(sleeping()))
        advance(MINUTE + SECOND)
        for new in (unstarted, executing, waiting):
            becomes(store, new.id, lambda: store.sweeps.expire(limit=1), _expire)


class CrashLifecycleContract:
    """How a run goes on whose worker died, and how often the sweep nudges it."""

    def test_a_run_waits_longer_after_each_crash_but_never_over_two_minutes(
        self, store: Store, advance: Advance
    ) -> None:
        run_id, delays = queued(store, max_crashes=10), []
        for number in range(9):
            claim(store, run_id)
            if number % 2:
                recover = partial(store.runs.recover, run_id, "w1")
                run, latest = becomes(store, run_id, recover, _crash)
            else:
                advance(LEASE + SECOND)
                run, latest = becomes(store, run_id, lambda: swept(store), _crash)
            delay = lifecycle.crash_delay(run.crashes)
            assert run.available_at <= latest + delay
            delays.append(delay)
            advance(delay)
        assert delays == [SECOND * n for n in (0, 4, 8, 16, 32, 64, 120, 120, 120)]
        claim(store, run_id)
        run, _ = becomes(store, run_id, lambda: store.runs.recover(run_id, "w1"), _crash)
        assert (run.state, run.crashes) == (RunState.FAILED, 10)

    def test_the_pauses_between_nudges_double_up_to_two_minutes(
        self, store: Store, advance: Advance
    ) -> None:
        nudge_again = partial(lifecycle.nudge_again, nudge_interval=NUDGE_INTERVAL)
        for waits, pause in ((15, 20), (35, 40), (70, 80), (100, 120), (9999, 120)):
            run_id = queued(store)
            advance(SECOND * waits)
            run, latest = becomes(store, run_id, lambda: swept(store), nudge_again)
            assert run.due_at is not None
            assert run.due_at <= latest + SECOND * pause < run.due_at + MINUTE / 10
            store.runs.cancel(run_id, "no")

    def test_an_unpublished_end_is_nudged_as_the_lifecycle_says(
        self, store: Store, advance: Advance
    ) -> None:
        lease = started(store)
        store.runs.end(lease, ending(publish_within=SECOND * 35))
        advance(SECOND * 36)
        nudge_again = partial(lifecycle.nudge_again, nudge_interval=NUDGE_INTERVAL)
        assert _sweep(store, lease.run_id, nudge_again).worker == ""


class PersonLifecycleContract:
    """How a run moves because a person, or a debounced call, asks for it."""

    def test_a_run_is_paused_and_resumed_as_the_lifecycle_says(self, store: Store) -> None:
        resume = partial(lifecycle.resume, nudge_interval=NUDGE_INTERVAL)
        delayed = new_run(delay=LONG)
        store.runs.create([delayed])
        waiting = suspended(store, sleeping())
        for run_id in (queued(store), delayed.id, started(store).run_id, waiting):
            pause = partial(store.managing.pause, run_id, AUDIT)
            becomes(store, run_id, pause, lifecycle.pause)
            becomes(store, run_id, partial(store.managing.resume, run_id, AUDIT), resume)

    def test_a_run_is_rescheduled_as_the_lifecycle_says(self, store: Store) -> None:
        new = replace(new_run(delay=LONG), ttl=MINUTE, priority=5)
        store.runs.create([new])

        def expected(run: Run, now: datetime) -> Run:
            return lifecycle.reschedule(run, now + MINUTE, now, nudge_interval=NUDGE_INTERVAL)

        reschedule = partial(store.managing.reschedule, new.id, AUDIT, delay=MINUTE)
        becomes(store, new.id, reschedule, expected)
        store.managing.pause(new.id, AUDIT)
        run, _ = becomes(store, new.id, reschedule, expected)
        assert run.due_at is None

    def test_a_run_is_pushed_back_as_the_lifecycle_says(self, store: Store) -> None:
        new = replace(new_run(delay=MINUTE), ttl=MINUTE, priority=5)
        store.runs.create([new])
        for push in (
            PushBack(run_id=new.id, delay=2 * MINUTE),
            PushBack(
                run_id=new.id, delay=MINUTE, replace=True, input="[1]", tags=("a",), metadata="{}"
            ),
        ):

            def push_back(push: PushBack = push) -> None:
                with store.joined():
                    assert store.keys.push_back(push)

            def expected(run: Run, now: datetime, push: PushBack = push) -> Run:
                pushed = lifecycle.push_back(run, push, now)
                assert pushed is not None
                return pushed

            becomes(store, new.id, push_back, expected)


class LifecycleContract(
    StartingLifecycleContract,
    WaitingLifecycleContract,
    EndingLifecycleContract,
    CrashLifecycleContract,
    PersonLifecycleContract,
):
    """Every transition of a run, compared with the function that decides it."""
