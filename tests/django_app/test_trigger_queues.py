"""``manage.py trigger_queues``: what it shows and does, as text and as JSON, and exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command

from testproject.shop.tasks import linear
from trigger_celery import Queue, get_queue, pause_queue
from trigger_celery.client.access import installed_engine
from trigger_celery.declare.queue import queues as declared_queues
from trigger_celery.engine.process.discovery import Discovery
from trigger_celery.engine.runs import control as run_control
from trigger_celery.vocabulary.identity import new_token
from trigger_celery.vocabulary.news import QueueNews
from trigger_celery.vocabulary.records import Claim, Limits, Rate
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.models import DurableQueue
from trigger_celery_django.signals import queue_paused, queue_resumed

pytestmark = pytest.mark.django_db(transaction=True)


def called(*args: str) -> tuple[str, str]:
    """Return what the command wrote to stdout and stderr."""
    out, err = StringIO(), StringIO()
    call_command("trigger_queues", *args, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def run_json(*args: str) -> dict[str, object]:
    """Return what the command wrote as JSON."""
    found = json.loads(called(*args, "--json")[0])
    assert found.pop("schema") == 1
    return dict(found)


def refused(*args: str) -> CommandError:
    """Return what the command failed with."""
    with pytest.raises(CommandError) as caught:
        called(*args)
    return caught.value


@pytest.fixture(autouse=True)
def queues() -> Iterator[None]:
    limits = Limits(concurrency=1, key_concurrency=1, rate=Rate(interval=timedelta(seconds=0.6)))
    installed_engine().store.queues.declare({"emails": limits, "reports": Limits()})
    yield
    installed_engine().known_queues.clear()


@pytest.fixture(autouse=True)
def imports(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """Return what is done when the project's modules are imported: nothing so far."""
    found: list[Callable[[], object]] = []

    def run() -> None:
        for each in found:
            each()

    engine = installed_engine()
    monkeypatch.setattr(engine, "discover", run)
    monkeypatch.setattr(engine, "discovery", Discovery())
    return found


def put(queue: str = "emails") -> UUID:
    return linear.options(queue=queue).trigger(1).id


def take(run_id: UUID) -> bool:
    """Claim a run as a worker would; return whether it may execute."""
    asked = Claim(
        run_id=run_id,
        task=linear.name,
        worker="web1:7",
        version="",
        length=timedelta(minutes=5),
        token=new_token(),
    )
    return installed_engine().store.runs.claim(asked) is not None


