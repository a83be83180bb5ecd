"""The log of effects outside the database, and the barriers that hold steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from support.waiting import eventually


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the effect log: what happened, in which run, in which process."""

    run: str
    name: str
    pid: int


@dataclass(kw_only=True)
class EffectLog:
    """What steps and callbacks did, a line for each time, in a folder of the test's."""

    folder: Path

    @property
    def log(self) -> Path:
        """The file."""
        return self.folder / "effects.log"

    def lines(self) -> list[Line]:
        """Return the effect log."""
        if not self.log.exists():
            return []
        parts = [line.split(" ") for line in self.log.read_text().splitlines()]
        return [Line(first, " ".join(name), int(pid)) for first, *name, pid in parts]

    def counts(self, run: UUID | str) -> dict[str, int]:
        """Return how often each thing happened in a run (``"-"``: outside of any)."""
        return dict(Counter(line.name for line in self.lines() if line.run == str(run)))

    def wait_effect(self, name: str, times: int = 1) -> list[Line]:
        """Return the lines of this name once there are so many."""

        def look() -> list[Line]:
            found = [line for line in self.lines() if line.name == name]
            return found if len(found) >= times else []

        return eventually(look, 30, f"{times} times {name!r} in {self.log}")

    def hold(self, name: str) -> None:
        """Make steps that come to this barrier wait."""
        self.folder.joinpath(f"hold-{name}").touch()

    def release(self, name: str) -> None:
        """Let them go on."""
        self.folder.joinpath(f"hold-{name}").unlink()

    def check_counts(self, run_id: UUID, expected: Mapping[str, int]) -> None:
        """Check how often each thing happened in the run."""
        assert self.counts(run_id) == dict(expected)
