"""Celery's broker of plain files, made fit for several processes: nothing is read half written.

kombu's ``filesystem://`` transport opens a message's file under its final name and fills it
afterwards. A worker that looks in between reads nothing, fails to decode it, and stops. Here
messages and exchanges appear whole. Select it beside the usual settings::

    CELERY_BROKER_URL = "filesystem://"
    CELERY_BROKER_TRANSPORT = "trigger_celery.celery.file_transport:Transport"
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import Any
from uuid import uuid4

from kombu.transport import filesystem
from kombu.utils.json import dumps, loads


class Channel(filesystem.Channel):
    """A channel whose files appear and disappear in one piece."""

    def _put(  # type: ignore[override]  # the stubs of the two base classes disagree
        self, queue: str, message: Any, **kwargs: Any
    ) -> None:
        """Add a message: under a name that no consumer looks for until it is complete."""
        target = Path(self.data_folder_out) / f"{_stamp()}.{queue}.msg"
        _written(target, dumps(message)).rename(target)

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        """Take the oldest message. Raises :exc:`Empty`."""
        folder = Path(self.data_folder_in)
        for name in sorted(os.listdir(folder)):
            if name.partition(".")[2] != f"{queue}.msg":
                continue
            taken = folder / f"{name}.taken"
            try:
                (folder / name).rename(taken)
            except FileNotFoundError:  # another consumer was faster
                continue
            text = taken.read_text(encoding="utf-8")
            taken.unlink()
            return loads(text)
        raise Empty

    def _queue_bind(self, exchange: str, routing_key: Any, pattern: Any, queue: Any) -> None:
        """Bind a queue: to an exchange's file that exists and is never empty."""
        table = self.control_folder / f"{exchange}.exchange"
        if table.parent == self.control_folder and not table.exists():
            self.control_folder.mkdir(exist_ok=True)
            draft = _written(table, "[]")
            with suppress(FileExistsError):  # another process was faster
                os.link(draft, table)
            draft.unlink()
        super()._queue_bind(exchange, routing_key, pattern, queue)


class Transport(filesystem.Transport):
    """The transport of such channels."""

    Channel = Channel


def _stamp() -> str:
    """Return the beginning of a name: names sort by time of creation."""
    return f"{time.time_ns():020}_{uuid4()}"


def _written(target: Path, text: str) -> Path:
    """Write ``text`` to a file of its own beside ``target`` and return that."""
    draft = target.with_name(f"{_stamp()}.draft")
    draft.write_text(text, encoding="utf-8")
    return draft
