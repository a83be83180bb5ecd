"""``manage.py trigger_runs``: each verb, what it prints, its exit codes, and each bad input."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command

from support.bulk import carried_out
from support.store_rows import said
from trigger_celery import list_bulk
from trigger_celery.declare.definition import declared_tasks, define
from trigger_celery.errors import RunCanceled
from trigger_celery.testing.contract.tools import (
    QUEUE,
    TASK,
    checkpoint,
    claim,
    ending,
    got,
    limit,
    new_run,
    queued,
    start,
)
from trigger_celery.values import JsonCodec
from trigger_celery.values.failures import describe, to_text
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import OF_TASK
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.models import DeadLetter, Run
from trigger_celery_django.store import DjangoStore

pytestmark = pytest.mark.django_db
ERROR = to_text(describe(RunCanceled("the gateway is away")))
INPUT = '[[1],{"to":"ann"}]'


@pytest.fixture
def store() -> DjangoStore:
    return DjangoStore()


@pytest.fixture
def task() -> None:
    def body(number: int, to: str = "") -> None: ...

    declared_tasks.add(define(body, name=TASK))


@pytest.fixture
def at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that types this answer at a terminal."""

    def sit(answer: str) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        monkeypatch.setattr("sys.stdin.isatty", lambda: True)

    return sit


def run(*args: object, **streams: Any) -> str:
    """Call the command and return what it printed."""
    out = io.StringIO()
    call_command(
        "trigger_runs", *map(str, args), stdout=out, **{"stderr": io.StringIO(), **streams}
    )
    return out.getvalue()


def run_json(*args: object) -> Any:
    """Call the command and return its JSON."""
    data = json.loads(run(*args, "--json"))
    assert data.pop("schema") == 1
    return data


def refused(*args: object) -> CommandError:
    with pytest.raises(CommandError) as caught:
        run(*args)
    return caught.value


def failed(store: DjangoStore) -> UUID:
    lease = claim(store, created(store)).lease
    store.checkpoints.record(lease, checkpoint(store, "pay", "42"))
    store.runs.end(lease, replace(ending(RunState.FAILED), error=ERROR))
    return lease.run_id


def created(store: DjangoStore, **fields: Any) -> UUID:
    new = replace(new_run(input=INPUT), **fields)
    store.runs.create([new])
    return new.id


# list


def test_list_shows_the_newest_runs_as_a_table_of_one_line_each(store: DjangoStore) -> None:
    old, new = failed(store), queued(store)
    title, *rows = run("list").splitlines()
    assert title.split()[:3] == ["ID", "TASK", "STATE"]
    assert [row.split()[:3] for row in rows] == [
        [str(new), TASK, "queued"],
        [str(old), TASK, "failed"],
    ]
    assert rows[1].endswith("RunCanceled: the gateway is away")


def test_list_has_formats_for_machines(store: DjangoStore) -> None:
    first, second = queued(store), queued(store)
    ids = [str(second), str(first)]
    assert [each["id"] for each in run_json("list")["runs"]] == ids
    assert run("list", "--format", "ids").split() == ids
    lines = run("list", "--format", "jsonl").splitlines()
    assert [json.loads(line)["id"] for line in lines] == ids
    assert run("list", "--limit", 1, "--format", "ids").split() == ids[:1]


def test_list_filters_by_state_task_tag_age_and_dead_letter(store: DjangoStore) -> None:
    dead, other = failed(store), created(store, task="other", tags=("vip", "eu"))
    retried = failed(store)
    store.runs.retry(retried)
    Run.objects.filter(pk=dead).update(created_at=store.now() - timedelta(days=3))

    def listed(*filters: str) -> set[UUID]:
        return {UUID(text) for text in run("list", "--format", "ids", *filters).split()}

    assert listed() == {dead, other, retried}
    assert listed("--state", "failed") == {dead}
    assert listed("--state", "failed", "--state", "queued", "--task", TASK) == {dead, retried}
    assert listed("--task", "other") == listed("--tag", "vip", "--tag", "eu") == {other}
    assert listed("--tag", "vip", "--tag", "us") == set()
    assert listed("--since", "2d") == {other, retried}
    assert listed("--since", "4d12h") == {dead, other, retried}
    assert listed("--dead-letters") == {dead}


