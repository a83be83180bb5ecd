"""The reserved step keys: what the engine records in a run beside the calls of its body.

They begin with ``~``, are built and parsed here alone, and are refused from users.
"""

from __future__ import annotations

from trigger_celery.errors import InvalidName

RESERVED = "~"
"""The first character of every key that is not a user's."""
_RETRY = "~retry/"
_AGAIN = "~again/"


def check_unreserved(key: str, what: str) -> None:
    """Raise :exc:`InvalidName` for a key or name of a user that begins as reserved keys do."""
    if key.startswith(RESERVED):
        raise InvalidName(
            f"expected {what} not to begin with {RESERVED!r}, which is reserved for what the "
            f"engine records in a run itself, got: {key!r}. Choose another first character"
        )


def is_reserved(key: str) -> bool:
    """Return whether the engine records this key for itself."""
    return key.startswith(RESERVED)


def backoff_of_run(fence: int) -> str:
    """Return the key of the wait between two attempts of a run, the first under ``fence``."""
    return f"{_RETRY}{fence}"


def backoff_of_step(fence: int, key: str) -> str:
    """Return the key of the wait between two attempts of the step ``key``."""
    return f"{_RETRY}{fence}/{key}"


def retried_step(key: str) -> str:
    """Return the step whose next attempt a backoff is before; "" for one of the run itself."""
    _, _, step = key.removeprefix(_RETRY).partition("/")
    return step


def wait_again(fence: int, key: str) -> str:
    """Return the key of one more wait for the children of the fan-out ``key``."""
    return f"{_AGAIN}{fence}/{key}"


def awaited_fan_out(key: str) -> str:
    """Return the key of the fan-out whose children the wait ``key`` is for."""
    if not key.startswith(_AGAIN):
        return key
    _, _, fan_out = key.removeprefix(_AGAIN).partition("/")
    return fan_out


def result_chunk(number: int, key: str) -> str:
    """Return the key of one part of the recorded results of the fan-out ``key``."""
    return f"~results/{number}/{key}"


def let_go(key: str) -> str:
    """Return the key of the mark that a fan-out's children were closed and count no more."""
    return f"~let go/{key}"


def child(index: int, key: str) -> str:
    """Return the name from which the id of a run of the fan-out ``key`` is made."""
    return f"~child/{index}/{key}"


def hook(name: str) -> str:
    """Return what stands for the step key of a hook where it needs an idempotency key."""
    return f"{RESERVED}{name}"
