"""A body in chunks, or none, is refused alike on gunicorn, uvicorn and Django's own server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from uuid import UUID

import pytest

from trigger_celery_django.links import token_url

TESTS = Path(__file__).parents[1]
TOKEN = UUID("0197a5a0-0000-7000-8000-000000000001")
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"

SERVERS = {
    "gunicorn": ["gunicorn", "--bind", "127.0.0.1:{port}", "support.served:wsgi"],
    "uvicorn": ["uvicorn", "--port", "{port}", "--lifespan", "off", "support.served:asgi"],
    "runserver": ["django", "runserver", "--noreload", "--skip-checks", "127.0.0.1:{port}"],
}


@pytest.fixture(params=SERVERS)
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        number: int = free.getsockname()[1]
    command = [part.format(port=number) for part in SERVERS[request.param]]
    paths = [str(TESTS), str(TESTS.parent), str(TESTS.parent / "django_app")]
    environ = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "DJANGO_SETTINGS_MODULE": "support.served_settings",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        _await_listening(process, number)
        yield number
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _await_listening(process: subprocess.Popen[str], port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            pytest.fail(f"the server ended: {process.communicate()[0]}")
        time.sleep(0.05)  # a server of others says only to a person that it is there
    pytest.fail("the server does not listen")


def _post(port: int, body: bytes, kind: str, *, chunked: bool) -> tuple[int, str]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        path = token_url(TOKEN)
        headers = {"Content-Type": kind, "Accept": JSON}
        if chunked:
            parts = (body[at : at + 65_536] for at in range(0, len(body), 65_536))
            connection.request("POST", path, parts, headers, encode_chunked=True)
        else:
            connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_what_has_no_length_or_no_body_completes_nothing(port: int) -> None:
    for body in (b'{"a": 1}', b'"' + b"x" * 3_000_000 + b'"'):
        try:
            status, text = _post(port, body, JSON, chunked=True)
        except (BrokenPipeError, ConnectionResetError):
            # The server has answered and gone, while the client was still sending.
            assert len(body) > 1_000_000
        else:
            assert (status, "Content-Length" in text) == (411, True), text
    for kind, message in ((JSON, "not JSON"), (FORM, "no field")):
        status, text = _post(port, b"", kind, chunked=False)
        assert (status, message in text) == (400, True), text
    # It is open still: this completes it, and nothing does so again.
    assert _post(port, b'{"a": 1}', JSON, chunked=False)[0] == 200
    assert _post(port, b'{"a": 1}', JSON, chunked=False)[0] == 409