def test_list_filters_by_queue_schedule_tree_and_failure(store: DjangoStore) -> None:
    top, dead = created(store, queue="mail"), failed(store)
    below = created(store, parent_id=top, root_id=top, schedule="nightly")

    def listed(*filters: object) -> set[UUID]:
        return {UUID(text) for text in run("list", "--format", "ids", *filters).split()}

    assert listed("--queue", "mail") == {top}
    assert listed("--schedule", "nightly") == listed("--parent", top) == {below}
    assert listed("--root", top) == {top, below}
    DeadLetter.objects.update(fingerprint="f1")
    assert listed("--error", "f1") == {dead}
    assert "expected the id of a run" in str(refused("list", "--root", "x"))
    run("retry", "--error", "f1", "--yes")
    carried_out(store)
    assert listed("--error", "f1") == set()


def test_a_mistyped_state_is_answered_with_the_closest_one(store: DjangoStore) -> None:
    for command in ("list", "cancel"):
        assert "did you mean 'failed'" in str(refused(command, "--state", "faild"))


def test_list_says_on_stderr_that_there_are_none() -> None:
    errors = io.StringIO()
    assert run_json("list")["runs"] == []
    run("list", stderr=errors)
    assert errors.getvalue() == "no runs\n"


@pytest.mark.parametrize(
    "wrong",
    [("--since", "5x"), ("--since", "-1d"), ("--since", "9999999999w"), ("--state", "gone")],
)
def test_a_filter_that_makes_no_sense_is_refused(wrong: tuple[str, str]) -> None:
    assert wrong[0] in str(refused("list", *wrong))


# show


def test_show_prints_the_fields_of_a_run(store: DjangoStore) -> None:
    run_id = created(store, tags=("vip",), metadata='{"a":1}', origin='{"kind":"rerun"}')
    shown = run_json("show", run_id)["run"]
    assert (shown["id"], shown["task"], shown["state"]) == (str(run_id), TASK, "queued")
    assert (shown["args"], shown["kwargs"], shown["tags"]) == ("[1]", "{'to': 'ann'}", ["vip"])
    assert shown["created_at"].endswith("+00:00")
    text = run("show", run_id)
    assert "args             [1]\n" in text
    assert "finished" not in text
    assert "error            RunCanceled: the gateway is away" in _shown_failure(store)


def _shown_failure(store: DjangoStore) -> str:
    lease = claim(store, created(store))
    store.runs.end(lease.lease, replace(ending(RunState.FAILED), error=ERROR))
    return run("show", lease.run.id)


def test_show_shortens_values_without_full(store: DjangoStore) -> None:
    long = "x" * 5_000
    run_id = created(store, input=JsonCodec().encode([[long], {}]))
    short = run_json("show", run_id)["run"]["args"]
    assert len(short) < 250
    assert short.endswith("... (5,004 characters)")
    assert run_json("show", run_id, "--full")["run"]["args"] == f"['{long}']"


def test_show_never_shortens_an_error_whose_advice_stands_at_its_end(store: DjangoStore) -> None:
    error = to_text(describe(RunCanceled("gone " * 100 + "call the gateway's desk")))
    lease = claim(store, created(store))
    store.runs.end(lease.lease, replace(ending(RunState.FAILED), error=error))
    assert "call the gateway's desk" in run("show", lease.run.id)


def test_show_prints_what_it_cannot_decode_as_it_is_stored(store: DjangoStore) -> None:
    run_id = created(store, input="[[{]")
    shown = run_json("show", run_id)["run"]
    assert shown["input"] == "[[{]"
    assert shown["unreadable"]


