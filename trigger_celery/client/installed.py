"""The engine as authors' calls find it: installed once a process."""

from __future__ import annotations

from trigger_celery.body.runtime import Verbs, install, installed
from trigger_celery.client.facade_queues import QueueFacade
from trigger_celery.client.facade_runs import RunFacade
from trigger_celery.client.facade_tokens import TokenFacade
from trigger_celery.engine.core import Engine
from trigger_celery.engine.waking.events import send_event
from trigger_celery.errors import UsageError
from trigger_celery.ports import Codec


class Facade(RunFacade, TokenFacade, QueueFacade):
    """The verbs that bodies and plain code reach without holding an engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def codec(self) -> Codec:
        """The codec of the engine."""
        return self.engine.codec

    def send_event(
        self, name: str, payload: object, *, id: str | None = None, source: str = ""
    ) -> str:
        """Store an event in the caller's transaction."""
        return send_event(self.engine, name, payload, id=id, source=source)


def install_engine(engine: Engine) -> Verbs | None:
    """Make ``engine`` the one of this process; return what was installed before."""
    return install(Facade(engine))


def installed_engine() -> Engine:
    """Return the engine of this process. Raises :exc:`UsageError` if there is none."""
    facade = installed()
    if not isinstance(facade, Facade):
        raise UsageError(f"expected an engine to be installed, got: {facade!r}")
    return facade.engine
