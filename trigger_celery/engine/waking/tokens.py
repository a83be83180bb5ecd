"""Tokens: created and closed with the caller's work; their waits end once that is committed.

A closed token whose process died before its waits had ended stays unsettled, and the sweep
ends them in its place.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from uuid import UUID

from trigger_celery.engine.core import Engine
from trigger_celery.errors import StoreUnavailable, TokenClosed, TokenNotFound
from trigger_celery.values.schemas import check_payload
from trigger_celery.vocabulary.records import Candidate, NewToken, Nudge, StoredToken
from trigger_celery.vocabulary.states import TokenState, WaitState

logger = logging.getLogger("trigger_celery.sweep")

BATCH = 500
AUTHOR_LENGTH = 255
"""How many characters of a closer's name are kept."""


def create_token(engine: Engine, new: NewToken) -> StoredToken:
    """Create a token in the caller's transaction; one with this id is returned as it is."""
    return engine.persist(partial(engine.store.tokens.create, new))


def get_token(engine: Engine, token_id: UUID) -> StoredToken:
    """Return a token. Raises :exc:`TokenNotFound`."""
    token = engine.patient.tokens.get(token_id)
    if token is None:
        raise no_token(token_id)
    return token


def no_token(token_id: UUID) -> TokenNotFound:
    """Return the error of a token that is not there."""
    return TokenNotFound(f"no token has the id {token_id}")


def complete_token(
    engine: Engine, token_id: UUID, value: object, *, by: str = "", repeatable: bool = False
) -> None:
    """Complete a token in the caller's transaction; the first completion wins.

    ``repeatable`` lets the same completion, with the same ``by``, happen again.

    Raises :exc:`TokenNotFound`, :exc:`TokenClosed`, ``InvalidPayload`` for what its schema
    does not allow, and the codec's errors; then nothing has happened.
    """
    token = get_token(engine, token_id)
    check_payload(token.schema, value)
    text = engine.codec.encode(value, what=f"the value of token {token_id}")
    by = by[:AUTHOR_LENGTH]

    def complete(again: bool) -> None:
        if not engine.store.tokens.close(token_id, TokenState.COMPLETED, value=text, by=by):
            now = get_token(engine, token_id)
            if not (repeatable or again) or (now.closed_by, now.value) != (by, text):
                raise TokenClosed(f"token {token_id} {_why_closed(now)}")
        engine.after_commit(partial(settle, engine, token_id))

    engine.resolve(complete)


def cancel_token(engine: Engine, token_id: UUID, *, by: str = "", repeatable: bool = False) -> bool:
    """Cancel a token in the caller's transaction: runs that wait for it get a timeout at once.

    Returns False if it is closed or over; ``repeatable`` as for a completion. Raises
    :exc:`TokenNotFound`.
    """
    get_token(engine, token_id)
    by = by[:AUTHOR_LENGTH]

    def cancel(again: bool) -> bool:
        if not engine.store.tokens.close(token_id, TokenState.CANCELED, by=by):
            now = get_token(engine, token_id)
            if not (repeatable or again) or (now.state, now.closed_by) != (TokenState.CANCELED, by):
                return False
        engine.after_commit(partial(settle, engine, token_id))
        return True

    return engine.resolve(cancel)


def settle(engine: Engine, token_id: UUID) -> None:
    """End all waits on a closed token. Safe to repeat and to run twice at once."""
    tokens = engine.patient.tokens
    token = tokens.get(token_id)
    if token is None:
        return
    after = 0
    while True:
        batch = tokens.waits(token_id, after=after, limit=BATCH)
        if batch:
            engine.dispatcher.nudge(_conclude(engine, token, batch))
        if len(batch) < BATCH:
            break
        after = batch[-1]
    tokens.settled(token_id)


def settle_left_over(engine: Engine) -> int:
    """End the waits on tokens whose closer died, or is not there yet; return how many tokens."""
    left = engine.store.tokens.unsettled(limit=engine.config.sweep_batch)
    for token_id in left:
        try:
            settle(engine, token_id)
        except StoreUnavailable:
            raise
        except Exception:  # one bad token must not hold up the others
            logger.exception("token %s: its waits could not be ended", token_id)
    return len(left)


def look_at_token(engine: Engine, wait: Candidate) -> Sequence[Nudge]:
    """End the wait of a run that just suspended if its token is closed or over already."""
    if wait.token_id is None:
        return ()
    token = engine.patient.tokens.get(wait.token_id)
    if token is None or token.is_open:
        return ()
    return _conclude(engine, token, [wait.wait_id])


def _conclude(engine: Engine, token: StoredToken, wait_ids: Sequence[int]) -> Sequence[Nudge]:
    completed = token.state is TokenState.COMPLETED
    state = WaitState.COMPLETED if completed else WaitState.TIMEOUT
    value = token.value if completed else None
    return engine.patient.waits.conclude(wait_ids, state, value=value)


def _why_closed(token: StoredToken) -> str:
    if token.state is TokenState.WAITING:
        return f"is over since {token.expires_at:%Y-%m-%d %H:%M:%S %Z}"
    author = f" by {token.closed_by}" if token.closed_by else ""
    return f"was {token.state} before{author}"
