"""``manage.py trigger_keys``: make, list and revoke keys of the HTTP API."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from functools import partial
from typing import Any

from django.core.management.base import CommandError
from django.views.decorators.debug import sensitive_variables

from trigger_celery.errors import UsageError
from trigger_celery.vocabulary.checks import LONGEST
from trigger_celery_django.apikeys import PERMISSIONS, create_key, listed_keys, revoke_key
from trigger_celery_django.management.command import DurableCommand, add_verbs
from trigger_celery_django.management.output import as_json, cell, count


class Command(DurableCommand):
    """Manages API keys; a new key is printed once and stored as a digest."""

    help = "Make, list and revoke keys of the HTTP API of durable execution."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the verbs and their options."""
        verbs = add_verbs(parser)
        create = verbs.add_parser("create", help="make a key and print it, this once")
        create.add_argument("name", help="the person or system that the key is for")
        create.add_argument(
            "--permission",
            action="append",
            choices=PERMISSIONS,
            required=True,
            dest="permissions",
            help="what it may do; give the option several times for more",
        )
        create.add_argument(
            "--task",
            action="append",
            default=[],
            metavar="NAME",
            dest="tasks",
            help="a task that it may start and see runs of; again for more (default: all)",
        )
        create.add_argument(
            "--event",
            action="append",
            default=[],
            metavar="NAME",
            dest="events",
            help="an event that it may send, 'order.*' for all that begin so (default: all)",
        )
        create.add_argument(
            "--days",
            type=partial(count, most=LONGEST.days),
            help="how long it is valid (default: for ever)",
        )
        listing = verbs.add_parser("list", help="show all keys, without what they are")
        listing.add_argument("--json", action="store_true", help="as JSON")
        revoke = verbs.add_parser("revoke", help="make a key invalid")
        revoke.add_argument("prefix", help="the first characters, as 'list' shows them")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the verb."""
        getattr(self, f"_{options['verb']}")(options)

    @sensitive_variables()
    def _create(self, options: dict[str, Any]) -> None:
        days = options["days"]
        expires_in = None if days is None else timedelta(days=days)
        try:
            _, key = create_key(
                options["name"],
                options["permissions"],
                tasks=options["tasks"],
                events=options["events"],
                expires_in=expires_in,
            )
        except UsageError as error:
            raise CommandError(str(error)) from error
        self.stderr.write("Keep this key: it is shown only now.")
        self.stdout.write(key)

    def _list(self, options: dict[str, Any]) -> None:
        keys = listed_keys()
        if options["json"]:
            self.stdout.write(as_json({"keys": keys}))
            return
        for key in keys:
            state = "revoked" if key["revoked_at"] else f"until {key['expires_at'] or 'revoked'}"
            may = ", ".join([*key["permissions"], *(key["tasks"] or ()), *(key["events"] or ())])
            used = f"used {key['last_used_at']}" if key["last_used_at"] else "never used"
            name = cell(key["name"])
            self.stdout.write(f"{key['prefix']}...  {name}  {cell(may)}  {state}  {used}")

    def _revoke(self, options: dict[str, Any]) -> None:
        if not revoke_key(options["prefix"]):
            raise CommandError(f"no valid key begins with {options['prefix']!r}")
        self.stdout.write(f"revoked {options['prefix']}...")
