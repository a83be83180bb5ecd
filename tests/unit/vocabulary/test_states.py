"""The table of states is complete and leads somewhere."""

from __future__ import annotations

import pytest

from trigger_celery.errors import IllegalTransition
from trigger_celery.vocabulary.states import (
    TERMINAL,
    TRANSITIONS,
    UNSUCCESSFUL,
    RunState,
    check_transition,
)


def test_every_state_has_a_row() -> None:
    assert set(TRANSITIONS) == set(RunState)


def test_every_state_can_be_reached() -> None:
    reached = {RunState.QUEUED}
    for _ in RunState:
        reached |= {target for source in reached for target in TRANSITIONS[source]}
    assert reached == set(RunState)


def test_only_retry_leads_on_from_an_end() -> None:
    for state in RunState:
        assert state.terminal == (state in TERMINAL)
        if state.terminal:
            assert set(TRANSITIONS[state].values()) <= {"retry"}
        else:
            assert TRANSITIONS[state]


def test_only_unsuccessful_ends_can_be_retried() -> None:
    retried = {state for state, row in TRANSITIONS.items() if "retry" in row.values()}
    assert retried == UNSUCCESSFUL


def test_everything_that_has_not_ended_can_be_canceled() -> None:
    canceled = {state for state, row in TRANSITIONS.items() if RunState.CANCELED in row}
    assert canceled == set(RunState) - TERMINAL


@pytest.mark.parametrize("source", list(RunState))
@pytest.mark.parametrize("target", list(RunState))
def test_what_the_table_does_not_allow_is_refused(source: RunState, target: RunState) -> None:
    if target in TRANSITIONS[source]:
        check_transition(source, target)
    else:
        with pytest.raises(IllegalTransition, match=f"a {source} run cannot become {target}; it"):
            check_transition(source, target)


def test_a_final_state_says_so() -> None:
    with pytest.raises(IllegalTransition, match="it may become nothing: it is final"):
        check_transition(RunState.COMPLETED, RunState.QUEUED)
