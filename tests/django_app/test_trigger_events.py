"""``manage.py trigger_events``: what it sends, what it shows, what it refuses."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from trigger_celery.client.access import install_engine
from trigger_celery.declare.definition import TaskRegistry
from trigger_celery.engine.core import Engine
from trigger_celery.vocabulary.records import Subscription
from trigger_celery_django.models import Event, Run
from trigger_celery_django.store import DjangoStore

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def engine() -> Iterator[Engine]:
    """Return the engine that the command uses; it publishes nothing."""
    engine = Engine(store=DjangoStore(), tasks=TaskRegistry())
    before = install_engine(engine)
    yield engine
    install_engine(before)


def run(*args: str) -> str:
    out = io.StringIO()
    call_command("trigger_events", *args, stdout=out, stderr=io.StringIO())
    return out.getvalue().strip()


def run_json(*args: str) -> Any:
    return json.loads(run(*args, "--json"))


def test_send_stores_an_event_and_prints_its_id() -> None:
    event_id = run("send", "order.paid", "--payload", '{"n": 1.5}')
    row = Event.objects.get()
    assert (row.event_id, row.name, row.source) == (event_id, "order.paid", "")
    assert json.loads(row.payload) == {"n": 1.5}
    assert row.matched_at is not None


def test_send_starts_the_tasks_that_want_the_event(engine: Engine) -> None:
    engine.store.subscriptions.sync([Subscription(task="ship", name="paid", filter="{}")], [])
    run("send", "paid")
    assert Run.objects.get().task == "ship"


def test_a_second_event_with_the_same_id_is_reported_and_does_nothing() -> None:
    first, second = (
        run_json("send", "paid", "--id", "e-1", "--source", "bank", "--payload", str(number))
        for number in (1, 1)
    )
    same = {"schema": 1, "id": "e-1", "name": "paid", "source": "bank"}
    assert first == {**same, "stored": True}
    assert second == {**same, "stored": False}
    with pytest.raises(CommandError, match="'e-1' of an event from source 'bank' stands for"):
        run("send", "paid", "--id", "e-1", "--source", "bank", "--payload", "2")
    assert Event.objects.get().payload == "1"


def test_the_payload_may_come_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('["x"]'))
    run("send", "paid", "--payload", "-")
    assert json.loads(Event.objects.get().payload) == ["x"]


def test_a_dry_run_prints_what_would_start_and_writes_nothing(engine: Engine) -> None:
    wanted = [("ship", '{"n": "1"}'), ("mail", "{}"), ("skip", '{"n": "2"}')]
    engine.store.subscriptions.sync(
        [Subscription(task=task, name="paid", filter=text) for task, text in wanted], []
    )
    assert run_json("send", "paid", "--payload", '{"n": 1}', "--dry-run") == {
        "schema": 1,
        "starts": ["mail", "ship"],
        "wakes": 0,
    }
    assert run("send", "other", "--dry-run") == "would start nothing; would end 0 waits"
    assert not Event.objects.exists()
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["paid", "--payload", "{"], "not JSON"),
        (["paid", "--payload", "NaN"], "NaN"),
        (["paid", "--payload", "[" * 100_000], "nested more than"),
        (["paid", "--payload", '"' + "x" * 1_100_000 + '"'], "more than 1,000,000 bytes"),
        (["", "--payload", "1"], "an event's name"),
        (["x" * 201], "an event's name"),
        (["paid", "--id", "x" * 201], "an event's id"),
        (["paid", "--source", "x" * 201], "an event's source"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(args: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        run("send", *args)
    assert not Event.objects.exists()


def test_list_shows_the_latest_events_first(engine: Engine) -> None:
    assert run("list") == "no events"
    for number in range(3):
        run("send", f"e-{number}", "--payload", json.dumps("x" * 100), "--id", str(number))
    lines = run("list", "--limit", "2").splitlines()
    assert [line.split()[1] for line in lines] == ["NAME", "e-2", "e-1"]
    assert all(len(line) < 250 for line in lines)
    listed = run_json("list")
    assert listed["schema"] == 1
    assert [each["id"] for each in listed["events"]] == ["2", "1", "0"]
    assert listed["events"][0]["payload"] == "x" * 100
    assert listed["events"][0]["received"].endswith("+00:00")


def test_list_shows_only_what_is_asked_for() -> None:
    for name, source in (("paid", "bank"), ("paid", ""), ("sent", "bank")):
        run("send", name, "--source", source)
    Event.objects.filter(name="sent").update(matched_at=None)
    found = [
        run_json("list", *args)["events"]
        for args in (["--name", "paid"], ["--source", "bank"], ["--unmatched"])
    ]
    assert [[each["name"] for each in events] for events in found] == [
        ["paid", "paid"],
        ["sent", "paid"],
        ["sent"],
    ]


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(CommandError, match="--limit: expected a whole number of at least 1"):
        run("list", "--limit", "0")
