"""Looks at pages of the admin as a browser with a strict policy and a person would."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

from django.contrib.auth.models import Permission, User
from django.test import Client

LIST = "/admin/trigger_celery/run/"


def page_of(run_id: object) -> str:
    """Return the address of a run's page."""
    return f"{LIST}{run_id}/change/"


def person(*codenames: str, name: str = "ada") -> Client:
    """Return the browser of a member of the staff with these permissions."""
    user = User.objects.create_user(name, password="x", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(codename__in=codenames, content_type__app_label="trigger_celery")
    )
    client = Client(enforce_csrf_checks=False)
    client.force_login(user)
    return client


@dataclass
class Seen(HTMLParser):
    """What a page holds: its text, its links, and what a strict policy would refuse."""

    text: str = ""
    links: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    buttons: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.refused += [f"{tag} {name}" for name in given if name == "style" or name[:2] == "on"]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.refused.append(tag)
        if (link := given.get("href")) is not None:
            self.links.append(link)
            if link.lower().startswith(("javascript:", "data:")):
                self.refused.append(link)
        if tag == "button" and given.get("name") == "verb":
            self.buttons.append(given.get("value") or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def seen(markup: bytes) -> Seen:
    """Return what a page holds."""
    page = Seen()
    page.feed(markup.decode())
    return page
