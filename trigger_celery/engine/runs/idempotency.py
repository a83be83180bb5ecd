"""Finds the run that an idempotency or debounce key stands for, or gives the key to a new one."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import chain
from typing import cast
from uuid import UUID

from trigger_celery.body.context import CurrentRun, current_session
from trigger_celery.declare.options import KEY_TTL, KeyScope, TriggerOptions, key_parts
from trigger_celery.engine.core import Engine
from trigger_celery.errors import IdempotencyConflict, InvalidOption
from trigger_celery.ports import Store
from trigger_celery.values.codec import canonical, identity_text
from trigger_celery.vocabulary.records import HeldKey, KeyPurpose, NewKey, NewRun, PushBack


def keys_for(
    run: NewRun, options: TriggerOptions, aliases: Sequence[str], source: str = ""
) -> tuple[NewKey, ...]:
    """Return the keys under which this run is to be found: none if the options name no key.

    They are of those that ``source`` uses; "" is this application. The first is that of the
    task's name. Each other name of the task has one too: a process of a release before the task
    was renamed looks for it there, and has left its own there.
    """
    key = _key_for(run, options, source)
    return () if key is None else (key, *(replace(key, task=alias) for alias in aliases))


def _key_for(run: NewRun, options: TriggerOptions, source: str) -> NewKey | None:
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


def hold(store: Store, asked: Sequence[Sequence[NewKey]]) -> Holders:
    """Ask for the keys of each run; where they are free the run that asks first holds them.

    After a conflict none of them holds a key that it did not hold before.
    """
    first: dict[tuple[KeyPurpose, str, str], NewKey] = {}
    for key in chain.from_iterable(asked):
        first.setdefault(_key_id(key), key)
    # In one order, so that two batches cannot wait for each other.
    ordered = dict(sorted(first.items()))
    held = dict(zip(ordered, store.keys.hold(list(ordered.values())), strict=True))
    asking = {key.run_id for key in ordered.values()}
    ids: list[UUID | None] = []
    for keys in asked:
        holder = _holder([held[_key_id(key)] for key in keys], asking)
        ids.append(None if holder is None else holder.run_id)
        if holder is None or keys[0].purpose is KeyPurpose.DEBOUNCE:
            continue
        if holder.input_digest != keys[0].input_digest:
            store.keys.drop(asking)
            return Holders((), _conflict(keys[0], holder.run_id))
    _let_go(store, asked, ids, {each.run_id for each in held.values()})
    return Holders(ids, None)


def _holder(held: Sequence[HeldKey], asking: Collection[UUID]) -> HeldKey | None:
    """Return the holder of a run's keys: one from before, if any of them has one."""
    before = (each for each in held if each.run_id not in asking)
    return next(before, held[0] if held else None)


def _let_go(
    store: Store,
    asked: Sequence[Sequence[NewKey]],
    ids: Sequence[UUID | None],
    holding: Collection[UUID],
) -> None:
    """Free what runs were given that are not created: another name's key has a holder."""
    unneeded = {
        keys[0].run_id
        for keys, holder in zip(asked, ids, strict=True)
        if keys and keys[0].purpose is KeyPurpose.IDEMPOTENCY and keys[0].run_id != holder
    }
    if unneeded := unneeded & {*holding}:
        store.keys.drop(unneeded)


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


def take(store: Store, keys: Sequence[NewKey]) -> None:
    """Give the keys to the caller, whichever run held them."""
    for key in keys:
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
    definition = engine.task(task)
    names = sorted({task, *(() if definition is None else definition.aliases)})

    was_held = False

    def free() -> bool:
        nonlocal was_held
        with engine.store.joined():
            # A repeat finds free what an attempt before it freed, whose answer was lost.
            for name in names:
                was_held |= engine.store.keys.reset(KeyPurpose.IDEMPOTENCY, name, digest)
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
