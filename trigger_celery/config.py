"""What can be configured, with its defaults: one typed record, built from one mapping."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from difflib import get_close_matches
from urllib.parse import urlsplit

from trigger_celery import limits
from trigger_celery.backoff import RetryPolicy
from trigger_celery.errors import DeclarationError, UnknownOption

_ZERO = timedelta(0)
_SECOND = timedelta(seconds=1)
_LEAST = {
    "HEARTBEAT_TIMEOUT": _SECOND,
    "NUDGE_INTERVAL": _SECOND,
    "EVENT_RETENTION": _SECOND,
    "SWEEP_INTERVAL": timedelta(milliseconds=50),
}
"""Settings that must not be zero: a lease would end at once, a sweep nudge or look without end,
an event be gone before a run that was to see it looks for it."""


SWEEPERS: Mapping[str, frozenset[str]] = {
    "auto": frozenset({"beat", "worker"}),
    "beat": frozenset({"beat"}),
    "worker": frozenset({"worker"}),
    "command": frozenset(),
}
"""What the setting ``SWEEPER`` may be, each with the processes that then sweep by themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings of a deployment. Durations are given in seconds or as ``timedelta``.

    =====================  ======================================================================
    ``heartbeat_timeout``  how long a worker may be silent before its runs go elsewhere
    ``max_crashes``        how many workers a run may lose before it becomes a dead letter
    ``quarantine_after``   how often a dead letter may come back until retries of many pass it over
    ``sweep_interval``     how often what is due, lost or late is looked for
    ``sweep_batch``        how many runs one pass of the sweep moves at most
    ``sweeper``            which processes may sweep: a key of :data:`SWEEPERS`
    ``nudge_interval``     how long a queued run may wait for its nudge before it gets another
    ``publish_timeout``    how long a nudge may take to reach the broker
    ``inline_backoff``     step retries up to this delay wait in the worker, longer ones suspend
    ``database_patience``  how long a write is repeated while the database is away
    ``call_patience``      the same for calls of code outside of runs, as in a web request
    ``payload_limit``      the size of one stored value, in bytes of its JSON text
    ``step_limit``         how many recorded steps one run may have
    ``public_url``         scheme and host of the URLs that are handed out, or "" for paths alone
    ``event_retention``    how long events are kept that no wait of a run refers to
    ``request_limit``      how large the body of a webhook or an API call may be, in bytes
    ``api_key_rate``       how often one API key may ask, a ``RequestRate``, None for any
    ``token_rate``         how often one open token may be answered at its URL, the same
    ``webhook_rate``       how often one source of webhooks may deliver, the same
    ``webhooks``           the sources of webhooks, by name
    ``default_retry``      how failed runs are tried again whose tasks do not say it, None for not
    ``warn_of_changes``    whether workers warn of arguments that a step changes in place
    ``concurrency_limit``  how many runs may execute at a time in the deployment, None for any
    ``adopt_messages``     whether a message of Celery without our header starts a run
    ``cancel_by_message``  whether Celery's ``revoke``, which is a message, cancels a run
    ``queues``             limits of durable queues, by name; they win over those in code
    =====================  ======================================================================
    """

    heartbeat_timeout: timedelta = timedelta(seconds=60)
    max_crashes: int = 3
    quarantine_after: int = 3
    sweep_interval: timedelta = timedelta(seconds=1)
    sweep_batch: int = 200
    sweeper: str = "auto"
    nudge_interval: timedelta = timedelta(seconds=10)
    publish_timeout: timedelta = timedelta(seconds=1)
    inline_backoff: timedelta = timedelta(seconds=1)
    database_patience: timedelta = timedelta(minutes=5)
    call_patience: timedelta = timedelta(seconds=2)
    payload_limit: int = 1_000_000
    step_limit: int = 10_000
    public_url: str = ""
    event_retention: timedelta = timedelta(days=30)
    request_limit: int = limits.REQUEST
    api_key_rate: limits.RequestRate | None = limits.API_KEY_RATE
    token_rate: limits.RequestRate | None = limits.TOKEN_RATE
    webhook_rate: limits.RequestRate | None = None
    webhooks: Mapping[str, object] = field(default_factory=dict, repr=False)  # it has secrets
    default_retry: RetryPolicy | None = None
    warn_of_changes: bool = False
    concurrency_limit: int | None = None
    adopt_messages: bool = True
    cancel_by_message: bool = True
    queues: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, object]) -> Config:
        """Build the record from upper-case settings such as ``{"MAX_CRASHES": 5}``.

        Raises :exc:`UnknownOption` for an unknown key, with the closest name, and
        :exc:`DeclarationError` for a value of the wrong type.
        """
        defaults = cls()
        known = {item.name.upper(): getattr(defaults, item.name) for item in fields(cls)}
        given: dict[str, object] = {}
        for key, value in mapping.items():
            if key not in known:
                raise UnknownOption(f"TRIGGER_CELERY has no setting {key!r}{suggest(key, known)}")
            given[key.lower()] = _coerce(key, value, known[key])
        return cls(**given)  # type: ignore[arg-type]  # _coerce made each value its field's type


def suggest(name: str, known: Mapping[str, object]) -> str:
    """Return ``; did you mean 'x'?`` for the known name closest to ``name``, or what is known."""
    # Names of tasks have the path of their module before them, which is easily left out.
    last = [each for each in known if each.rpartition(".")[2] == name]
    close = sorted(last)[:1] or get_close_matches(name[:_COMPARED], known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; it may be one of: {', '.join(sorted(known))}"


def closest(name: str, names: Iterable[str]) -> str:
    """Return ``; did you mean 'x', 'y'?`` for at most three names that are close, or "".

    For names of a deployment, of which an outsider must not be shown all.
    """
    among = sorted(set(names))
    last = [each for each in among if each.rpartition(".")[2] == name]
    close = [*last, *get_close_matches(name[:_COMPARED], among, n=3, cutoff=0.6)]
    shown = list(dict.fromkeys(close))[:3]
    return f"; did you mean {', '.join(map(repr, shown))}?" if shown else ""


_COMPARED = 255
"""No name is longer, and to compare takes the square of it."""


def _coerce(key: str, value: object, default: object) -> object:
    if key == "DEFAULT_RETRY":
        return _policy(key, value)
    if key in _RATES:
        return _rate(key, value)
    if key == "SWEEPER":
        if isinstance(value, str) and value in SWEEPERS:
            return value
        raise _wrong(key, f"one of {', '.join(map(repr, SWEEPERS))}", value)
    if default is None:
        if value is None or (type(value) is int and value >= 0):
            return value
        raise _wrong(key, "None or a whole number of zero or more", value)
    if isinstance(default, str):
        if isinstance(value, str) and _is_address(value):
            return value
        raise _wrong(key, "scheme and host of a URL, as in 'https://shop.example', or ''", value)
    if isinstance(default, Mapping):
        if isinstance(value, Mapping):
            return value
        raise _wrong(key, "a mapping", value)
    if isinstance(default, bool):
        if isinstance(value, bool):
            return value
        raise _wrong(key, "True or False", value)
    if isinstance(value, bool):
        raise _wrong(key, "a number", value)
    if isinstance(default, int):
        if isinstance(value, int) and value >= 1:
            return value
        raise _wrong(key, "a whole number of at least 1", value)
    if isinstance(value, (int, float)) and 0 <= value < 10**9:
        value = timedelta(seconds=value)
    if isinstance(value, timedelta) and value >= _LEAST.get(key, _ZERO):
        return value
    least = _LEAST.get(key, _ZERO).total_seconds()
    raise _wrong(key, f"seconds or a timedelta, {least:g} s or more", value)


def _policy(key: str, value: object) -> RetryPolicy | None:
    if isinstance(value, Mapping):
        known = {item.name: item for item in fields(RetryPolicy)}
        for name in value:
            if name not in known:
                raise UnknownOption(
                    f"TRIGGER_CELERY[{key!r}] has no entry {name!r}{suggest(str(name), known)}"
                )
        try:
            return RetryPolicy(**value)
        except DeclarationError as error:
            raise _wrong(key, f"a policy ({error})", value) from error
    if isinstance(value, RetryPolicy | None):
        return value
    raise _wrong(key, "None, a RetryPolicy or a mapping of what it takes", value)


_RATES = frozenset({"API_KEY_RATE", "TOKEN_RATE", "WEBHOOK_RATE"})
_LONGEST = timedelta(days=1)
_MOST = 1_000_000


def _rate(key: str, value: object) -> limits.RequestRate | None:
    """Return a rate, which is used up in a day at most: so long its row is kept."""
    if value is None:
        return None
    what = "None or [limit, per in seconds, burst], each above zero"
    if not isinstance(value, (list, tuple)) or len(value) != len(limits.RequestRate._fields):
        raise _wrong(key, what, value)
    limit, per, burst = value
    per = per.total_seconds() if isinstance(per, timedelta) else per
    numbers = type(limit) is int and type(burst) is int and type(per) in (int, float)
    if not numbers or not 1 <= limit <= _MOST or not 1 <= burst <= _MOST or not 0 < per < 10**9:
        raise _wrong(key, f"{what}, and limit and burst at most {_MOST:,}", value)
    if per * 1_000_000 < limit:
        raise _wrong(key, "a rate with a microsecond or more between two requests", value)
    if per / limit * burst > _LONGEST.total_seconds():
        raise _wrong(key, "a rate whose burst is earned again within a day", value)
    return limits.RequestRate(limit, per, burst)


def _is_address(value: str) -> bool:
    """Whether paths can be put behind it: no user, query or fragment, nothing unprintable."""
    if not value:
        return True
    if not value.isprintable() or any(sign in value for sign in " ?#@\\"):
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, brackets that do not close
        return False


_SECRET = frozenset({"WEBHOOKS", "PUBLIC_URL"})
"""Settings whose values no message may quote: the one has secrets, the other perhaps a password."""


def _wrong(key: str, what: str, value: object) -> DeclarationError:
    got = type(value).__name__ if key in _SECRET else reprlib.repr(value)
    if key == "PUBLIC_URL" and isinstance(value, str):
        got = repr(value.rpartition("@")[2])
    return DeclarationError(f"expected TRIGGER_CELERY[{key!r}] to be {what}, got: {got}")
