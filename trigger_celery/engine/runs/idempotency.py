"""Finds the run that an idempotency or debounce key stands for, or gives the key to a new one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import cast
from uuid import UUID

from trigger_celery.body.context import CurrentRun, current_session
from trigger_celery.declare.options import KEY_TTL, KeyScope, TriggerOptions, key_parts
from trigger_celery.engine.core import Engine
from trigger_celery.errors import IdempotencyConflict, InvalidOption
from trigger_celery.ports import Store
from trigger_celery.values.codec import canonical, identity_text
from trigger_celery.vocabulary.records import KeyPurpose, NewKey, NewRun, PushBack


def key_for(run: NewRun, options: TriggerOptions, source: str = "") -> NewKey | None:
    """Return the key under which this run is to be found, or None.

    It is one of those that ``source`` uses; "" is this application.
    """
    if options.idempotency_key is not None:
        parts = key_parts(options.idempotency_key)
        return NewKey(
            purpose=KeyPurpose.IDEMPOTENCY,
            task=run.task,
            digest=_scoped(parts, options.idempotency_scope, source),
            key=_text(parts),
            run_id=run.id,
            input_digest=_digest(canonical(run.input)),
            ttl=cast("timedelta | None", options.idempotency_ttl) or KEY_TTL,
        )
    if options.debounce is not None:
        return NewKey(
            purpose=KeyPurpose.DEBOUNCE,
            task=run.task,
            digest=_digest(_from(source, options.debounce.key)),
            key=options.debounce.key,
            run_id=run.id,
        )
    return None


@dataclass(frozen=True, slots=True)
class Holders:
    """Which run each request gets: that of its key, None where it has no key."""

    ids: Sequence[UUID | None]
    conflict: IdempotencyConflict | None


def hold(store: Store, asked: Sequence[NewKey | None]) -> Holders:
    """Ask for these keys; where one is free the run that asks first holds it.

    After a conflict none of them holds a key that it did not hold before.
    """
    first: dict[tuple[KeyPurpose, str, str], NewKey] = {}
    for key in asked:
        if key is not None:
            first.setdefault(_key_id(key), key)
    # In one order, so that two batches cannot wait for each other.
    ordered = dict(sorted(first.items()))
    held = dict(zip(ordered, store.keys.hold(list(ordered.values())), strict=True))
    for key in asked:
        if key is None or key.purpose is KeyPurpose.DEBOUNCE:
            continue
        holder = held[_key_id(key)]
        if holder.input_digest != key.input_digest:
            store.keys.drop([each.run_id for each in ordered.values()])
            return Holders((), _conflict(key, holder.run_id))
    return Holders([None if key is None else held[_key_id(key)].run_id for key in asked], None)


def push_back(store: Store, run_id: UUID, run: NewRun, options: TriggerOptions) -> bool:
    """Put off the run that holds a debounce key; False if it cannot be any more.

    True for a run that holds an idempotency key: nothing is to be done with it.
    """
    debounce = options.debounce
    if debounce is None:
        return True
    return store.keys.push_back(
        PushBack(
            run_id=run_id,
            delay=run.delay,
            max_delay=cast("timedelta | None", debounce.max_delay),
            replace=debounce.mode == "trailing",
            input=run.input,
            tags=run.tags,
            metadata=run.metadata,
        )
    )


def take(store: Store, key: NewKey | None) -> None:
    """Give the key to the caller, whichever run held it."""
    assert key is not None, "only the holder of a key is pushed back"
    store.keys.take(key)


def reset(
    engine: Engine,
    task: str,
    key: str | Sequence[str],
    scope: KeyScope | None,
    source: str = "",
) -> bool:
    """Free an idempotency key of a task, in the caller's transaction; False if it was free."""
    digest = _scoped(key_parts(key), scope, source)

    was_held = False

    def free() -> bool:
        nonlocal was_held
        with engine.store.joined():
            # A repeat finds free what an attempt before it freed, whose answer was lost.
            was_held |= engine.store.keys.reset(KeyPurpose.IDEMPOTENCY, task, digest)
        return was_held

    return engine.persist(free)


def _key_id(key: NewKey) -> tuple[KeyPurpose, str, str]:
    return key.purpose, key.task, key.digest


def _conflict(key: NewKey, holder: UUID) -> IdempotencyConflict:
    return IdempotencyConflict(
        f"the idempotency key {key.key[:80]!r} of task {key.task!r} stands for run {holder}, "
        "which was started with another input: one key stands for one input"
    )


def _scoped(parts: Sequence[str], scope: KeyScope | None, source: str) -> str:
    session = current_session()
    run: CurrentRun | None = None if session is None else session.describe()
    scope = scope or ("global" if run is None else "run")
    if scope == "global":
        return _digest(_from(source, identity_text(parts)))
    if run is None:
        raise InvalidOption(
            f"the idempotency scope {scope!r} only has a meaning inside a durable run: this "
            "call is outside of any, where a key is 'global'"
        )
    within = [str(run.id)] if scope == "run" else [str(run.id), str(run.attempt)]
    return _digest(identity_text([within, *parts]))


def _from(source: str, key: str) -> str:
    """Return what distinguishes the key of one source from that of all others."""
    return identity_text([[source], key]) if source else key


def _text(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else identity_text(parts)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
