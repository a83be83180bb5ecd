"""``manage.py demo``: durable runs through real crashes, counted; ``--serve`` stays open."""

from __future__ import annotations

import io
import math
import signal
import sys
from argparse import ArgumentParser
from types import FrameType
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.core.management.base import BaseCommand

from shop.demo.browser import Browser
from shop.demo.home import fresh_home
from shop.demo.processes import Processes, free_port
from shop.demo.report import report
from shop.demo.scenario import Scenario
from shop.demo.screen import Screen
from shop.demo.watch import DemoFailed, Watch

USER = PASSWORD = "demo"


class Command(BaseCommand):
    """Plays the demo; exit code 0 means that every promise was kept."""

    help = (
        "Start a web server and workers, take durable runs through failures and kill -9, and "
        "count what happened. Needs no service. Exit code 0 if all is exactly as promised."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--serve", action="store_true", help="keep the shop and the admin open afterwards"
        )
        parser.add_argument(
            "--port", type=int, default=8000, help="port for --serve (default: 8000, if free)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Play, report, and clean up."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _leave)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")
        screen = Screen(self.stdout, self.style)
        port = free_port(options["port"] if options["serve"] else 0)
        try:
            with fresh_home() as folder, Processes(folder) as processes:
                play(screen, processes, port, serve=options["serve"])
            screen.line("All processes have ended.")
        except KeyboardInterrupt:
            screen.line("\ninterrupted; all processes have ended")
            sys.exit(130)


def play(screen: Screen, processes: Processes, port: int, *, serve: bool) -> None:
    """Play the demo once and report. Raises :exc:`CommandError` if anything is not as promised."""
    browser = Browser(f"http://127.0.0.1:{port}")
    watch = Watch(screen, processes.all)
    screen.line(screen.title("0  A shop on SQLite and a broker of plain files"))
    try:
        _prepare()
        processes.web(port)
        watch.until("the shop answers", browser.is_up)
        screen.event(f"the shop answers at {browser.site}")
        if serve:
            _print_addresses(screen, browser.site)
        outcome = Scenario(screen, processes, browser, watch).play()
        broken = report(screen, outcome, watch)
        if serve:
            _hold(screen, watch, browser.site)
    except (DemoFailed, OSError) as error:
        for process in processes.all:
            screen.line(f"\n--- end of {process.log}\n{process.tail()}")
        raise CommandError(f"the demo failed: {error}") from error
    if broken:
        raise CommandError(f"not as promised: {', '.join(broken)}")


def _prepare() -> None:
    """Make the database, with something to sell and a user who may see the admin."""
    call_command("migrate", verbosity=0, skip_checks=True)
    call_command("loaddata", "catalog", verbosity=0)
    get_user_model().objects.create_superuser(USER, password=PASSWORD)


def _print_addresses(screen: Screen, site: str) -> None:
    screen.line(f"          shop   {screen.strong(site + '/')}")
    screen.line(f"          admin  {screen.strong(site + '/admin/')}  ({USER} / {PASSWORD})")


def _hold(screen: Screen, watch: Watch, site: str) -> None:
    screen.heading("The shop stays open until Ctrl-C")
    _print_addresses(screen, site)
    try:
        watch.until("Ctrl-C is pressed", lambda: False, seconds=math.inf)
    except KeyboardInterrupt:
        screen.line()


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
