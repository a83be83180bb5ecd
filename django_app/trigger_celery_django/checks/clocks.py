"""Finds a clock of this process that differs from the database's."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from django.apps import AppConfig
from django.core import checks
from django.core.checks import CheckMessage, Tags, register
from django.db import router

from trigger_celery.engine.process.skew import TOLERATED, clock_skew
from trigger_celery.errors import StoreError
from trigger_celery_django.models import Run
from trigger_celery_django.store import DjangoStore


@register(Tags.database)
def check_clocks(
    app_configs: Sequence[AppConfig] | None = None,
    databases: Sequence[str] | None = None,
    **kwargs: object,
) -> list[CheckMessage]:
    """Compare the clock of this machine with that of the database of the runs."""
    alias = router.db_for_write(Run)
    if alias not in (databases or ()):
        return []
    try:
        skew = clock_skew(DjangoStore(alias).now)
    except StoreError:  # away: another check says so
        return []
    if abs(skew) <= TOLERATED:
        return []
    which = "ahead of" if skew > timedelta(0) else "behind"
    return [
        checks.Warning(
            f"The clock of this machine is {abs(skew).total_seconds():.1f} s {which} that of the "
            f"database {alias!r}: runs go by the database's, but times that your code makes of "
            "datetime.now(), as eta= and expires=, are as far off.",
            hint="Let a time service (chrony, systemd-timesyncd) set the clocks of all machines.",
            id="trigger_celery.W013",
        )
    ]
