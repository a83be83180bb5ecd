"""The laws of failed attempts, of dead letters and of their groups."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from threading import Thread
from uuid import UUID

from trigger_celery.errors import RunNotFound
from trigger_celery.ports import Store
from trigger_celery.testing.contract.tools import (
    AWKWARD,
    CAUSE,
    Advance,
    Begin,
    checkpoint,
    claim,
    dead_letters,
    ending,
    failed_attempt,
    new_run,
    outcomes,
    raises,
    started,
)
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import (
    Cause,
    DeadLetter,
    DeadLetterFilter,
    DeadLetterGroup,
    DeadLetterOutline,
    DeadLetterPosition,
    GroupFilter,
    GroupPosition,
    Holds,
    Ignore,
    Lease,
    Outcome,
    StepKind,
)
from trigger_celery.vocabulary.states import DeadLetterState, GroupState, RunState


class FailureContract:
    """A failure holds in its attempt of the run, in this life of it, or always."""

    def _holding(self, store: Store) -> Lease:
        """Return a run with a failure of each kind, in its second attempt."""
        lease = started(store)
        for position, holds in enumerate(Holds):
            failed = failed_attempt(store, holds.value)
            failed = replace(
                failed, holds=holds, kind=StepKind.SEND, position=position, raised=AWKWARD
            )
            store.checkpoints.record_failure(lease, failed)
        store.checkpoints.record(lease, checkpoint(store, "pay"))
        return lease

    def test_a_failure_holds_in_its_attempt_its_life_or_always(self, store: Store) -> None:
        lease = self._holding(store)

        def held(run_attempt: int) -> set[str]:
            recorded = store.checkpoints.load(lease.run_id, run_attempt=run_attempt).recorded
            return set(recorded) - {"pay"}

        assert (held(1), held(2)) == ({"attempt", "life", "always"}, {"life", "always"})
        store.runs.end(lease, ending(RunState.FAILED))
        store.runs.retry(lease.run_id)
        assert (held(1), held(2)) == ({"always"}, {"always"})

    def test_a_failure_that_holds_says_what_is_raised(self, store: Store) -> None:
        recorded = outcomes(store, self._holding(store).run_id).recorded
        assert recorded["life"] == Outcome(
            key="life",
            kind=StepKind.SEND,
            position=2,
            value=AWKWARD,
            error=AWKWARD,
            holds=Holds.LIFE,
        )
        assert (recorded["pay"].error, recorded["pay"].holds) == (None, Holds.NOT)

    def test_a_kept_failure_holds_always(self, store: Store) -> None:
        lease = self._holding(store)
        for _ in range(2):
            store.checkpoints.keep_failures(lease, {"attempt": 1, "life": 1, "not": 2})
        recorded = store.checkpoints.load(lease.run_id, run_attempt=2).recorded
        assert {key: each.holds for key, each in recorded.items() if key != "pay"} == {
            "attempt": Holds.ALWAYS,
            "life": Holds.ALWAYS,
            "always": Holds.ALWAYS,
        }

    def test_only_failures_of_this_life_are_kept(self, store: Store) -> None:
        lease = self._holding(store)
        store.runs.end(lease, ending(RunState.FAILED))
        store.runs.retry(lease.run_id)
        lease = claim(store, lease.run_id).lease
        store.checkpoints.keep_failures(lease, {"attempt": 1})
        assert "attempt" not in outcomes(store, lease.run_id).recorded

    def test_a_success_counts_beside_a_failure(self, store: Store) -> None:
        lease = self._holding(store)
        store.checkpoints.record(lease, checkpoint(store, "attempt", "5"))
        found = outcomes(store, lease.run_id).recorded["attempt"]
        assert (found.value, found.error) == ("5", None)


ASKED = {"by": "ann", "reason": "paper is there"}
HOUR = timedelta(hours=1)
OTHER = replace(CAUSE, fingerprint="f2", kind="KeyError")


def failed(
    store: Store,
    *,
    cause: Cause = CAUSE,
    queue: str = "",
    tags: tuple[str, ...] = (),
    state: RunState = RunState.FAILED,
) -> UUID:
    """Create a run that failed for good and return its id."""
    new = replace(new_run(), queue=queue, tags=tags)
    store.runs.create([new])
    fail(store, new.id, cause=cause, state=state)
    return new.id


def fail(
    store: Store, run_id: UUID, *, cause: Cause = CAUSE, state: RunState = RunState.FAILED
) -> None:
    """Let a queued run fail for good."""
    store.runs.end(claim(store, run_id).lease, ending(state, error=AWKWARD, cause=cause))


def got(store: Store, run_id: UUID) -> DeadLetter:
    """Return the dead letter of a run."""
    found = store.dead_letters.get(run_id)
    assert found is not None
    return found


def ids(found: object) -> list[UUID]:
    """Return the runs of a list of dead letters."""
    assert isinstance(found, (list, tuple))
    return [each.run_id for each in found]


class DeadLetterContract:
    """A run that fails for good waits for a person, with all that a person asks first."""

    def test_a_dead_letter_says_what_failed(self, store: Store) -> None:
        run_id = failed(store, queue="mail")
        found = got(store, run_id)
        run = store.runs.get(run_id)
        assert run is not None
        assert (found.task, found.queue, found.state) == (run.task, "mail", "open")
        assert (found.cause, found.error, found.group) == (CAUSE, AWKWARD, "f1")
        assert (found.attempts, found.crashes, found.returns) == (1, 0, 0)
        assert found.last_seen_at - found.first_seen_at < timedelta(seconds=1)
        assert (found.settled_at, found.by, found.reason) == (None, "", "")
        assert store.dead_letters.get(new_id()) is None

    def test_a_retry_names_its_person_and_a_return_is_counted(
        self, store: Store, advance: Advance
    ) -> None:
        run_id = failed(store)
        first = got(store, run_id)
        store.runs.retry(run_id, ASKED)
        retried = got(store, run_id)
        assert (retried.state, retried.by, retried.reason) == ("retried", *ASKED.values())
        assert retried.settled_at is not None
        advance(HOUR)
        fail(store, run_id, cause=OTHER)
        again = got(store, run_id)
        assert (again.state, again.returns, again.cause) == ("open", 1, OTHER)
        assert (again.settled_at, again.by, again.reason) == (None, "", "")
        assert again.last_seen_at - again.first_seen_at >= HOUR - timedelta(seconds=1)
        assert first.returns == 0

    def test_a_retried_run_that_completes_resolves_its_dead_letter(self, store: Store) -> None:
        run_id = failed(store)
        store.runs.retry(run_id, ASKED)
        claimed = claim(store, run_id)
        assert claimed.run.attempts_after_fence > 0
        store.runs.end(claimed.lease, ending(resolves=(run_id,)))
        found = got(store, run_id)
        assert (found.state, found.by) == ("resolved", "ann")

    def test_only_a_retried_dead_letter_is_resolved(self, store: Store) -> None:
        waiting, other = failed(store), new_run()
        store.runs.create([other])
        store.runs.end(claim(store, other.id).lease, ending(resolves=(waiting,)))
        assert dead_letters(store, waiting) == ["open"]

    def test_a_dead_letter_is_discarded_once(self, store: Store) -> None:
        run_id = failed(store)
        assert store.dead_letters.discard(run_id, ASKED)
        found = got(store, run_id)
        assert (found.state, found.by, found.reason) == ("discarded", *ASKED.values())
        assert not store.dead_letters.discard(run_id, {})
        assert got(store, run_id).by == "ann"
        verbs = [entry.verb for entry in store.runs.history(run_id)]
        assert verbs.count("discard") == 1
        with raises(RunNotFound):
            store.dead_letters.discard(new_id(), {})

    def test_a_dead_letter_is_handed_on_in_the_callers_transaction(
        self, store: Store, begin: Begin
    ) -> None:
        run_id = failed(store)
        with raises(KeyError), begin():
            assert store.dead_letters.hand_on(run_id, ASKED)
            raise KeyError("rolled back")
        assert dead_letters(store, run_id) == ["open"]
        with begin():
            assert store.dead_letters.hand_on(run_id, ASKED)
        assert dead_letters(store, run_id) == ["retried"]
        assert not store.dead_letters.hand_on(run_id, ASKED)

    def test_lists_ask_for_what_dead_letters_have_in_common(
        self, store: Store, advance: Advance
    ) -> None:
        old = failed(store, cause=OTHER)
        advance(HOUR)
        mail = failed(store, queue="mail", tags=("vip", "eu"))
        gone = failed(store)
        store.dead_letters.discard(gone, {})
        since = got(store, mail).last_seen_at

        def found(**wanted: object) -> set[UUID]:
            by = DeadLetterFilter(**wanted)  # type: ignore[arg-type]  # each is of its own type
            return set(ids(store.dead_letters.find(by, limit=9)))

        assert found() == {old, mail, gone}
        assert found(states=(DeadLetterState.OPEN,)) == {old, mail}
        assert found(queue="mail") == found(tags=("vip", "eu")) == {mail}
        assert found(group="f2") == found(kinds=("KeyError",)) == {old}
        assert found(since=since) == {mail, gone}
        assert found(until=since) == {old}
        assert found(tasks=("other",)) == found(tags=("vip", "us")) == set()
        assert found(returns_below=1) == {old, mail, gone}
        store.runs.retry(old)
        fail(store, old)
        assert found(returns_below=1) == {mail, gone}

    def test_a_page_of_dead_letters_begins_where_the_last_one_ended(
        self, store: Store, advance: Advance
    ) -> None:
        made = []
        for number in range(4):
            made.append(failed(store))
            if number % 2:
                store.dead_letters.discard(made[-1], {})
            advance(HOUR)
        every = list(store.dead_letters.find(DeadLetterFilter(), limit=9))
        assert ids(every) == made[::-1]
        found: list[DeadLetterOutline] = []
        for _ in made:
            after = DeadLetterPosition(found[-1].last_seen_at, found[-1].run_id) if found else None
            found += store.dead_letters.find(DeadLetterFilter(), after=after, limit=1)
        assert found == every


class DeadLetterGroupContract:
    """Groups count each change of their dead letters once, however many passes count."""

    def test_groups_know_nothing_before_they_count(self, store: Store) -> None:
        failed(store)
        assert store.dead_letters.groups(GroupFilter(), limit=9) == []
        assert store.dead_letters.group("f1") is None

    def test_a_group_counts_its_dead_letters_by_state(self, store: Store, advance: Advance) -> None:
        first = failed(store)
        advance(HOUR)
        runs = [first, *(failed(store) for _ in range(3))]
        failed(store, cause=OTHER)
        tally = store.dead_letters.tally(limit=99)
        assert tally.moved == 5
        assert {group.fingerprint for group in tally.new} == {"f1", "f2"}
        group = _group(store)
        assert (group.open, group.retried, group.settled, group.seen) == (4, 0, 0, 4)
        assert (group.kind, group.message, group.place) == ("ValueError", "no paper", "p.py")
        assert (group.state, len(group.tasks)) == ("open", 1)
        assert sum(count for _, count in group.recent) == 4
        assert group.last_seen_at - group.first_seen_at >= HOUR - timedelta(seconds=1)
        store.dead_letters.discard(runs[0], {})
        store.runs.retry(runs[1])
        assert store.dead_letters.tally(limit=99).moved == 2
        group = _group(store)
        assert (group.open, group.retried, group.settled, group.seen) == (2, 1, 1, 4)
        assert store.dead_letters.tally(limit=99).moved == 0

    def test_a_dead_letter_that_failed_otherwise_changes_its_group(self, store: Store) -> None:
        run_id = failed(store)
        store.dead_letters.tally(limit=9)
        store.runs.retry(run_id)
        fail(store, run_id, cause=OTHER)
        store.dead_letters.tally(limit=9)
        first, other = _group(store), _group(store, "f2")
        assert (first.size, first.seen, first.state) == (0, 1, "resolved")
        assert (other.open, other.seen) == (1, 1)

    def test_a_resolved_group_that_comes_back_is_regressed(self, store: Store) -> None:
        store.dead_letters.discard(failed(store), {})
        assert store.dead_letters.tally(limit=9).regressed == ()
        assert _group(store).state is GroupState.RESOLVED
        failed(store)
        [regressed] = store.dead_letters.tally(limit=9).regressed
        assert (regressed.state, regressed.regressions) == ("open", 1)
        assert regressed.regressed_at is not None

    def test_an_ignored_group_comes_back_when_its_time_is_over(
        self, store: Store, advance: Advance
    ) -> None:
        failed(store)
        store.dead_letters.tally(limit=9)
        until = store.now() + HOUR
        ignored = store.dead_letters.ignore("f1", Ignore(until=until), ASKED)
        assert ignored is not None
        assert (ignored.state, ignored.by, ignored.reason) == ("ignored", *ASKED.values())
        failed(store)
        store.dead_letters.tally(limit=9)
        assert (_group(store).state, _group(store).seen) == ("ignored", 2)
        advance(HOUR)
        store.dead_letters.tally(limit=9)
        assert (_group(store).state, _group(store).ignore) == ("open", None)

    def test_an_ignored_group_comes_back_by_its_number_or_rate(self, store: Store) -> None:
        for ignore in (Ignore(seen=3), Ignore(rate=5)):
            while (group := _counted(store)) is None or group.seen < (ignore.seen or 5) - 2:
                failed(store)
            store.dead_letters.ignore("f1", ignore, {})
            failed(store)
            group = _counted(store)
            assert group is not None
            assert group.state is GroupState.IGNORED
            failed(store)
            [regressed] = _regressed(store)
            assert (regressed.fingerprint, regressed.state) == ("f1", "open")

    def test_a_group_is_looked_at_again(self, store: Store) -> None:
        run_id = failed(store)
        store.dead_letters.tally(limit=9)
        store.dead_letters.ignore("f1", Ignore(), ASKED)
        assert _group(store).ignore == Ignore()
        again = store.dead_letters.ignore("f1", None, {})
        assert again == _group(store)
        assert (again.state, again.by) == ("open", "")
        store.dead_letters.discard(run_id, {})
        store.dead_letters.tally(limit=9)
        assert store.dead_letters.ignore("nothing", Ignore(), {}) is None

    def test_groups_are_listed_by_when_they_were_last_seen(
        self, store: Store, advance: Advance
    ) -> None:
        for name in ("fa1", "fb1", "fb2"):
            failed(store, cause=replace(CAUSE, fingerprint=name, kind=name))
            advance(HOUR)
        store.dead_letters.tally(limit=9)
        store.dead_letters.ignore("fb1", Ignore(), {})
        every = list(store.dead_letters.groups(GroupFilter(), limit=9))
        assert [group.fingerprint for group in every] == ["fb2", "fb1", "fa1"]

        def found(wanted: GroupFilter, after: DeadLetterGroup | None = None) -> list[str]:
            place = GroupPosition(after.last_seen_at, after.fingerprint) if after else None
            return [g.fingerprint for g in store.dead_letters.groups(wanted, after=place, limit=2)]

        assert found(GroupFilter(), every[0]) == ["fb1", "fa1"]
        assert found(GroupFilter(states=(GroupState.OPEN,))) == ["fb2", "fa1"]
        assert found(GroupFilter(kinds=("fb1",))) == ["fb1"]
        assert found(GroupFilter(since=every[1].last_seen_at)) == ["fb2", "fb1"]
        assert found(GroupFilter(until=every[1].last_seen_at)) == ["fa1"]
        assert list(store.dead_letters.groups_beginning_with("fb", limit=9)) == ["fb1", "fb2"]

    def test_passes_that_meet_count_each_change_once(self, store: Store) -> None:
        for _ in range(6):
            failed(store)
        moved: list[int] = []

        def count() -> None:
            try:
                while found := store.dead_letters.tally(limit=1).moved:
                    moved.append(found)
            finally:
                store.release()

        threads = [Thread(target=count) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        while found := store.dead_letters.tally(limit=9).moved:
            moved.append(found)
        assert (sum(moved), _group(store).seen, _group(store).open) == (6, 6, 6)


def _group(store: Store, fingerprint: str = "f1") -> DeadLetterGroup:
    found = store.dead_letters.group(fingerprint)
    assert found is not None
    return found


def _counted(store: Store) -> DeadLetterGroup | None:
    store.dead_letters.tally(limit=99)
    return store.dead_letters.group("f1")


def _regressed(store: Store) -> tuple[DeadLetterGroup, ...]:
    return store.dead_letters.tally(limit=99).regressed
