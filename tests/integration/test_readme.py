"""The commands of the README work, word for word, on a project that is new."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from support.pages import ROOT, Block, Page
from support.waiting import eventually

HEADING = "Five minutes in your own project"
INSTALL = "pip install trigger-celery\n"


class Newcomer:
    """A reader of the README with an empty folder and a terminal."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "worker.log"
        self._workers: list[subprocess.Popen[bytes]] = []
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("TC_", "DJANGO_"))}
        commands = str(Path(sys.executable).parent)
        self._environment = {**kept, "PATH": os.pathsep.join([commands, kept.get("PATH", "")])}

    @property
    def project(self) -> Path:
        """Where ``manage.py`` is, once the project was made."""
        return self.folder / "yourproject"

    def enter(self, script: str) -> str:
        """Enter the lines of a block; return what the last one printed."""
        done = subprocess.run(
            ["sh", "-ec", script],
            cwd=self.project if self.project.exists() else self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    def write(self, block: Block) -> None:
        """Put a block of Python where its first line says; settings are added at the end."""
        first, _, rest = block.text.partition("\n")
        target = self.project / first.removeprefix("# ")
        with target.open("a", encoding="utf-8") as file:
            file.write(rest.replace("sleep(60)", "sleep(2)"))

    def start_worker(self, command: str) -> None:
        """Start a worker; what it prints is added to the log."""
        with self.log.open("ab") as output:
            process = subprocess.Popen(
                ["sh", "-c", f"exec {command}"],
                cwd=self.project,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._workers.append(process)

    def kill_worker(self) -> None:
        """``kill -9`` the worker."""
        self._workers[-1].kill()
        self._workers[-1].wait(10)

    def leave(self) -> None:
        """Leave no process behind."""
        for process in self._workers:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)

    def said(self) -> str:
        """Return what the workers printed."""
        return self.log.read_text(errors="replace")

    def wait_until(self, state: str) -> None:
        """Wait until the one run is in this state."""
        try:
            eventually(lambda: self.state() == state, 40, f"the run is {state}")
        except AssertionError as error:
            error.add_note(self.said())
            raise

    def state(self) -> str:
        """Return the state of the one run."""
        database = f"file:{self.project / 'db.sqlite3'}?mode=ro"
        with closing(sqlite3.connect(database, uri=True, timeout=10)) as connection:
            rows = connection.execute("SELECT state FROM trigger_celery_run").fetchall()
        assert len(rows) == 1
        return str(rows[0][0])


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    newcomer = Newcomer(tmp_path)
    yield newcomer
    newcomer.leave()


def steps() -> tuple[list[Block], list[str]]:
    """Return the files to write and the commands to enter, in the order of the README."""
    readme = Page(ROOT / "README.md")
    section = readme.section(HEADING)
    start = readme.text.index(section)
    first = readme.text.count("\n", 0, start) + 1
    last = first + section.count("\n")
    files = [b for b in readme.blocks("python") if first <= b.line <= last]
    commands = [b.text for b in readme.blocks("sh") if first <= b.line <= last]
    return files, commands


def test_the_five_minutes_end_with_two_greetings_though_the_worker_was_killed(
    newcomer: Newcomer,
) -> None:
    files, (make, tables, work, start) = steps()
    assert INSTALL in make
    newcomer.enter(make.replace(INSTALL, ""))
    for block in files:
        newcomer.write(block)
    assert "System check identified no issues" in newcomer.enter(tables)
    newcomer.start_worker(work)
    newcomer.enter(start)
    newcomer.wait_until("suspended")
    newcomer.kill_worker()
    assert newcomer.state() == "suspended"
    newcomer.start_worker(work)
    newcomer.wait_until("completed")
    said = newcomer.said()
    assert (said.count("Hello Ann"), said.count("Hello again, Ann")) == (1, 1)
