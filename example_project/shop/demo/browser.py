"""A browser for the demo: keeps cookies and sends forms with their CSRF token."""

from __future__ import annotations

from http.cookiejar import CookieJar
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, ProxyHandler, build_opener

TIMEOUT = 10


class Browser:
    """Visits the pages of one site."""

    def __init__(self, site: str) -> None:
        self.site = site
        self._cookies = CookieJar()
        self._opener = build_opener(ProxyHandler({}), HTTPCookieProcessor(self._cookies))

    def is_up(self) -> bool:
        """Whether the site answers; gets the cookie that forms need."""
        try:
            self.get("/")
        except (URLError, ConnectionError):
            return False
        return True

    def get(self, path: str) -> str:
        """Return the page at ``path``."""
        with self._opener.open(self.site + path, timeout=TIMEOUT) as answer:
            page: bytes = answer.read()
        return page.decode()

    def post(self, path: str, **fields: object) -> str:
        """Send a form; return the address of the page that the site then shows."""
        token = next(cookie.value for cookie in self._cookies if cookie.name == "csrftoken")
        form = urlencode({**fields, "csrfmiddlewaretoken": token}).encode()
        with self._opener.open(self.site + path, form, timeout=TIMEOUT) as answer:
            address: str = answer.geturl()
        return address.removeprefix(self.site)
