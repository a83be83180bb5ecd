"""The appendix of the guarantees: a directive that lists the tests which show each of them."""

from __future__ import annotations

import tomllib
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parent.parent.parent
SHOWN = ROOT / "tests"
FILES = "https://github.com/trigger-celery/trigger-celery/blob/main/"


class GuaranteeTests(SphinxDirective):
    """Lists guarantees with their tests, from ``tests/guarantees.toml`` or a file beside it."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return a section for each part of the page, with a list for each guarantee."""
        source = SHOWN / (self.arguments[0] if self.arguments else "guarantees.toml")
        self.env.note_dependency(str(source))
        shown = tomllib.loads(source.read_text("utf-8"))
        return [self._part(part, promises) for part, promises in shown.items()]

    def _part(self, part: str, promises: dict[str, list[str]]) -> nodes.section:
        section = nodes.section(ids=[nodes.make_id(f"tests {part}")])
        section += nodes.title(text=part)
        for promise, tests in promises.items():
            section += nodes.paragraph("", "", nodes.strong(text=promise))
            section += nodes.bullet_list("", *map(_item, tests), classes=["tests"])
        return section


def _item(test: str) -> nodes.list_item:
    path, _, name = test.partition("::")
    link = nodes.reference("", "", nodes.literal(text=path), refuri=FILES + path, internal=False)
    sentence = nodes.inline(text=" " + name.removeprefix("test_").replace("_", " "))
    return nodes.list_item("", nodes.paragraph("", "", link, sentence))


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directive."""
    app.add_directive("guarantee-tests", GuaranteeTests)
    return {"parallel_read_safe": True}
