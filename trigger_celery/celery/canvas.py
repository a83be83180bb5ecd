"""What Celery asked for when a run was created: kept with the run, not in its messages.

Links, chains, groups and chords belong to the end of a run, which may be days and many
messages later. They are saved once and put back on the request that ends the run, where
Celery's own tracer finds and publishes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from celery import Celery, uuid
from celery._state import get_current_task
from celery.app import app_or_default
from kombu.utils.json import dumps, loads

from trigger_celery.errors import UsageError

MESSAGE = ("time_limit", "soft_time_limit", "ignore_result")
"""Options of ``apply_async`` that every nudge of the run says to its worker."""
ROUTING = ("queue", "exchange", "routing_key", "priority", "delivery_mode")
"""Options of ``apply_async`` that say where every nudge of the run goes."""

REQUEST = {
    "link": "callbacks",
    "link_error": "errbacks",
    "chain": "chain",
    "chord": "chord",
    "group_id": "group",
    "group_index": "group_index",
    "root_id": "root_id",
    "parent_id": "parent_id",
    "reply_to": "reply_to",
    "ignore_result": "ignore_result",
    "replaced_task_nesting": "replaced_task_nesting",
}
"""Options of ``apply_async`` by the name that a worker's request has for them."""

TEXTS = ("argsrepr", "kwargsrepr")
"""Options of ``apply_async`` that stand for the input wherever people read it."""

HIGHEST_PRIORITY = 255
"""The highest priority that a message of AMQP can have; brokers take theirs for anything higher."""
OWN = "trigger_celery."
"""How the names of our own tasks begin."""
CALLBACKS = ("link", "link_error", "chain", "chord", "group_id")
TRANSIENT = (
    "producer",
    "publisher",
    "connection",
    "add_to_parent",
    "retry",
    "retry_policy",
    "serializer",
    "compression",
    "result_cls",
    "task_type",
    "router",
    "root_id",
    "parent_id",
    "shadow",
    "stamped_headers",
    "overwrite",
)
REFUSED = {
    "expires": "a nudge that expired would strand its run",
    "eta": "give it to apply_async, where it becomes the run's own start time",
    "countdown": "give it to apply_async, where it becomes the run's own delay",
}


def save(options: Mapping[str, Any]) -> str:
    """Return what is worth keeping of the options of an ``apply_async`` call, as JSON text.

    The text is empty when there is nothing. Raises :exc:`UsageError` for an option that a
    durable run cannot honour.
    """
    kept: dict[str, Any] = {}
    for name, value in options.items():
        if value is None or value == []:
            continue
        if name in REFUSED:
            raise UsageError(f"a durable task takes no {name}= here: {REFUSED[name]}")
        if name in ROUTING:
            kept[name] = getattr(value, "name", value)
        elif name in REQUEST or name in MESSAGE or name in TEXTS or name == "headers":
            kept[name] = value
        elif name not in TRANSIENT and not _is_stamp(name, options):
            raise UsageError(f"a durable task does not know the option {name}= of apply_async")
    for name in ("link", "link_error"):
        if name in kept:
            several = isinstance(kept[name], (list, tuple))
            kept[name] = [_with_id(each) for each in (kept[name] if several else [kept[name]])]
    return dumps(kept) if kept else ""


def declared(task: Any) -> dict[str, Any]:
    """Return the options that the task was declared with."""
    own = {
        name: value
        for name in (*ROUTING, *MESSAGE)
        if (value := getattr(task, name, None)) not in (None, False)
    }
    priority = task.durable.defaults.priority
    return own if priority is None else {**own, "priority": of_message(priority)}


def of_task(name: str, priority: int | None) -> str:
    """Return the canvas of a run that no ``apply_async`` asked for: the task's own options."""
    app = app_or_default()
    task = app.tasks.get(name)
    own = declared(task) if hasattr(task, "durable") else {}
    if priority is not None:
        own["priority"] = of_message(priority)
    return save({**own, **with_parent(app, {})})


