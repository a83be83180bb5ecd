"""The Celery broker that ``TC_BROKER`` chooses, as settings."""

from __future__ import annotations

import os
from pathlib import Path

from support.services import SERVICES

NAMES = ("filesystem", "redis", "rabbitmq", "memory")
CHOSEN = os.environ.get("TC_BROKER", "filesystem")


def url() -> str:
    """Return the URL of the chosen broker."""
    if CHOSEN not in NAMES:
        raise ValueError(f"expected TC_BROKER to be one of {', '.join(NAMES)}, got: {CHOSEN!r}")
    if CHOSEN == "redis":
        return f"redis://{SERVICES['redis'].host}:{SERVICES['redis'].port}/0"
    if CHOSEN == "rabbitmq":
        return f"amqp://guest:guest@{SERVICES['rabbitmq'].host}:{SERVICES['rabbitmq'].port}//"
    return f"{CHOSEN}://"


def transport_options(folder: Path) -> dict[str, str | float]:
    """Return the options of the chosen broker; the filesystem's queues lie in ``folder``."""
    if CHOSEN != "filesystem":
        return {}
    queues, control = folder / "queues", folder / "control"
    for path in (queues, control):
        path.mkdir(exist_ok=True)
    return {
        # One folder for both: what one process sends is what the other receives.
        "data_folder_in": str(queues),
        "data_folder_out": str(queues),
        "control_folder": str(control),
        "polling_interval": 0.1,
    }
