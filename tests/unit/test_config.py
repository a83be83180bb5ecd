"""Settings are typed, and a wrong one is named with what it should have been."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from datetime import timedelta
from typing import Any

import pytest

from trigger_celery.config import Config, closest
from trigger_celery.errors import DeclarationError, UnknownOption


def test_no_settings_are_the_defaults() -> None:
    assert Config.from_mapping({}) == Config()


def test_durations_are_seconds_or_timedeltas() -> None:
    config = Config.from_mapping({"HEARTBEAT_TIMEOUT": 90, "SWEEP_INTERVAL": 0.5})
    assert config.heartbeat_timeout == timedelta(seconds=90)
    assert config.sweep_interval == timedelta(seconds=0.5)
    assert (
        Config.from_mapping({"SWEEP_INTERVAL": timedelta(hours=1)}).sweep_interval.seconds == 3600
    )


def test_an_unknown_setting_is_refused_with_the_closest_name() -> None:
    with pytest.raises(UnknownOption, match="'MAX_CRASHS'; did you mean 'MAX_CRASHES'?"):
        Config.from_mapping({"MAX_CRASHS": 1})
    with pytest.raises(UnknownOption, match="it may be one of: .*HEARTBEAT_TIMEOUT"):
        Config.from_mapping({"ZZZ": 1})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MAX_CRASHES", 0),
        ("MAX_CRASHES", "3"),
        ("MAX_CRASHES", True),
        ("MAX_CRASHES", 1.5),
        ("HEARTBEAT_TIMEOUT", 0.5),
        ("NUDGE_INTERVAL", 0),
        ("SWEEP_INTERVAL", -1),
        ("SWEEP_INTERVAL", True),
        ("SWEEP_INTERVAL", float("inf")),
        ("SWEEP_INTERVAL", float("nan")),
        ("SWEEP_INTERVAL", timedelta(-1)),
        ("SWEEP_INTERVAL", 0),
        ("SWEEPER", "celery"),
        ("SWEEPER", None),
        ("DEFAULT_RETRY", 3),
        ("DEFAULT_RETRY", {"max_attempts": 0}),
        ("CONCURRENCY_LIMIT", -1),
        ("CONCURRENCY_LIMIT", True),
        ("CONCURRENCY_LIMIT", 1.5),
        ("CONCURRENCY_LIMIT", "5"),
        ("QUEUES", ["emails"]),
        ("API_KEY_RATE", 100),
        ("API_KEY_RATE", "100/min"),
        ("TOKEN_RATE", [10, 60]),
        ("TOKEN_RATE", [0, 60, 1]),
        ("TOKEN_RATE", [10, 0, 1]),
        ("TOKEN_RATE", [10, float("nan"), 1]),
        ("TOKEN_RATE", [10, 10**400, 1]),
        ("TOKEN_RATE", [10, "60", 1]),
        ("TOKEN_RATE", [True, 60, 1]),
        ("TOKEN_RATE", [10**7, 60, 1]),
        ("WEBHOOK_RATE", [1, 60, 0]),
        ("WEBHOOK_RATE", [2, 0.000001, 1]),
        ("WEBHOOK_RATE", [1, 3600, 25]),
    ],
)
def test_a_wrong_value_is_refused(key: str, value: Any) -> None:
    with pytest.raises(
        DeclarationError, match=rf"expected TRIGGER_CELERY\['{key}'\] to be .*got: "
    ):
        Config.from_mapping({key: value})


@pytest.mark.parametrize("limit", [None, 0, 5])
def test_a_limit_of_the_deployment_may_be_absent_or_zero(limit: int | None) -> None:
    assert Config.from_mapping({"CONCURRENCY_LIMIT": limit}).concurrency_limit == limit


def test_every_setting_is_explained() -> None:
    explained = re.findall(r"^``(\w+)``", inspect.getdoc(Config) or "", re.MULTILINE)
    assert explained == [item.name for item in fields(Config)]


def test_at_most_three_close_names_of_a_deployment_are_shown() -> None:
    names = [f"orders.pay_{number}" for number in range(9)]
    assert closest("orders.pay", names).count("orders.pay_") == 3
    assert closest("pay_7", names).startswith("; did you mean 'orders.pay_7'")
    assert closest("zzz", names) == ""


def test_a_rate_of_requests_is_a_limit_a_time_and_a_burst_or_none() -> None:
    given = {"API_KEY_RATE": [100, timedelta(minutes=1), 10], "TOKEN_RATE": None}
    config = Config.from_mapping(given)
    assert (config.api_key_rate, config.token_rate) == ((100, 60, 10), None)
