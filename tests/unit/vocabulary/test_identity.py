"""Ids sort by time and tokens cannot be guessed."""

from __future__ import annotations

import time
from uuid import RFC_4122

import pytest

from trigger_celery.vocabulary.identity import new_id, new_token


def test_an_id_is_a_uuid_of_version_seven() -> None:
    value = new_id()
    assert (value.version, value.variant) == (7, RFC_4122)


def test_an_id_begins_with_the_milliseconds_of_its_birth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_893_456_000_123_456_789)
    assert new_id().int >> 80 == 1_893_456_000_123


def test_later_ids_sort_behind_earlier_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = []
    for milliseconds in range(50):
        monkeypatch.setattr(time, "time_ns", lambda now=milliseconds: now * 1_000_000)
        ids.append(new_id())
    assert ids == sorted(ids)


def test_ids_and_tokens_differ() -> None:
    assert len({new_id() for _ in range(1000)}) == 1000
    tokens = {new_token() for _ in range(1000)}
    assert len(tokens) == 1000
    assert {len(token) for token in tokens} == {16}
