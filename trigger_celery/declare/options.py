"""What may be said of a run when it is started: checked before anything is written, and typed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict

from trigger_celery.config import suggest
from trigger_celery.declare.queue import PRIORITY_LIMIT, Queue
from trigger_celery.errors import InvalidOption, UnknownOption
from trigger_celery.vocabulary.checks import duration, instant, valid_name, valid_queue_name

KEY_LIMIT = 2_048
"""Characters of an idempotency key, all parts together."""
DEBOUNCE_KEY_LIMIT = 512
TAG_LIMIT = 128
TAGS_LIMIT = 10
METADATA_LIMIT = 256 * 1024
"""Characters of the metadata's text."""
ATTEMPTS_LIMIT = 250
KEY_TTL = timedelta(days=30)
"""How long an idempotency key is held if nothing else is said."""

KeyScope = Literal["run", "attempt", "global"]
ParentClose = Literal["abandon", "cancel"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Debounce:
    """Put a run off as long as calls with the same key keep coming.

    Each call within ``delay`` of the last one pushes the same waiting run back by ``delay``.
    ``mode="leading"`` keeps the input of the first call, ``"trailing"`` takes that of the last,
    with its tags and metadata. No call pushes it further than ``max_delay`` after the first
    one; the call that would starts a run of its own. Durations are ``timedelta`` or seconds.

    Raises :exc:`InvalidOption` or :exc:`InvalidTime`.
    """

    key: str
    delay: timedelta | float
    mode: Literal["leading", "trailing"] = "leading"
    max_delay: timedelta | float | None = None

    def __post_init__(self) -> None:
        _check_text(self.key, "a debounce key", DEBOUNCE_KEY_LIMIT)
        delay = duration(self.delay, "a debounce's delay")
        if delay < timedelta(seconds=1):
            raise InvalidOption(f"expected a debounce's delay to be a second or more, got: {delay}")
        if self.mode not in ("leading", "trailing"):
            raise InvalidOption(
                f"expected a debounce's mode to be 'leading' or 'trailing', got: {self.mode!r}"
            )
        object.__setattr__(self, "delay", delay)
        if self.max_delay is not None:
            longest = duration(self.max_delay, "a debounce's max_delay")
            if delay >= longest:
                raise InvalidOption(
                    f"expected a debounce's delay ({delay}) to be less than its max_delay "
                    f"({longest}): no call could push the run back"
                )
            object.__setattr__(self, "max_delay", longest)


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerOptions:
    """What may be said of a run when it is started. Durations are ``timedelta`` or seconds.

    =====================  ======================================================================
    ``delay``              when it may start: so long from now, or an aware ``datetime``
    ``ttl``                it expires if it did not start so long after it might have, or until
                           an aware ``datetime``
    ``idempotency_key``    text, or several: a second call with it gives the run of the first
    ``idempotency_scope``  where the key counts: ``"run"`` (default inside a run), ``"attempt"``
                           or ``"global"`` (default outside)
    ``idempotency_ttl``    how long the key is held at most (30 days)
    ``debounce``           a :class:`Debounce`
    ``tags``               up to 10 texts of 1 to 128 characters
    ``metadata``           a mapping of your own, up to 256 KB of JSON
    ``priority``           a whole number, higher is sooner: seconds of head start in line, and
                           the priority of the run's messages
    ``max_attempts``       1 to 250, in place of the task's policy
    ``max_duration``       it times out so long after its first start
    ``concurrency_key``    text: shares its queue's limits per key with runs of the same key
    ``queue``              a :class:`Queue`, or the name of one: whose limits the run meets
    ``parent_close``       ``"cancel"``: canceling the run that starts it cancels it too
    =====================  ======================================================================

    None stands for what the task was declared with. Raises :exc:`InvalidOption`,
    :exc:`InvalidTime` or :exc:`InvalidName`.
    """

    delay: timedelta | float | datetime | None = None
    ttl: timedelta | float | datetime | None = None
    idempotency_key: str | Sequence[str] | None = None
    idempotency_scope: KeyScope | None = None
    idempotency_ttl: timedelta | float | None = None
    debounce: Debounce | None = None
    tags: Sequence[str] = ()
    metadata: Mapping[str, Any] | None = None
    priority: int | None = None
    max_attempts: int | None = None
    max_duration: timedelta | float | None = None
    concurrency_key: str | None = None
    queue: Queue | str | None = None
    parent_close: ParentClose | None = None

    def __post_init__(self) -> None:
        assign = object.__setattr__
        if not isinstance(self.delay, datetime | None):
            assign(self, "delay", duration(self.delay, "delay"))
        elif self.delay is not None:
            instant(self.delay, "delay")
        if isinstance(self.ttl, datetime):
            instant(self.ttl, "ttl")
        else:
            assign(self, "ttl", _positive(self.ttl, "ttl"))
        assign(self, "max_duration", _positive(self.max_duration, "max_duration"))
        assign(self, "tags", _tags(self.tags))
        _check_key(self)
        _check_debounce(self)
        _check_metadata(self.metadata)
        _check_whole("priority", self.priority, -PRIORITY_LIMIT, PRIORITY_LIMIT)
        _check_whole("max_attempts", self.max_attempts, 1, ATTEMPTS_LIMIT)
        if self.concurrency_key is not None:
            valid_name(self.concurrency_key, "concurrency_key")
        if isinstance(self.queue, Queue):
            assign(self, "queue", self.queue.name)
        elif self.queue is not None:
            valid_queue_name(self.queue, "queue")
        _check_one_of("parent_close", self.parent_close, ("abandon", "cancel"))

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> TriggerOptions:
        """Return the options by their names. Raises :exc:`UnknownOption` for another name."""
        known = dict.fromkeys(item.name for item in fields(cls))
        for name in options:
            if name not in known:
                raise UnknownOption(f"a trigger has no option {name!r}{suggest(name, known)}")
        return cls(**options)

    def over(self, defaults: TriggerOptions) -> TriggerOptions:
        """Return these options, and for what they leave out ``defaults``; tags are added up."""
        if defaults == NO_OPTIONS:
            return self
        given = {
            item.name: value
            for item in fields(self)
            if item.name != "tags" and (value := getattr(self, item.name)) is not None
        }
        return replace(defaults, **given, tags=(*defaults.tags, *self.tags))


def _positive(value: timedelta | float | None, what: str) -> timedelta | None:
    if value is None:
        return None
    length = duration(value, what)
    if not length:
        raise InvalidOption(f"expected {what} to be more than zero, got: {value!r}")
    return length


def _check_text(value: object, what: str, limit: int) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= limit or not value.isprintable():
        given = f"{len(value):,} characters" if isinstance(value, str) and value else repr(value)
        raise InvalidOption(
            f"expected {what} to be printable text of 1 to {limit:,} characters, got: {given}"
        )


def key_parts(key: str | Sequence[str]) -> tuple[str, ...]:
    """Return the parts of an idempotency key. Raises :exc:`InvalidOption`."""
    if not isinstance(key, (str, list, tuple)) or not key:
        raise InvalidOption(f"expected an idempotency key to be text or several, got: {key!r}")
    parts = (key,) if isinstance(key, str) else tuple(key)
    for part in parts:
        _check_text(part, "an idempotency key", KEY_LIMIT)
    if (size := sum(map(len, parts))) > KEY_LIMIT:
        raise InvalidOption(
            f"expected an idempotency key to have at most {KEY_LIMIT:,} characters in all, "
            f"got {size:,}"
        )
    return parts


def _check_key(options: TriggerOptions) -> None:
    _check_one_of("idempotency_scope", options.idempotency_scope, ("run", "attempt", "global"))
    ttl = _positive(options.idempotency_ttl, "idempotency_ttl")
    object.__setattr__(options, "idempotency_ttl", ttl)
    if options.idempotency_key is not None:
        object.__setattr__(options, "idempotency_key", key_parts(options.idempotency_key))


def _check_debounce(options: TriggerOptions) -> None:
    if options.debounce is None:
        return
    if not isinstance(options.debounce, Debounce):
        raise InvalidOption(f"expected debounce to be a Debounce, got: {options.debounce!r}")
    for name in ("delay", "idempotency_key"):
        if getattr(options, name) is not None:
            raise InvalidOption(
                f"debounce and {name} cannot be combined: each says by itself when the run "
                "starts, or whether there is one"
            )


def _tags(tags: Iterable[str]) -> tuple[str, ...]:
    if isinstance(tags, str) or not isinstance(tags, (list, tuple, set, frozenset)):
        raise InvalidOption(f"expected tags to be a list of texts, got: {tags!r}")
    for tag in tags:
        _check_text(tag, "a tag", TAG_LIMIT)
    ordered = sorted(tags) if isinstance(tags, (set, frozenset)) else tags
    unique = tuple(dict.fromkeys(ordered))
    if len(unique) > TAGS_LIMIT:
        raise InvalidOption(f"expected at most {TAGS_LIMIT} tags, got {len(unique)}")
    return unique


def _check_metadata(metadata: object) -> None:
    if metadata is not None and not isinstance(metadata, Mapping):
        raise InvalidOption(f"expected metadata to be a mapping, got: {metadata!r}")


def _check_whole(name: str, value: object, least: int, most: int) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidOption(
            f"expected {name} to be a whole number from {least:,} to {most:,}, got: {value!r}"
        )


def _check_one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        allowed = ", ".join(map(repr, known))
        raise InvalidOption(f"expected {name} to be one of {allowed}, got: {value!r}")


NO_OPTIONS = TriggerOptions()
"""Nothing but what the task was declared with."""


class OptionValues(TypedDict, total=False):
    """What :class:`~trigger_celery.TriggerOptions` takes, to be given by name."""

    delay: timedelta | float | datetime | None
    ttl: timedelta | float | datetime | None
    idempotency_key: str | Sequence[str] | None
    idempotency_scope: KeyScope | None
    idempotency_ttl: timedelta | float | None
    debounce: Debounce | None
    tags: Sequence[str]
    metadata: Mapping[str, Any] | None
    priority: int | None
    max_attempts: int | None
    max_duration: timedelta | float | None
    concurrency_key: str | None
    queue: Queue | str | None
    parent_close: ParentClose | None
