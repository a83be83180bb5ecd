"""The Celery broker that ``TC_BROKER`` chooses, as settings."""

from __future__ import annotations

import os
from pathlib import Path

from support.services import SERVICES

NAMES = ("filesystem", "redis", "rabbitmq", "memory")
CHOSEN = os.environ.get("TC_BROKER", "filesystem")
RESULTS = ("django-db", "redis", "none")
CHOSEN_RESULTS = os.environ.get("TC_RESULTS", "django-db")


def url(name: str = CHOSEN) -> str:
    """Return the URL of a broker, by default of the chosen one."""
    if name not in NAMES:
        raise ValueError(f"expected TC_BROKER to be one of {', '.join(NAMES)}, got: {name!r}")
    if name == "redis":
        return f"redis://{SERVICES['redis'].host}:{SERVICES['redis'].port}/0"
    if name == "rabbitmq":
        return f"amqp://guest:guest@{SERVICES['rabbitmq'].host}:{SERVICES['rabbitmq'].port}//"
    return f"{name}://"


def result_backend(name: str = CHOSEN_RESULTS) -> str:
    """Return the URL of a result backend, by default of the chosen one."""
    if name not in RESULTS:
        raise ValueError(f"expected TC_RESULTS to be one of {', '.join(RESULTS)}, got: {name!r}")
    return {"django-db": "django-db", "redis": url("redis"), "none": "disabled://"}[name]


def transport_options(folder: Path, name: str = CHOSEN) -> dict[str, str | float]:
    """Return the options of a broker; the filesystem's queues lie in ``folder``."""
    if name == "redis":
        return {"global_keyprefix": f"{os.environ.get('TC_PREFIX', folder.name)}."}
    if name != "filesystem":
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
