"""Celery's broker of plain files, made fit for several processes: nothing is read half written.

kombu's ``filesystem://`` transport opens a message's file under its final name and fills it
afterwards. A worker that looks in between reads nothing, fails to decode it, and stops. Here
messages and exchanges appear whole. A file that is no message is put aside into the folder
``unreadable`` among them, where it stops no worker. Select it beside the usual settings::

    CELERY_BROKER_URL = "filesystem://"
    CELERY_BROKER_TRANSPORT = "trigger_celery.celery.file_transport:Transport"
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import Any
from uuid import uuid4

from kombu.transport import filesystem
from kombu.utils.json import dumps, loads

logger = logging.getLogger("trigger_celery.worker")

UNREADABLE = "unreadable"
"""The folder, among the messages, of files that are none."""


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
            message = self._read(taken)
            if message is None:
                _put_aside(taken, name)
                continue
            taken.unlink()
            return message
        raise Empty

    def _read(self, path: Path) -> Any:
        """Return the message in a file; None, after a word in the log, if a worker could not."""
        try:
            message = loads(path.read_text(encoding="utf-8"))
            parts = message["headers"], message["properties"]["delivery_info"]
            if not all(isinstance(part, dict) for part in parts):
                raise TypeError("its headers and delivery_info are no objects")
            self.Message(message, channel=self)  # as the consumer does, which would end at it
        except Exception as error:  # of any kind: the file may hold anything
            logger.error("a file of the broker is no message (%r) and is put aside", error)
            return None
        return message

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


def _put_aside(path: Path, name: str) -> None:
    """Move a file to where no consumer looks, and log how many are there."""
    folder = path.parent / UNREADABLE
    folder.mkdir(exist_ok=True)
    path.rename(folder / name)
    count = sum(1 for _ in folder.iterdir())
    logger.error("%s has %d files that are no messages; the latest: %s", folder, count, name)


def _written(target: Path, text: str) -> Path:
    """Write ``text`` to a file of its own beside ``target`` and return that."""
    draft = target.with_name(f"{_stamp()}.draft")
    draft.write_text(text, encoding="utf-8")
    return draft