def test_show_and_list_name_a_task_that_no_code_declares(store: DjangoStore) -> None:
    new, errors = new_run(input=INPUT), io.StringIO()
    store.runs.create([new])
    assert f"no code here declares '{TASK}'" in run("show", new.id)
    run("list", stderr=errors)
    assert f"no code here declares '{TASK}'" in errors.getvalue()


@pytest.mark.usefixtures("task")
def test_show_and_list_say_nothing_of_a_declared_task(store: DjangoStore) -> None:
    new, errors = new_run(input=INPUT), io.StringIO()
    store.runs.create([new])
    assert "declares" not in run("show", new.id)
    run("list", stderr=errors)
    assert errors.getvalue() == ""


def test_show_says_of_a_run_that_it_is_paused(store: DjangoStore) -> None:
    run_id = created(store)
    store.managing.pause(run_id, {})
    assert run_json("show", run_id)["run"]["state"] == "queued, paused"
    store.runs.cancel(run_id, ERROR)
    assert run_json("show", run_id)["run"]["state"] == "canceled"


def test_show_says_what_a_run_stands_in_line_for(store: DjangoStore) -> None:
    limit(store, concurrency=1)
    limit(store, OF_TASK + TASK, concurrency=9)
    in_queue, in_task = created(store, queue=QUEUE), created(store)
    assert f"in line of       {QUEUE}\n" in run("show", in_queue)
    shown = [run_json("show", run_id)["run"]["in_line_of"] for run_id in (in_queue, in_task)]
    assert shown == [QUEUE, OF_TASK + TASK]
    start(store, in_queue)
    assert run_json("show", in_queue)["run"]["in_line_of"] == ""
    assert "in line of" not in run("show", in_queue)


# trace


def test_trace_draws_a_run_and_prints_it_as_data(store: DjangoStore) -> None:
    run_id = failed(store)
    text = run("trace", run_id)
    assert text.startswith(f"{TASK}  {run_id}  failed, took")
    assert "- pay" in text
    assert "\x1b" not in text
    trace = run_json("trace", run_id)["trace"]
    assert (trace["run"], trace["state"]) == (str(run_id), "failed")
    assert [each["kind"] for each in trace["spans"]] == ["queued", "segment"]


