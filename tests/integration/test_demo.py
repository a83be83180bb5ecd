"""The example project: its own tests pass, and its demo keeps every promise, or says which not."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "example_project"
ACTS = ("0  ", "1  ", "2  ", "3  ", "4  ", "5  ", "6  ")
TIMELINES = {
    "process-order": (
        "charge                 attempt 1 failed: GatewayUnavailable",
        "suspended: next attempt of charge",
        "1 finished step recalled",
        "decrement_inventory",
        "completed",
    ),
    "approval-flow": (
        "fetch_document",
        "send_email",
        "suspended: waits up to 7 days for approval-received documentId=1",
        "woken",
        "2 finished steps recalled",
        "publish_document",
        "completed",
    ),
    "send-invoice": ("died: nothing recorded for", "render_invoice", "mail_invoice", "completed"),
}


def manage(home: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "manage.py", *arguments],
        cwd=EXAMPLE,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "SHOP_HOME": str(home),
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )


def outcome(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end; a process that takes too long may still end its own children."""
    try:
        output, _ = process.communicate(timeout=90)
    except BaseException:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        raise
    return process.returncode, output


def timelines(output: str) -> dict[str, str]:
    """Return the text of each run's timeline; of two runs of a task, the last."""
    text = output.partition("What each run went through")[2].partition("What was promised")[0]
    blocks = [block.strip() for block in text.split("\n\n")]
    return {block.split()[0]: block for block in blocks if block}


def test_the_demo_keeps_every_promise_and_leaves_nothing_behind(tmp_path: Path) -> None:
    home = tmp_path / "shop"
    code, output = outcome(manage(home, "demo"))
    assert code == 0, output
    assert "All 22 promises kept" in output
    assert [act for act in ACTS if f"\n{act}" in f"\n{output}"] == list(ACTS)
    printed = timelines(output)
    assert printed.keys() == TIMELINES.keys()
    for task, moments in TIMELINES.items():
        in_order = ".*\n.*".join(map(re.escape, moments))
        assert re.search(in_order, printed[task], re.DOTALL), printed[task]
    [slices] = re.findall(r"the effect log says .*\n((?: .*\n)+)", output)
    at_once = [int(each) for each in re.findall(r"(\d+) at once", slices)]
    assert len(at_once) == slices.count("\n")
    assert 2 <= max(at_once) <= 10
    assert "\x1b" not in output
    assert not home.exists()


def test_an_interrupted_demo_ends_its_processes_and_leaves_nothing_behind(tmp_path: Path) -> None:
    home = tmp_path / "shop"
    process = manage(home, "demo")
    assert process.stdout is not None
    seen = ""
    while "worker-1 is ready" not in seen:
        line = process.stdout.readline()
        assert line, seen
        seen += line
    process.send_signal(signal.SIGINT)
    code, output = outcome(process)
    assert code == 130, seen + output
    assert "interrupted; all processes have ended" in output
    assert not home.exists()


@pytest.mark.parametrize("command", [("check",), ("makemigrations", "--check"), ("test",)])
def test_the_example_project_is_in_order(command: tuple[str, ...], tmp_path: Path) -> None:
    code, output = outcome(manage(tmp_path / "shop", *command))
    assert code == 0, output
