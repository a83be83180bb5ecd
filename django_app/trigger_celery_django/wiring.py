"""Builds the engine of this process from Django's settings."""

from __future__ import annotations

from django.db import router

from trigger_celery.celery import canvas
from trigger_celery.celery.dispatcher import CeleryDispatcher
from trigger_celery.celery.install import discover, install
from trigger_celery.celery.worker.bootsteps import is_draining
from trigger_celery.celery.worker.plain_tasks import beside_plain_tasks
from trigger_celery.config import Config
from trigger_celery.engine.core import Engine
from trigger_celery.errors import DeclarationError
from trigger_celery.values import JsonCodec
from trigger_celery_django.conf import config, publish_timeout
from trigger_celery_django.links import token_url
from trigger_celery_django.models import Run
from trigger_celery_django.signals import DjangoListeners
from trigger_celery_django.store import DjangoStore


def build_engine() -> Engine:
    """Return an engine on the database that the routers give for writing runs."""
    return Engine(
        store=DjangoStore(router.db_for_write(Run)),
        dispatcher=CeleryDispatcher(publish_timeout),
        codec=JsonCodec(limit=_payload_limit()),
        configure=config,
        draining=is_draining,
        canvas_of=canvas.of_task,
        token_url=token_url,
        canvas_of_copy=canvas.of_copy,
        listeners=DjangoListeners(),
        discover=discover,
        beside_plain_tasks=beside_plain_tasks,
    )


def _payload_limit() -> int:
    """Return the limit; with settings that make no sense the default, and a system check warns."""
    try:
        return config().payload_limit
    except DeclarationError:
        return Config().payload_limit


def wire() -> None:
    """Install the engine; called when Django's apps are ready."""
    install(build_engine())