def test_trace_has_colours_for_a_terminal_unless_they_are_not_wanted(
    store: DjangoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = failed(store)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b" in run("trace", run_id, force_color=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in run("trace", run_id, force_color=True)


@pytest.mark.parametrize("verb", ["show", "trace", "wait", "cancel", "retry", "rerun", "pause"])
def test_a_run_that_is_not_there_is_named(verb: str) -> None:
    unknown = new_id()
    assert str(unknown) in str(refused(verb, unknown))
    assert "expected the id of a run to be a UUID, got: 'seven'" in str(refused(verb, "seven"))


# cancel and retry


def test_cancel_cancels_the_runs_that_are_named(store: DjangoStore) -> None:
    first, second = queued(store), failed(store)
    answer = run_json("cancel", first, second, "--reason", "a typo", "--by", "ann")
    assert answer == {
        "done": {str(first): "canceled", str(second): "had ended already"},
        "failed": {},
    }
    entry = list(store.runs.history(first))[-1]
    assert (entry.verb, said(entry.data)) == ("cancel", {"by": "ann", "reason": "a typo"})
    assert got(store, second).state is RunState.FAILED


def test_retry_queues_dead_letters_again_without_a_question_if_they_are_few(
    store: DjangoStore,
) -> None:
    dead, other = failed(store), queued(store)
    shown = run_json("retry", "--dead-letters", "--reason", "back", "--by", "ann")["operation"]
    assert (shown["kind"], shown["planned"], shown["state"]) == ("retry", 1, "running")
    assert got(store, dead).state is RunState.FAILED
    after = carried_out(store)
    assert (str(after.id), after.done, after.reason, after.by) == (shown["id"], 1, "back", "ann")
    assert DeadLetter.objects.get(run=dead).state == "retried"
    assert got(store, dead).state is RunState.QUEUED
    assert list(store.runs.history(other))[-1].verb == "trigger"


def test_a_dry_run_prints_what_would_be_done_and_does_nothing(store: DjangoStore) -> None:
    dead, errors = failed(store), io.StringIO()
    assert run("retry", "--all", "--dry-run", stderr=errors) == f"{dead}  would retry\n"
    assert errors.getvalue().startswith(f"runs to retry: 1\n  {TASK}: 1, created 20")
    assert run_json("retry", "--all", "--dry-run") == {"dry_run": True, "runs": [str(dead)]}
    assert got(store, dead).state is RunState.FAILED


def test_filters_mean_only_runs_that_the_verb_can_be_done_to(store: DjangoStore) -> None:
    dead, live = failed(store), queued(store)
    run("cancel", "--task", TASK, "--yes")
    assert carried_out(store).done == 1
    assert got(store, live).state is RunState.CANCELED
    run("retry", "--task", TASK)
    assert carried_out(store).done == 1
    assert got(store, dead).state is RunState.QUEUED
    errors = io.StringIO()
    assert run("retry", "--state", "queued", stderr=errors) == ""
    assert errors.getvalue() == "runs to retry: 0\n"
    assert len(list_bulk()) == 2


def test_many_runs_are_not_canceled_without_a_confirmation(
    store: DjangoStore, at_a_terminal: Callable[[str], None]
) -> None:
    runs = [queued(store), queued(store)]
    error = refused("cancel", "--all")
    assert "there is no terminal to confirm that 2 runs are meant" in str(error)
    assert error.returncode == 1
    at_a_terminal("yes\n")
    assert str(refused("cancel", "--all")) == "not confirmed; nothing was done"
    assert {got(store, each).state for each in runs} == {RunState.QUEUED}
    at_a_terminal("2\n")
    run("cancel", "--all")
    assert carried_out(store).done == 2


def test_some_failures_exit_with_three_and_only_failures_with_one(store: DjangoStore) -> None:
    dead, live = failed(store), queued(store)
    error = refused("retry", dead, live)
    assert (error.returncode, str(live) in str(error), str(dead) in str(error)) == (3, True, False)
    assert got(store, dead).state is RunState.QUEUED
    assert refused("retry", live).returncode == 1


def test_runs_are_named_or_chosen_and_not_both(store: DjangoStore) -> None:
    run_id = queued(store)
    for wrong in ((), (run_id, "--all"), (run_id, "--task", TASK)):
        assert "not both" in str(refused("cancel", *wrong))
    assert got(store, run_id).state is RunState.QUEUED


def test_nothing_is_done_if_one_of_the_named_runs_is_not_there(store: DjangoStore) -> None:
    run_id = queued(store)
    assert "nothing was done" in str(refused("cancel", run_id, new_id()))
    assert got(store, run_id).state is RunState.QUEUED


def test_an_interrupted_verb_says_how_far_it_came(
    store: DjangoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = queued(store)

    def interrupt(*args: object, **kwargs: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr("trigger_celery.engine.runs.control.cancel", interrupt)
    error = refused("cancel", run_id)
    assert (error.returncode, str(error)) == (130, "interrupted: 0 of 1 runs were dealt with")


# pause, resume, reschedule


def test_pause_and_resume_say_what_they_did(store: DjangoStore) -> None:
    run_id = queued(store)
    assert run("pause", run_id) == f"{run_id}  paused\n"
    assert run("pause", run_id) == f"{run_id}  was paused already\n"
    assert run("resume", run_id) == f"{run_id}  resumed\n"
    assert run("resume", run_id) == f"{run_id}  was not paused\n"
    assert "it has ended" in str(refused("pause", failed(store)))


def test_reschedule_takes_a_duration_or_a_time(store: DjangoStore) -> None:
    run_id = created(store, delay=timedelta(hours=1))
    assert f"{run_id}  starts 20" in run("reschedule", run_id, "2h")
    assert got(store, run_id).available_at - store.now() > timedelta(minutes=119)
    start = "2099-01-31T09:00:00+00:00"
    for text in (start, "2099-01-31T09:00", "2099-01-31T10:00+01:00"):
        assert run_json("reschedule", run_id, text)["available_at"] == start


@pytest.mark.parametrize("start", ["soon", "2001-01-01", "2099-13-01"])
def test_reschedule_refuses_a_start_that_makes_no_sense(store: DjangoStore, start: str) -> None:
    run_id = created(store, delay=timedelta(hours=1))
    before = got(store, run_id)
    refused("reschedule", run_id, start)
    assert got(store, run_id) == before
    assert "delayed" in str(refused("reschedule", queued(store), "2h"))


# rerun, fork


def test_rerun_prints_the_id_of_the_new_run(store: DjangoStore, task: None) -> None:
    old = created(store)
    same, edited = (
        UUID(run("rerun", old).strip()),
        UUID(run_json("rerun", old, "--args", "[2]")["id"]),
    )
    assert got(store, same).spec.copied_from_id == old
    assert (got(store, same).spec.input, got(store, edited).spec.input) == (
        INPUT,
        '[[2],{"to":"ann"}]',
    )


def test_fork_keeps_what_lies_before_the_step(store: DjangoStore, task: None) -> None:
    lease = claim(store, created(store)).lease
    store.checkpoints.record(lease, checkpoint(store, "pay", "42", position=1))
    store.checkpoints.record(lease, checkpoint(store, "mail", "43", position=2))
    new = UUID(
        run("fork", lease.run_id, "mail", "--kwargs", '{"to": "bob"}', "--by", "ann").strip()
    )
    recorded = store.checkpoints.load(new, run_attempt=1).recorded
    assert {key: outcome.value for key, outcome in recorded.items()} == {"pay": "42"}
    assert got(store, new).spec.input == '[[1],{"to":"bob"}]'
    assert "near it: 'mail'" in str(refused("fork", lease.run_id, "mial"))


@pytest.mark.parametrize(
    "wrong", [("--args", "{}"), ("--args", "[1"), ("--kwargs", "[]"), ("--args", "[1, 2, 3]")]
)
def test_an_input_that_makes_no_sense_starts_nothing(
    store: DjangoStore, task: None, wrong: tuple[str, str]
) -> None:
    old = created(store)
    refused("rerun", old, *wrong)
    refused("fork", old, "pay", *wrong)
    assert Run.objects.count() == 1


# wait


def test_wait_prints_the_run_once_it_has_completed(store: DjangoStore) -> None:
    lease = claim(store, created(store)).lease
    store.runs.end(lease, replace(ending(), output='"done"'))
    assert "output           'done'" in run("wait", lease.run_id)


def test_wait_exits_with_three_for_another_end_and_four_if_it_takes_too_long(
    store: DjangoStore,
) -> None:
    error = refused("wait", failed(store), "--timeout", "1s")
    assert (error.returncode, "ended as failed" in str(error)) == (3, True)
    error = refused("wait", queued(store), "--timeout", "0.1")
    assert (error.returncode, "is still queued" in str(error)) == (4, True)


def test_a_list_does_not_let_an_error_steer_the_terminal(store: DjangoStore) -> None:
    lease = claim(store, created(store)).lease
    hostile = to_text(describe(RunCanceled("\x1b[2Jgone")))
    store.runs.end(lease, replace(ending(RunState.FAILED), error=hostile))
    for out in (run("list"), run("show", lease.run_id)):
        assert "\x1b" not in out
        assert r"\x1b[2Jgone" in out


@pytest.mark.parametrize("args", [["list"], ["cancel", "--all"], ["retry", "--all"]])
def test_a_limit_under_one_is_refused(args: list[str]) -> None:
    assert "expected a whole number of at least 1" in str(refused(*args, "--limit=-1"))
