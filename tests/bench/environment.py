"""What the bench runs in: its own database, its own keys in Redis, children ended by pid."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from support.services import SERVICES, reachable

ROOT = Path(__file__).resolve().parent.parent.parent
NEEDED = ("postgres", "redis")
REDIS_DB = os.environ.get("TC_BENCH_REDIS_DB", "9")
GRACE = 10
PROCESSES = 2
"""How many processes the worker has."""


def missing() -> list[str]:
    """Return the services that the bench needs and cannot reach."""
    return [name for name in NEEDED if not reachable(name)]


def url(database: str) -> str:
    """Return the address of a database on the bench's server."""
    service = SERVICES["postgres"]
    return f"postgresql://root@{service.host}:{service.port}/{database}"


@contextmanager
def own_database() -> Iterator[str]:
    """Create a database that no other bench uses, point this process at it, and drop it."""
    name = f"trigger_celery_bench_{os.getpid()}"
    redis = SERVICES["redis"]
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "bench.bench_settings",
        "TC_BENCH_NAME": name,
        "TC_BENCH_REDIS": f"redis://{redis.host}:{redis.port}/{REDIS_DB}",
        "PYTHONPATH": os.pathsep.join(
            [str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
        ),
    }
    with psycopg.connect(url("postgres"), autocommit=True) as connection:
        create = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        connection.execute(create)
        try:
            yield name
        finally:
            connection.execute(drop)


@contextmanager
def child(*command: str, log: Path, talks: bool = False) -> Iterator[subprocess.Popen[str]]:
    """Run a child, with pipes for its input and output if it talks; end it after the block."""
    with open(log, "a", encoding="utf-8") as logged:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
            stdout=subprocess.PIPE if talks else logged,
            stderr=logged,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            _end(process)


@contextmanager
def worker(log: Path) -> Iterator[None]:
    """Run the Celery worker of the bench: prefork, both queues, everything else by default."""
    command = (
        *(sys.executable, "-m", "celery", "-A", "bench.bench_app", "worker"),
        *("--pool", "prefork", "--concurrency", str(PROCESSES)),
        *("--queues", "celery,durable,plain", "--loglevel", "WARNING"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
    )
    with child(*command, log=log):
        yield


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.communicate(timeout=GRACE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # its own session: only what it started
        process.communicate()
