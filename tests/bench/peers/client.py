"""Installs the peers in an environment of their own and asks them for numbers.

Each peer is a child that reads one JSON request a line and answers each with a number.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import environment

PACKAGES = {
    "Absurd": ("absurd-sdk", "absurdctl", "psycopg[binary]", "redis"),
    "DBOS": ("dbos", "redis"),
}
MODULES = {"Absurd": "bench.peers.absurd_bench", "DBOS": "bench.peers.dbos_bench"}
MEASURES = ("step", "runs", "latency", "replay", "wake")


class PeerFailed(Exception):
    """A peer could not do what it was asked for."""


@dataclass(kw_only=True, slots=True)
class Peer:
    """Another library at work on the same server."""

    name: str
    process: subprocess.Popen[str]
    measures: tuple[str, ...] = MEASURES

    def measure(self, measure: str, size: int) -> float:
        """Return one number of one measure, in the unit of ours."""
        if self.process.stdin is None or self.process.stdout is None:
            raise PeerFailed(f"{self.name} has no pipes")
        self.process.stdin.write(json.dumps({"measure": measure, "size": size}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise PeerFailed(f"{self.name} ended while it measured {measure}")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerFailed(f"{self.name} could not measure {measure}: {answer['error']}")
        return float(answer["value"])


def start(venv: Path, log: Path, stack: ExitStack) -> tuple[Peer, ...]:
    """Install and start the peers; one that cannot be had is named and left out."""
    peers = []
    for name, packages in PACKAGES.items():
        try:
            _install(venv, packages, log)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"{name} is left out, it could not be installed: {error}", file=sys.stderr)
            continue
        command = (str(venv / "bin" / "python"), "-m", MODULES[name])
        os.environ["TC_BENCH_URL"] = environment.url(os.environ["TC_BENCH_NAME"])
        process = stack.enter_context(environment.child(*command, log=log, talks=True))
        peers.append(Peer(name=f"(peer) {name}", process=process))
    return tuple(peers)


def _install(venv: Path, packages: tuple[str, ...], log: Path) -> None:
    with open(log, "a", encoding="utf-8") as output:
        if not (venv / "bin" / "python").exists():
            subprocess.run([sys.executable, "-m", "venv", venv], check=True, stdout=output)
        pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages]
        subprocess.run(pip, check=True, stdout=output, stderr=output)
