"""``manage.py trigger_task``: what it starts, prints and refuses, and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command

from testproject.shop.tasks import failing, linear
from trigger_celery.client import access
from trigger_celery.client.access import installed_engine
from trigger_celery.engine.runs import control as run_control
from trigger_celery.errors import StoreUnavailable
from trigger_celery.testing.drain import execute_declared
from trigger_celery.vocabulary.records import Run as RunRecord
from trigger_celery_django.models import Run, RunKey

pytestmark = pytest.mark.django_db(transaction=True)


def called(*args: str) -> tuple[str, str, int]:
    """Return what the command wrote to stdout and stderr, and its exit code."""
    out, err = StringIO(), StringIO()
    try:
        call_command("trigger_task", *args, stdout=out, stderr=err)
    except SystemExit as left:
        return out.getvalue(), err.getvalue(), int(str(left.code))
    return out.getvalue(), err.getvalue(), 0


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Execute the run whenever the command looks for its end."""
    monkeypatch.setenv("TC_EFFECTS", str(tmp_path / "effects"))
    look: Callable[..., RunRecord] = run_control.get

    def executed(engine: Any, run_id: UUID) -> RunRecord:
        execute_declared(engine, look(engine, run_id))
        return look(engine, run_id)

    monkeypatch.setattr(run_control, "get", executed)


def test_it_starts_a_run_and_prints_its_id() -> None:
    out, err, code = called(linear.name, "--args", "[5]")
    run = Run.objects.get()
    assert (out, err, code) == (f"{run.pk}\n", "", 0)
    assert (run.task, run.input, run.state) == ("linear", "[[5],{}]", "queued")


def test_its_options_are_those_of_a_trigger(settings: Any) -> None:
    settings.TRIGGER_CELERY = {**settings.TRIGGER_CELERY, "QUEUES": {"q": {}}}
    values = {
        "--kwargs": '{"value":5}',
        "--delay": "60",
        "--ttl": "120",
        "--metadata": '{"a":[1]}',
        "--priority": "4",
        "--max-attempts": "7",
        "--max-duration": "90",
        "--concurrency-key": "c",
        "--queue": "q",
    }
    tags = ("--tag", "one", "--tag", "two")
    called("linear", *tags, *(part for pair in values.items() for part in pair))
    run = installed_engine().store.runs.get(Run.objects.get().pk)
    assert run is not None
    assert (run.spec.input, run.spec.tags, run.spec.metadata) == (
        '[[],{"value":5}]',
        ("one", "two"),
        '{"a":[1]}',
    )
    assert run.available_at - run.created_at == timedelta(seconds=60)
    assert run.deadline_at is not None
    assert run.deadline_at - run.available_at == timedelta(seconds=120)
    assert (run.spec.priority, run.spec.max_attempts) == (4, 7)
    assert run.spec.max_duration == timedelta(seconds=90)
    assert (run.spec.concurrency_key, run.spec.queue) == ("c", "q")


def test_a_second_call_with_the_same_key_prints_the_run_of_the_first() -> None:
    args = ("linear", "--args", "[1]", "--json", "--idempotency-key", "k")
    first, second = (json.loads(called(*args)[0]) for _ in range(2))
    assert (first["created"], second["created"]) == (True, False)
    assert first["id"] == second["id"]
    assert first["schema"] == 1
    with pytest.raises(CommandError, match="'k' of task 'linear' stands for run"):
        called("linear", "--args", "[2]", "--idempotency-key", "k")
    assert Run.objects.count() == 1


def test_a_debounced_call_pushes_the_waiting_run_back() -> None:
    args = ("--debounce-key", "k", "--debounce-delay", "60", "--debounce-mode", "trailing")
    first = called("linear", "--args", "[1]", *args)[0]
    assert called("linear", "--args", "[2]", *args)[0] == first
    assert Run.objects.get().input == "[[2],{}]"