def with_parent(app: Celery, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with the ids of the task that the calling worker executes, if any."""
    parent = app.current_worker_task
    if parent is None or parent.name.startswith(OWN):  # the sweep is no run's parent
        return dict(options)
    request = parent.request
    ids = {"root_id": request.root_id or request.id, "parent_id": request.id}
    return {**ids, **{name: value for name, value in options.items() if value is not None}}


def of_message(priority: int) -> int:
    """Return the priority of a run's messages: nearest to the run's own that AMQP can have."""
    return max(0, min(priority, HIGHEST_PRIORITY))


def load(canvas: str) -> dict[str, Any]:
    """Return the saved options."""
    saved: dict[str, Any] = loads(canvas) if canvas else {}
    return saved


def routing(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options to publish a nudge with."""
    return {name: saved[name] for name in (*ROUTING, *MESSAGE) if name in saved}


def of_copy(canvas: str) -> str:
    """Return the canvas of a run like another one: it goes the same way and has no callbacks."""
    same_way = (*ROUTING, *MESSAGE, *TEXTS, "headers")
    kept = {name: value for name, value in load(canvas).items() if name in same_way}
    return dumps(kept) if kept else ""


def restore(saved: Mapping[str, Any], request: Any) -> None:
    """Put the saved fields back on a worker's request."""
    for option, field in REQUEST.items():
        if option in saved:
            setattr(request, field, saved[option])
    restore_texts(saved, request)


def restore_texts(saved: Mapping[str, Any], request: Any) -> None:
    """Put the saved texts on a worker's request, in place of those of its message."""
    for name in TEXTS:
        setattr(request, name, saved.get(name))


def from_request(request: Any) -> str:
    """Return the canvas of a message that was published without a run."""
    fields = {option: getattr(request, field, None) for option, field in REQUEST.items()}
    fields["time_limit"], fields["soft_time_limit"] = request.timelimit or (None, None)
    came_by = request.delivery_info or {}
    fields["priority"] = came_by.get("priority")
    # Through the default exchange a message goes to the queue that its key names.
    exchange, key = came_by.get("exchange"), came_by.get("routing_key")
    fields |= {"exchange": exchange, "routing_key": key} if exchange else {"queue": key}
    return save({option: value for option, value in fields.items() if value is not None})


def owes_callbacks(saved: Mapping[str, Any]) -> bool:
    """Whether anything is to be published at the end of the run besides its result."""
    return any(saved.get(name) for name in CALLBACKS)


def _with_id(signature: Any) -> Any:
    """Fix the id of a callback now, so that publishing it twice cannot make two runs of it."""
    if not isinstance(signature, Mapping) or signature.get("subtask_type"):
        return signature
    options = signature.get("options") or {}
    return {**signature, "options": {"task_id": uuid(), **options}}


def _is_stamp(name: str, options: Mapping[str, Any]) -> bool:
    return name in (options.get("stamped_headers") or ())


_SEVERAL = {"celery.map": "map()", "celery.starmap": "starmap()", "celery.chunks": "chunks()"}
"""Celery's own tasks that call another one as a function, once for each item."""


class Refusing:
    """The calls of a Celery task that would lose what makes a durable one durable."""

    name: str

    def replace(self, sig: Any) -> NoReturn:
        """Refuse: the run keeps its id, its history and its callbacks until it ends."""
        raise UsageError(
            f"durable task {self.name!r} cannot be replaced by another: trigger that one, or "
            "return and let a chain or a link= go on"
        )

    def map(self, it: Any) -> NoReturn:
        """Refuse: Celery calls the function for each item, in one message, without runs."""
        raise _several(self.name, "map()")

    def starmap(self, it: Any) -> NoReturn:
        """Refuse: Celery calls the function for each item, in one message, without runs."""
        raise _several(self.name, "starmap()")

    def chunks(self, it: Any, n: int) -> NoReturn:
        """Refuse: Celery calls the function for each item, in a message a chunk, without runs."""
        raise _several(self.name, "chunks()")


def refuse_several(name: str) -> None:
    """Raise :exc:`UsageError` where Celery calls the task for each item of ``xmap(task.s(), ...)``.

    Those signatures can be made without the task, so a worker is the first that sees them.
    """
    caller = get_current_task()
    if caller is not None and caller.name in _SEVERAL:
        raise _several(name, _SEVERAL[caller.name])


def _several(name: str, call: str) -> UsageError:
    return UsageError(
        f"durable task {name!r} takes no {call}: Celery would call its function for each item, "
        "without a run and without checkpoints. Start a run for each: "
        "group(task.s(item) for item in items), or task.batch_trigger(...)"
    )
