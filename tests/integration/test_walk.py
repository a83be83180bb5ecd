"""The walk of the documentation does what its page says: every command of it is entered here."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from support import services
from support.pages import ROOT, page
from support.waiting import eventually

EXAMPLE = ROOT / "example_project"
READY = "The shop stays open until Ctrl-C"
HERE = "cd example_project\n. ../.venv/bin/activate\nSHOP=http://127.0.0.1:8000\n"
"""What the page says for a reader's machine: the test has a folder, a Python and a port."""
ENTERED = "-- entered --"


class Walker:
    """A reader with two terminals: the shop is open in one, the other one is a shell."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._port = port
        python = str(Path(sys.executable).parent)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("TC_", "DJANGO_"))}
        self._environment = {
            **kept,
            "PATH": os.pathsep.join([python, kept.get("PATH", "")]),
            "SHOP_HOME": str(folder / "shop"),
            "PYTHONUNBUFFERED": "1",
        }
        self._log = folder / "serve.log"
        with self._log.open("wb") as output:
            self._shop = subprocess.Popen(
                [sys.executable, "manage.py", "demo", "--serve", "--port", str(port)],
                cwd=EXAMPLE,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._shell = subprocess.Popen(
            ["sh", "-u"],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wait_until_open(self) -> None:
        """Wait until the demo was played and the shop stays open."""
        eventually(self._is_open, 90, "the shop stays open")

    def _is_open(self) -> bool:
        assert self._shop.poll() is None, self.said()
        return READY in self.said()

    def said(self) -> str:
        """Return what the first terminal shows."""
        return self._log.read_text(errors="replace")

    def enter(self, block: str) -> str:
        """Enter the lines of a block in the second terminal; return what they print."""
        ours = f"cd {EXAMPLE}\nSHOP=http://127.0.0.1:{self._port}\n"
        given, shown = self._shell.stdin, self._shell.stdout
        assert given is not None
        assert shown is not None
        given.write(f"{block.replace(HERE, ours)}\necho; echo '{ENTERED}' $?\n")
        given.flush()
        lines: list[str] = []
        while not (line := shown.readline()).startswith(ENTERED):
            assert line, "the shell ended:\n" + "".join(lines)
            lines.append(line)
        return "".join(lines)

    def close_shop(self) -> int:
        """Press Ctrl-C in the first terminal; return the exit code."""
        self._shop.send_signal(signal.SIGINT)
        return self._shop.wait(30)

    def leave(self) -> None:
        """Leave no process behind."""
        self._shell.communicate()
        with suppress(subprocess.TimeoutExpired):
            self._shop.terminate()
            self._shop.wait(30)
        with suppress(ProcessLookupError):
            os.killpg(self._shop.pid, signal.SIGKILL)
        self._shop.wait(10)


@pytest.fixture
def walker(tmp_path: Path) -> Iterator[Walker]:
    for program in ("curl", "openssl"):
        if shutil.which(program) is None:
            (pytest.fail if services.required() else pytest.skip)(f"{program} is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    walker = Walker(tmp_path, port)
    try:
        walker.wait_until_open()
        yield walker
    finally:
        walker.leave()


def runs(walker: Walker, task: str) -> list[dict[str, object]]:
    """Return the runs of a task."""
    ask = f"python manage.py trigger_runs list --task {task} --format json 2>/dev/null"
    printed = walker.enter(ask)
    found: list[dict[str, object]] = json.loads(printed)["runs"]
    return found


def test_curl_starts_a_run_and_completes_its_token_and_a_schedule_starts_another(
    walker: Walker,
) -> None:
    serve, here, *walk = [block.text for block in page("walk").blocks("sh")]
    started, completed = (block.text.strip() for block in page("walk").blocks("text"))
    signed, again, changed, found, answered, ended, scheduled, listed, paused, traced = walk
    assert serve == "make serve\n"
    assert "manage.py demo --serve\n" in (ROOT / "Makefile").read_text()
    assert here == HERE
    walker.enter(here)

    assert walker.enter(signed).strip() == started
    eventually(lambda: "suspended" in walker.enter(again), 20, "the run waits for its token")
    assert walker.enter(again).startswith(started)
    assert "signature" in json.loads(walker.enter(changed))["error"]
    [run] = runs(walker, "review-refund")

    assert re.search(r"^http://127\.0\.0\.1:\d+/durable/tokens/\S+$", walker.enter(found), re.M)
    assert walker.enter(answered).strip() == completed
    said = walker.enter(ended)
    assert "completed" in said
    assert "re_" in said
    assert said.splitlines()[-2].strip() == "409"

    assert walker.enter(scheduled).strip() == ""
    eventually(lambda: len(runs(walker, "remind-of-refunds")) >= 2, 20, "the schedule fires")
    said = walker.enter(listed)
    assert re.search(r"^walk +remind-of-refunds +", said, re.M), said
    assert "completed" in said
    assert "paused" in walker.enter(paused)
    [run] = runs(walker, "review-refund")
    said = walker.enter(traced)
    for moment in (str(run["id"]), "ask_about_refund", "wait_for_token", "pay_back", "walk"):
        assert moment in said, said
    assert walker.close_shop() == 0, walker.said()
    assert "All 22 promises kept" in walker.said()
