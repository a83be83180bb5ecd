"""Reads the documentation: its pages, headings, links, tables and blocks of code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
PUBLISHED = "https://github.com/trigger-celery/trigger-celery/blob/main/"
"""Where the files of the repository are shown: the long description links them so."""

_BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w{}-]+)[^\n]*\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S
)
_HEADING = re.compile(r"^#+ (.+)$", re.M)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A fenced block; ``line`` is that of its first line in the page."""

    language: str
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Page:
    """One Markdown file."""

    path: Path

    @property
    def name(self) -> str:
        """The path from the top of the repository."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def text(self) -> str:
        """All of it."""
        return self.path.read_text(encoding="utf-8")

    @property
    def prose(self) -> str:
        """The text without its blocks of code."""
        return _BLOCK.sub("", self.text)

    @property
    def anchors(self) -> set[str]:
        """What ``page.md#anchor`` may name."""
        return {_anchor(heading) for heading in _HEADING.findall(self.prose)}

    @property
    def links(self) -> list[str]:
        """The targets of the links that stay in the repository."""
        return [link for link in _LINK.findall(self.prose) if "://" not in link]

    @property
    def published(self) -> list[str]:
        """The files of the repository that are linked by their address, with their anchors."""
        found = _LINK.findall(self.prose)
        return [link.removeprefix(PUBLISHED) for link in found if link.startswith(PUBLISHED)]

    def blocks(self, language: str) -> list[Block]:
        """Return the blocks of code in this language, in order."""
        return [block for block in self._blocks() if block.language == language]

    def _blocks(self) -> Iterator[Block]:
        text = self.text
        for found in _BLOCK.finditer(text):
            yield Block(
                language=found["language"],
                text=dedent(found["text"]),
                line=text.count("\n", 0, found.start("text")) + 1,
            )

    def section(self, heading: str) -> str:
        """Return the text under a heading, up to the next one."""
        _, found, rest = self.text.partition(f"\n## {heading}\n")
        assert found, f"{self.name} has no heading {heading!r}"
        return rest.partition("\n## ")[0]

    def rows(self, heading: str = "") -> list[list[str]]:
        """Return the cells of the tables' rows, of the page or under one heading."""
        text = self.section(heading) if heading else self.text
        lines = [line for line in text.splitlines() if line.startswith("|")]
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        return [row for row in cells if set(row[0]) != {"-"}]


def _anchor(heading: str) -> str:
    """Return what GitHub makes of a heading."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


def page(name: str) -> Page:
    """Return the page of ``docs`` with this file name, in whichever of its parts."""
    [path] = [path for path in DOCS.rglob(f"{name}.md") if path.parent.name != "api"]
    return Page(path)


PAGES = [
    Page(ROOT / "README.md"),
    Page(ROOT / "CHANGELOG.md"),
    *map(Page, sorted(DOCS.rglob("*.md"))),
]
"""Every page that users read."""
