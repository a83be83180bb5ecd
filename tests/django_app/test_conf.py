"""The settings are read live, and parsed only when they change."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from trigger_celery.config import Config
from trigger_celery.errors import UnknownOption
from trigger_celery_django.conf import config


def test_settings_that_are_overridden_are_in_force_at_once(settings: Settings) -> None:
    settings.TRIGGER_CELERY = {"MAX_CRASHES": 5}
    assert config().max_crashes == 5
    settings.TRIGGER_CELERY["MAX_CRASHES"] = 6
    assert config().max_crashes == 6
    del settings.TRIGGER_CELERY
    assert config() == Config()


def test_unchanged_settings_are_parsed_once(settings: Settings) -> None:
    settings.TRIGGER_CELERY = {"MAX_CRASHES": 7}
    assert config() is config()


def test_an_unknown_setting_is_named_with_the_closest_one(settings: Settings) -> None:
    settings.TRIGGER_CELERY = {"MAX_CRASHS": 5}
    with pytest.raises(UnknownOption, match="MAX_CRASHES"):
        config()