@pytest.fixture
def held() -> UUID:
    """Return a run that holds the slot of ``emails``."""
    run_id = put()
    assert take(run_id)
    return run_id


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that lets a person at a terminal type something."""

    def answer(text: str) -> None:
        monkeypatch.setattr("sys.stdin.isatty", lambda: True)
        monkeypatch.setattr("builtins.input", lambda: text)

    return answer


# list, show, holders


def test_list_shows_limits_and_how_full_queues_are(held: UUID) -> None:
    put()
    called("limit", "emails", "5", "--key-rate", "7/1h,burst=3")
    titles, emails, reports = called("list")[0].splitlines()
    assert titles.split("  ")[0] == "NAME"
    assert emails.split("  ")[0] == "emails"
    shown = [cell.strip() for cell in emails.split("  ") if cell.strip()]
    assert shown[1:7] == ["5 (code: 1)", "1", "100/1m", "7/1h,burst=3 (code: none)", "1", "1"]
    assert shown[-1] == "open"
    assert reports.split() == ["reports", "-", "-", "-", "-", "0", "0", "-", "open"]


def test_list_as_json_has_stable_keys_and_times_in_utc(held: UUID) -> None:
    put()
    called("limit", "emails", "none")
    emails, reports = json.loads(called("list", "--json")[0])["queues"]
    assert emails["limits"] == {
        "concurrency_limit": None,
        "key_limit": 1,
        "rate_limit": {"interval": 0.6, "burst": 1},
        "key_rate_limit": None,
    }
    assert emails["declared"]["concurrency_limit"] == 1
    assert emails["overridden"] == ["concurrency_limit"]
    assert (emails["held"], reports["held"]) == (1, 0)
    assert (emails["stopped"], emails["paused_at"], emails["paused_by"]) == ("", None, "")
    assert set(emails) == set(reports)


def test_show_has_the_longest_wait_in_line(held: UUID) -> None:
    put()
    queue = run_json("show", "emails")["queue"]
    assert isinstance(queue, dict)
    assert (queue["held"], queue["waiting"]) == (1, 1)
    since = datetime.fromisoformat(queue["waiting_since"])
    assert since.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - since) < timedelta(minutes=1)


def test_names_can_be_piped() -> None:
    assert called("list", "--format", "ids")[0] == "emails\nreports\n"


def test_list_says_when_there_is_none() -> None:
    DurableQueue.objects.all().delete()
    assert called("list", "--format", "ids") == ("", "no queues\n")


def test_show_names_the_caller_and_the_reason_of_a_pause() -> None:
    called("pause", "emails", "--by", "ann", "--reason", "the gateway is away")
    out, _ = called("show", "emails")
    assert "paused by ann: the gateway is away\n" in out
    assert "paused at" in out
    assert "paused by ann" in called("list")[0]


def test_holders_are_shown_with_their_workers(held: UUID) -> None:
    _, row = called("holders", "emails")[0].splitlines()
    assert row.split()[:3] == [str(held), "emails", linear.name]
    assert "web1:7" in row
    assert called("holders", "emails", "--format", "ids")[0] == f"{held}\n"
    assert json.loads(called("holders", "*", "--json")[0])["holders"][0]["worker"] == "web1:7"
    assert called("holders", "reports", "--format", "ids") == ("", "no run holds a slot\n")


# pause, resume


def test_pause_and_resume() -> None:
    assert called("pause", "emails", "reports", "--by", "ann")[0] == (
        "emails: paused\nreports: paused\n"
    )
    assert called("pause", "emails")[0] == "emails: was paused already\n"
    assert get_queue("emails").paused_by == "ann"
    run_id = put()
    assert not take(run_id)
    assert called("resume", "emails")[0] == "emails: resumed\n"
    assert called("resume", "emails")[0] == "emails: was not paused\n"
    assert take(run_id)


def test_without_by_the_user_of_the_system_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "ann")
    called("pause", "emails")
    assert get_queue("emails").paused_by == "manage.py (ann)"


def test_to_pause_everything_needs_a_person_or_a_yes(typed: Callable[[str], None]) -> None:
    for asked in (("pause", "--all"), ("pause", "emails", "*")):
        assert "there is no terminal to confirm" in str(refused(*asked))
    typed("no")
    assert "nothing was done" in str(refused("pause", "--all"))
    assert get_queue("*").paused_at is None
    assert get_queue("emails").paused_at is None
    typed("everything")
    assert called("pause", "--all")[0] == "*: paused\n"
    assert not take(put("reports"))
    assert "everything is paused" in called("list")[0]
    assert called("resume", "--all")[0] == "*: resumed\n"
    assert called("pause", "--all", "--yes", "--reason", "moving")[0] == "*: paused\n"
    assert get_queue("*").pause_reason == "moving"


def test_a_reason_that_could_steer_a_terminal_is_refused() -> None:
    assert "one line" in str(refused("pause", "emails", "--reason", "\x1b[2Jgone"))
    assert get_queue("emails").paused_at is None


def test_a_pause_sends_signals_whose_sender_is_the_queue() -> None:
    received: list[tuple[object, object]] = []

    def receiver(sender: object, news: object, **kwargs: object) -> None:
        received.append((sender, news))

    for signal in (queue_paused, queue_resumed):
        signal.connect(receiver, sender="emails")
    try:
        called("pause", "emails", "reports", "--by", "ann", "--reason", "away")
        called("resume", "emails", "reports", "--by", "bob")
    finally:
        for signal in (queue_paused, queue_resumed):
            signal.disconnect(receiver, sender="emails")
    assert received == [
        ("emails", QueueNews(name="emails", by="ann", reason="away")),
        ("emails", QueueNews(name="emails", by="bob")),
    ]


@pytest.mark.parametrize("asked", [("pause",), ("pause", "emails", "--all"), ("resume",)])
def test_queues_are_named_or_all_are_meant(asked: tuple[str, ...]) -> None:
    error = refused(*asked)
    assert "name the queues" in str(error)
    assert error.returncode == 2
    assert get_queue("emails").paused_at is None


# limit, reset


def test_a_limit_stands_in_for_that_of_the_code_until_it_is_reset() -> None:
    out, _ = called("limit", "emails", "5", "--rate", "none")
    assert out == "emails: limit 5 (code: 1), key limit 1, rate none (code: 100/1m)\n"
    assert get_queue("emails").limits == Limits(concurrency=5, key_concurrency=1)
    assert called("limit", "emails", "5")[0].endswith(", as before\n")
    assert called("reset", "emails")[0] == "emails: limit 1, key limit 1, rate 100/1m\n"
    assert called("reset", "emails")[0].endswith(", as before\n")


def test_only_what_is_given_changes() -> None:
    called("limit", "reports", "--key-limit", "2", "--rate", "3/5")
    called("limit", "reports", "--key-rate", "1/1d,burst=2")
    assert get_queue("reports").limits == Limits(
        key_concurrency=2,
        rate=Rate(interval=timedelta(seconds=5) / 3),
        key_rate=Rate(interval=timedelta(days=1), burst=2),
    )


def test_a_limit_of_zero_says_that_it_pauses() -> None:
    out, _ = called("limit", "emails", "0")
    assert out.endswith("; paused by its limit of 0\n")
    assert "paused by its limit of 0" in called("list")[0]


def test_a_higher_limit_lets_the_next_one_in(held: UUID) -> None:
    called("limit", "emails", "--rate", "none", "--key-limit", "none")
    waiting = put()
    assert not take(waiting)
    called("limit", "emails", "2")
    assert take(waiting)


def test_everything_and_tasks_are_limited_without_being_declared() -> None:
    called("limit", "*", "3")
    called("limit", f"task/{linear.name}", "1")
    assert get_queue("*").limits.concurrency == 3
    assert take(put("reports"))
    assert not take(put("reports"))


@pytest.mark.parametrize(
    "asked",
    [
        (),
        ("-1",),
        ("ten",),
        ("1.5",),
        ("--key-limit", "0"),
        ("--rate", "100"),
        ("--rate", "0/1m"),
        ("--rate", "100/soon"),
        ("--rate", "100/60s,burst=0"),
        ("--rate", "100/60s,burst=many"),
        ("--key-rate", "/60s"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(asked: tuple[str, ...]) -> None:
    assert refused("limit", "emails", *asked).returncode in (1, 2)
    assert get_queue("emails").overridden == ()


def test_keys_belong_to_queues() -> None:
    error = refused("limit", "*", "--key-limit", "1")
    assert "no keys of its own" in str(error)
    assert error.returncode == 2


# release


def test_to_release_needs_a_person_or_a_yes(held: UUID, typed: Callable[[str], None]) -> None:
    assert "its worker has died" in str(refused("release", str(held)))
    typed("yes")
    refused("release", str(held))
    assert run_control.get(installed_engine(), held).state is RunState.EXECUTING
    typed("release")
    out, err = called("release", str(held), "--reason", "host is gone", "--by", "ann")
    assert out == f"{held}: released\n"
    assert "web1:7" in err
    run = run_control.get(installed_engine(), held)
    assert (run.state, run.crashes) == (RunState.QUEUED, 1)
    last = installed_engine().store.runs.history(held)[-1]
    assert (last.verb, json.loads(last.data)) == (
        "release",
        {"by": "ann", "reason": "host is gone"},
    )


def test_the_next_in_line_gets_a_released_slot(held: UUID) -> None:
    called("limit", "emails", "--rate", "none")
    second = put()
    assert not take(second)
    called("release", str(held), "--yes")
    assert take(held) != take(second)


def test_a_run_without_a_slot_is_not_released() -> None:
    assert "holds no slot: it is queued" in str(refused("release", str(put()), "--yes"))
    assert "to be a UUID" in str(refused("release", "seven", "--yes"))


# all of them


@pytest.mark.parametrize(
    "asked", [("pause",), ("resume",), ("limit",), ("reset",), ("show",), ("holders",)]
)
def test_an_unknown_queue_is_refused_with_the_closest_name(asked: tuple[str, ...]) -> None:
    more = ("1",) if asked == ("limit",) else ()
    error = refused(*asked, "emailz", *more)
    assert "no durable queue is called 'emailz'; did you mean 'emails'?" in str(error)
    assert error.returncode == 1


def test_a_queue_that_no_worker_has_stored_yet_is_found_in_the_code(
    imports: list[Callable[[], object]],
) -> None:
    imports.append(lambda: Queue("fresh", concurrency_limit=4))
    try:
        assert called("show", "fresh")[0].startswith("name             fresh\nlimit            4\n")
        assert called("pause", "fresh")[0] == "fresh: paused\n"
        assert get_queue("fresh").limits == Limits(concurrency=4)
    finally:
        declared_queues.remove("fresh")


def test_an_unknown_queue_is_named_and_the_others_are_paused() -> None:
    error = refused("pause", "nothing", "emails")
    assert error.returncode == 3
    assert get_queue("emails").paused_at is not None


def test_a_dry_run_changes_nothing(held: UUID) -> None:
    pause_queue("reports")
    called("limit", "reports", "3")
    before = [get_queue(name) for name in ("*", "emails", "reports")]
    assert called("pause", "--all", "--dry-run")[0] == "*: would pause\n"
    assert called("resume", "reports", "--dry-run")[0] == "reports: would resume\n"
    assert called("limit", "emails", "7", "--dry-run")[0] == "emails: would limit\n"
    assert called("reset", "reports", "--dry-run")[0] == "reports: would reset\n"
    assert called("release", str(held), "--dry-run")[0] == f"{held}: would release\n"
    assert run_json("pause", "emails", "--dry-run") == {
        "dry_run": True,
        "done": {"emails": "would pause"},
        "failed": {},
    }
    assert [get_queue(name) for name in ("*", "emails", "reports")] == before
    assert run_control.get(installed_engine(), held).state is RunState.EXECUTING


def test_what_was_done_is_printed_as_json() -> None:
    assert run_json("pause", "emails") == {
        "dry_run": False,
        "done": {"emails": "paused"},
        "failed": {},
    }
