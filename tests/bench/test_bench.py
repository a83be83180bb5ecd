"""The bench works: its numbers are for people to judge, not for tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).with_name("run.py")
FIELDS = {
    "name",
    "against",
    "unit",
    "higher_is_better",
    "ours",
    "reference",
    "ratio",
    "spread",
    "rounds",
    "bar",
    "met",
}


@pytest.mark.requires("postgres", "redis")
def test_the_quick_bench_writes_ratios_of_steps(tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    command = [sys.executable, str(RUN), "--quick", "--only", "step", "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    found = json.loads(output.read_text("utf-8"))
    assert [each["name"] for each in found] == ["step", "step"]
    assert all(each.keys() == FIELDS for each in found)
    raw = found[0]
    assert (raw["bar"], raw["met"]) == (2.0, raw["ratio"] <= 2.0)
    assert 0 < raw["spread"][0] <= raw["ratio"] <= raw["spread"][1]
    assert raw["against"] in done.stdout


def test_the_bench_names_the_services_it_misses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TC_REDIS_PORT", "1")
    command = [sys.executable, str(RUN), "--output", str(tmp_path / "bench.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert "redis" in done.stderr
    assert not (tmp_path / "bench.json").exists()
