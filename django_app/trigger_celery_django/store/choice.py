"""Which hot verbs a database gets."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from trigger_celery_django.store.common.guard import Guard
from trigger_celery_django.store.hot import Hot
from trigger_celery_django.store.portable.verbs import PortableHot
from trigger_celery_django.store.queues.admission_rows import AdmissionRows

# Django prefers psycopg 3 where it is installed; without it PostgreSQL is as portable as others.
if find_spec("psycopg") is not None:
    from trigger_celery_django.store.postgresql.admissions import PostgresAdmissionRows
    from trigger_celery_django.store.postgresql.verbs import PostgresHot

    _POSTGRES: Callable[[Guard], Hot] = PostgresHot
    _POSTGRES_ROWS: type[AdmissionRows] = PostgresAdmissionRows
else:
    _POSTGRES = PortableHot
    _POSTGRES_ROWS = AdmissionRows


def hot_verbs(guard: Guard) -> Hot:
    """Return the hot verbs for the database of the guard."""
    hot = _POSTGRES if guard.connection.vendor == "postgresql" else PortableHot
    return hot(guard)


def admission_rows(guard: Guard, queue: str) -> AdmissionRows:
    """Return what an admission to a queue reads and writes on the database of the guard."""
    rows = _POSTGRES_ROWS if guard.connection.vendor == "postgresql" else AdmissionRows
    return rows(guard, queue)
