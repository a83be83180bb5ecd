"""The settings of the test project with short times: for workers that are killed."""

from __future__ import annotations

from testproject.settings import *  # noqa: F403

TRIGGER_CELERY = {
    "HEARTBEAT_TIMEOUT": 2,
    # Only the poison runs are to end for their crashes; they say so themselves.
    "MAX_CRASHES": 1000,
    "SWEEP_INTERVAL": 0.25,
    "NUDGE_INTERVAL": 1,
    "DATABASE_PATIENCE": 60,
}
