"""The folder that a demo works in: fresh, its own, and gone afterwards unless it failed."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.core.management import CommandError
from django.db import connections

MADE = (
    "control",
    "effects.jsonl",
    "gateway",
    "mail",
    "queue",
    "shop.sqlite3*",
    "web.log",
    "worker-*",
)
"""All that the shop and the demo write; whatever else lies in the folder is left alone."""


@contextmanager
def fresh_home() -> Iterator[Path]:
    """Empty the shop's folder before the block and remove it afterwards, but not after an error.

    Raises :exc:`CommandError` if another demo works there.
    """
    folder = Path(settings.SHOP_HOME)
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle, folder)
        _clean(folder)
        for each in settings.BROKER_FOLDERS:
            each.mkdir()
        try:
            yield folder
        except Exception:
            raise  # its logs are worth a look
        except BaseException:
            _remove(folder)
            raise
        else:
            _remove(folder)
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CommandError(
            f"another demo is running in {folder}: end it first, or give this one a folder of "
            "its own with SHOP_HOME=/tmp/shop"
        ) from None


def _clean(folder: Path) -> None:
    for pattern in MADE:
        for path in folder.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _remove(folder: Path) -> None:
    connections.close_all()
    _clean(folder)
    if not any(folder.iterdir()):
        folder.rmdir()
