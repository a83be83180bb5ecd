"""Draws the states of a run from the Mermaid text of their page.

GitHub draws Mermaid by itself. A browser would fetch its script from elsewhere, so the site
has a picture, with each arrow where it is easy to follow.
"""

from __future__ import annotations

import re
from html import escape

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ARROW = re.compile(r"^ *(\S+) --> ([^\s:]+)(?:: (.+))?$", re.M)
WIDTH, HEIGHT = 760, 420
BOX = (112, 36)
PLACES = {
    "queued": (150, 205),
    "executing": (420, 120),
    "suspended": (420, 300),
    "failed": (690, 40),
    "completed": (690, 120),
    "timed_out": (690, 205),
    "canceled": (690, 300),
    "expired": (150, 350),
}
ROUTES = {
    ("[*]", "queued"): ("M30 205 H92", 58, 197),
    ("queued", "executing"): ("M175 187 C195 125 290 108 362 112", 240, 117),
    ("executing", "queued"): ("M364 130 C300 138 240 155 200 186", 322, 162),
    ("executing", "suspended"): ("M420 138 V280", 452, 246),
    ("suspended", "queued"): ("M364 292 C290 280 230 255 196 225", 296, 266),
    ("executing", "failed"): ("M476 110 C540 95 590 60 633 44", 548, 74),
    ("executing", "completed"): ("M476 120 H632", 556, 114),
    ("executing", "timed_out"): ("M476 128 C550 140 600 165 640 188", 576, 144),
    ("executing", "canceled"): ("M470 138 C570 175 610 230 654 281", 544, 184),
    ("suspended", "timed_out"): ("M476 292 C540 285 600 260 650 225", 536, 272),
    ("suspended", "canceled"): ("M476 304 H632", 556, 320),
    ("queued", "timed_out"): ("M206 200 H632", 290, 195),
    ("timed_out", "queued"): ("M634 214 H208", 290, 229),
    ("failed", "queued"): ("M634 32 C420 0 150 20 146 185", 300, 42),
    ("queued", "canceled"): ("M168 223 C230 420 560 420 680 320", 430, 390),
    ("queued", "expired"): ("M146 223 V330", 122, 282),
}


class StateDrawing(SphinxDirective):
    """Takes a ``stateDiagram-v2`` whose arrows have a route here; any other is a build error."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the picture."""
        arrows = ARROW.findall("\n".join(self.content))
        ends = {source for source, target, _ in arrows if target == "[*]"}
        drawn = [(*arrow[:2], arrow[2]) for arrow in arrows if arrow[1] != "[*]"]
        missing = [arrow[:2] for arrow in drawn if arrow[:2] not in ROUTES]
        if missing:
            raise self.error(f"state_drawing.py has no route for {missing}")
        parts = [_arrow(*arrow) for arrow in drawn]
        parts += [_box(state, state in ends) for state in PLACES]
        said = "; ".join(f"{source} to {target} by {verb}" for source, target, verb in drawn)
        return [nodes.raw("", _svg("".join(parts), said), format="html")]


def _svg(content: str, said: str) -> str:
    return (
        f'<div class="states"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' aria-label="States of a run: {escape(said)}"><defs><marker id="arrowhead"'
        ' viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
        ' orient="auto"><path d="M0 0 L8 4 L0 8 z"/></marker></defs>'
        f'<circle cx="26" cy="205" r="6"/>{content}</svg></div>'
    )


def _arrow(source: str, target: str, verb: str) -> str:
    path, x, y = ROUTES[source, target]
    return (
        f'<path class="arrow" d="{path}" marker-end="url(#arrowhead)"/>'
        f'<text x="{x}" y="{y}">{escape(verb)}</text>'
    )


def _box(state: str, is_end: bool) -> str:
    (x, y), (width, height) = PLACES[state], BOX
    kind = "state end" if is_end else "state"
    return (
        f'<rect class="{kind}" x="{x - width // 2}" y="{y - height // 2}" width="{width}"'
        f' height="{height}" rx="7"/><text class="name" x="{x}" y="{y + 5}">{state}</text>'
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directive under the name that Mermaid's blocks have."""
    app.add_directive("mermaid", StateDrawing)
    return {"parallel_read_safe": True}