def test_it_waits_and_prints_what_the_run_returned(worker: None) -> None:
    out, err, code = called("linear", "--args", "[5]", "--wait", "--timeout", "30s")
    assert (out, code) == ("6\n", 0)
    assert err == f"waiting for the end of run {Run.objects.get().pk}\n"
    printed = json.loads(called("linear", "--args", "[6]", "--wait", "--json")[0])
    assert (printed["state"], printed["result"], printed["task"]) == ("completed", 7, "linear")


def test_a_run_that_does_not_succeed_is_exit_code_3(worker: None) -> None:
    out, err, code = called(failing.name, "--wait", "--json")
    assert code == 3
    printed = json.loads(out)
    assert printed["error"] == {"kind": "ValueError", "message": "it failed"}
    assert "is failed: ValueError: it failed" in err


def test_a_run_that_goes_on_after_the_timeout_is_exit_code_4() -> None:
    with pytest.raises(CommandError, match="goes on: run .* still queued") as late:
        called("linear", "--args", "[1]", "--wait", "--timeout", "0.01")
    assert late.value.returncode == 4


@pytest.mark.parametrize("how", ["--wait", "--json"])
def test_a_database_that_goes_away_after_the_start_is_exit_code_4(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: object) -> None:
        raise StoreUnavailable("the database is away")

    monkeypatch.setattr(run_control, "get", away)
    monkeypatch.setattr(access, "get", away)
    with pytest.raises(CommandError, match="goes on: the database is away") as lost:
        called("linear", "--args", "[1]", how)
    assert lost.value.returncode == 4
    assert str(Run.objects.get().pk) in str(lost.value)


def test_an_interrupted_wait_is_exit_code_130_and_names_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_control, "get", interrupt)
    out, err, code = called("linear", "--args", "[1]", "--wait")
    assert (out, code) == ("", 130)
    assert f"interrupted; run {Run.objects.get().pk} goes on" in err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("linaer",), "'linaer'; did you mean 'linear'"),
        (("linear", "--args", "[1"), "--args: not JSON"),
        (("linear", "--args", "[NaN]"), "--args: NaN is not JSON"),
        (("linear", "--args", "[" * 9_999), "--args: nested more than 60 levels"),
        (("linear", "--args", "{}"), "expected --args to be a JSON list"),
        (("linear", "--kwargs", "[]"), "expected --kwargs to be a JSON object"),
        (("linear", "--metadata", "1"), "expected --metadata to be a JSON object"),
        (("linear", "--args", "[1,2]"), "task 'linear': too many positional arguments"),
        (("linear", "--args", "[1]", "--delay", "-1"), "expected a duration such as 90s"),
        (("linear", "--args", "[1]", "--ttl", "nan"), "expected a duration such as 90s"),
        (("linear", "--args", "[1]", "--tag", ""), "expected a tag"),
        (("linear", "--args", "[1]", "--max-attempts", "0"), "expected max_attempts"),
        (("linear", "--args", "[1]", "--timeout", "5"), "give both"),
        (
            ("linear", "--args", "[1]", "--wait", "--timeout", "-5"),
            "expected a duration such as 90s",
        ),
        (("linear", "--args", "[1]", "--debounce-key", "k"), "belong together"),
        (("linear", "--args", "[1]", "--debounce-mode", "leading"), "needs --debounce-key"),
        (("linear", "--args", "[1]", "--queue", "\n"), "expected queue to be printable"),
        (("linear", "--args", "[1]", "--queue", "nope"), "no durable queue is called 'nope'"),
        (("linear", "--args", "[1]", "--idempotency-key", "k" * 2049), "2,048"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else None,
)
def test_refused_arguments_start_no_run(args: tuple[str, ...], message: str) -> None:
    with pytest.raises(CommandError) as refused:
        called(*args)
    assert message in str(refused.value)
    assert refused.value.returncode == 1
    assert not Run.objects.exists()
    assert not RunKey.objects.exists()
