"""The broker of plain files shows no message and no exchange before it is complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu import Connection
from kombu.transport import filesystem

MESSAGE = {"headers": {}, "properties": {"delivery_info": {}, "delivery_tag": "1"}}


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    for name in ("queue", "control"):
        (tmp_path / name).mkdir()
    options = {
        "data_folder_in": str(tmp_path / "queue"),
        "data_folder_out": str(tmp_path / "queue"),
        "control_folder": str(tmp_path / "control"),
    }
    with Connection(
        "filesystem://",
        transport="trigger_celery.celery.file_transport:Transport",
        transport_options=options,
    ) as connection:
        yield connection


@pytest.fixture
def channel(connection: Connection) -> Any:
    return connection.channel()


def test_messages_arrive_in_the_order_they_were_sent(connection: Connection) -> None:
    queue = connection.SimpleQueue("orders")
    for number in range(3):
        queue.put({"number": number})
    assert [queue.get(timeout=5).payload["number"] for _ in range(3)] == [0, 1, 2]
    queue.close()


def test_a_message_that_is_being_written_is_not_there_yet(
    channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_text
    looks: list[str] = []

    def write_slowly(path: Path, text: str, **kwargs: Any) -> int:
        write(path, "", **kwargs)
        with pytest.raises(Empty):
            channel._get("orders")
        looks.append(path.name)
        return write(path, text, **kwargs)

    monkeypatch.setattr(Path, "write_text", write_slowly)
    channel._put("orders", MESSAGE)
    assert len(looks) == 1
    assert channel._get("orders") == MESSAGE


def test_a_message_is_given_to_one_consumer(channel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    channel._put("orders", MESSAGE)
    listed = os.listdir(channel.data_folder_in)
    assert channel._get("orders") == MESSAGE
    monkeypatch.setattr(os, "listdir", lambda folder: listed)
    with pytest.raises(Empty):
        channel._get("orders")


def test_a_queue_gets_only_its_own_messages(channel: Any) -> None:
    channel._put("orders", MESSAGE)
    with pytest.raises(Empty):
        channel._get("invoices")
    assert channel._size("orders") == 1


def test_an_exchange_is_readable_from_the_moment_it_exists(
    channel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link
    seen: list[str] = []

    def link_and_look(source: Path, target: Path) -> None:
        link(source, target)
        seen.append(target.read_text(encoding="utf-8"))

    monkeypatch.setattr(os, "link", link_and_look)
    channel._queue_bind("orders", "key", "", "orders")
    assert seen == ["[]"]
    assert [tuple(row) for row in channel.get_table("orders")] == [("key", "", "orders")]
    assert [path.name for path in (tmp_path / "control").iterdir()] == ["orders.exchange"]


def test_two_processes_may_make_one_exchange_at_once(
    channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel._queue_bind("orders", "one", "", "first")
    monkeypatch.setattr(Path, "exists", lambda path: False)
    with monkeypatch.context() as patch:
        patch.setattr(filesystem.Channel, "_queue_bind", lambda *args: None)
        channel._queue_bind("orders", "two", "", "second")
    assert [tuple(row) for row in channel.get_table("orders")] == [("one", "", "first")]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe{}",
        b"{",
        b"[1]",
        b"null",
        b"{}",
        b'{"headers": [], "properties": {"delivery_info": {}, "delivery_tag": "1"}}',
        b'{"headers": {}, "properties": {"delivery_info": {}}}',
        b'{"body": 7, "headers": {}, "properties": {"body_encoding": "base64", '
        b'"delivery_info": {}, "delivery_tag": "1"}}',
        b"[" * 100_000,
        None,
    ],
    ids=lambda content: "a folder" if content is None else repr(content[:30]),
)
def test_a_file_that_is_no_message_is_put_aside_and_those_behind_it_arrive(
    connection: Connection,
    channel: Any,
    tmp_path: Path,
    content: bytes | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = Path(channel.data_folder_in)
    bad = folder / f"0.{tmp_path.name}.msg"
    if content is None:
        bad.mkdir()
    else:
        bad.write_bytes(content)
    # A name of its own: kombu binds a queue once in a process, in whichever folder.
    queue = connection.SimpleQueue(tmp_path.name)
    queue.put({"number": 1})
    assert queue.get(timeout=5).payload == {"number": 1}
    queue.close()
    assert [path.name for path in (folder / "unreadable").iterdir()] == [bad.name]
    assert f"has 1 files that are no messages; the latest: {bad.name}" in caplog.text
    with pytest.raises(Empty):
        channel._get(tmp_path.name)
