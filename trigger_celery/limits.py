"""How large and how frequent what comes from outside may be: what is no setting, and defaults."""

from __future__ import annotations

from typing import NamedTuple

REQUEST = 1_000_000
"""Bytes of a request's body, unless ``REQUEST_LIMIT`` says another number."""

DEPTH = 60
"""How many lists and objects may lie within one another."""

ELEMENTS = 250_000
"""How many values JSON may have, those in lists and objects counted, and they themselves."""

KEYS = 10_000
"""How many keys one object may have."""

TEXT = 1_000_000
"""How many characters one text may have, as JSON writes it."""

EVENT_ELEMENTS = 50_000
"""How many values the payload of an event may have: a list in it may be compared with waits."""

FILTER_PATHS = 50
"""How many conditions the filter of a wait or a task may have."""

FILTER_TEXT = 20_000
"""How many characters the stored text of a filter may have."""

CHECKED_ELEMENTS = 20_000
"""How many values what completes a token with a schema may have."""

CHECKED_PARTS = 200_000
"""How much work the check of such a value may be: one for each rule of the schema at each place
that it is applied to, and for each element or key that the rule looks at there."""

PATTERN_SECONDS = 0.5
"""How long the patterns of a schema may take to be compared with one value."""


class RequestRate(NamedTuple):
    """How often one sender may ask: ``limit`` in ``per`` seconds, of them ``burst`` at once."""

    limit: int
    per: float
    burst: int


API_KEY_RATE = RequestRate(6_000, 60, 1_000)
"""Requests with one API key, unless ``API_KEY_RATE`` says otherwise."""

TOKEN_RATE = RequestRate(60, 60, 20)
"""Answers to one open token, unless ``TOKEN_RATE`` says otherwise."""
