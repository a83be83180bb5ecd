"""Filters that say more than equality: found by the index, decided by the evaluator."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from trigger_celery.body.waits import wait_for_event
from trigger_celery.engine.waking import matching
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.states import RunState

NOW = timedelta(0)
FILTERS: list[dict[str, Any]] = [
    {"kind": "a", "n": {"$gt": 5}},
    {"kind": ["a", "b"]},
    {"items": {"sku": "sku-70", "count": {"$gte": 70}}},
    {"items": {"sku": "sku-3"}, "kind": "a"},
    {"customer.id": {"$not": 7}},
]
OTHERS: list[dict[str, Any]] = [
    {"kind": "a", "n": {"$gt": 9}},
    {"kind": ["b", "c"]},
    {"items": {"sku": "sku-70", "count": {"$gt": 70}}},
    {"items": {"sku": "sku-3"}, "kind": "b"},
    {"customer.id": {"$not": 8}},
]
PAYLOAD = {
    "kind": "a",
    "n": 9,
    "customer": {"id": 8},
    "items": [{"sku": f"sku-{number}", "count": number} for number in range(120)],
}


def waits_on(wanted: dict[str, Any]) -> object:
    return wait_for_event("e", wanted).id


@pytest.mark.parametrize("first", ["the event", "the waits"])
@pytest.mark.parametrize("batch", [1, 2, 500])
def test_an_event_ends_exactly_the_waits_whose_filters_it_passes(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, first: str, batch: int
) -> None:
    monkeypatch.setattr(matching, "BATCH", batch)
    task = harness.task(waits_on)
    runs = [harness.trigger(task, wanted) for wanted in [*FILTERS, *OTHERS]]
    if first == "the waits":
        harness.run_until_idle(NOW)
    event_id = harness.send_event("e", PAYLOAD)
    harness.run_until_idle(NOW)
    matched = runs[: len(FILTERS)]
    assert [harness.result(run_id) for run_id in matched] == [event_id] * len(FILTERS)
    others = {harness.run(run_id).state for run_id in runs[len(FILTERS) :]}
    assert others == {RunState.SUSPENDED}
