"""The desktop's routes on a Jupyter server whose machine has no desktop: who may ask, and what is told."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import requests
from websocket import WebSocketBadStatusException

import jupyterlab_gpubox.desktop as desktop
from fixtures.jupyter import JupyterServer, Start, next_frame
from jupyterlab_gpubox.desktop.session import MISSING

API = "gpubox/api/desktop"
SOCKETS = [f"{API}/vnc", f"{API}/control"]
READER = """
from jupyter_server.auth import Authorizer
class Reader(Authorizer):
    def is_authorized(self, handler, user, action, resource):
        return action == 'read'
"""


@pytest.fixture(scope="module")
def server(start_jupyter: Start) -> JupyterServer:
    # Nothing that `find` finds, wherever the tests run.
    return start_jupyter(None, "import jupyterlab_gpubox.desktop.programs as p; p.SESSION = '/nowhere'\n")


def test_a_machine_with_no_desktop_says_so_and_what_to_do(server: JupyterServer) -> None:
    told = server.get(API)
    assert (told["state"], told["message"]) == ("missing", MISSING)
    assert server.ask(f"{API}/start", "POST").json()["state"] == "missing"

    socket = server.stream(f"{API}/vnc?viewer=somebody")
    code, data = socket.recv_data()
    assert (code, struct.unpack(">H", data[:2])[0]) == (8, 4404)
    assert MISSING.startswith(data[2:].decode())


def test_a_page_is_told_the_state_and_that_it_controls(server: JupyterServer) -> None:
    first = server.stream(f"{API}/control?viewer=first-page")
    assert next_frame(first, "state")["state"] == "missing"
    assert next_frame(first, "role")["controls"] is True

    watching = server.stream(f"{API}/control?viewer=second-page&view=1")
    watching.send('{"type": "take-control"}')
    watching.send("no JSON")
    assert next_frame(watching, "role")["controls"] is False
    first.close()
    assert next_frame(watching, "role", lambda told: told["viewers"] == 1)["controls"] is False
    watching.close()


@pytest.mark.parametrize("path", [API, "gpubox/desktop/static/viewer.js"])
def test_nobody_without_a_token_gets_an_answer(server: JupyterServer, path: str) -> None:
    answer = server.ask(path, token="", allow_redirects=False)
    assert answer.status_code == 403 or "/login" in answer.headers["Location"]


def test_the_page_sends_those_who_are_not_logged_in_to_the_log_in(server: JupyterServer) -> None:
    answer = server.ask("gpubox/desktop", token="", allow_redirects=False)
    assert answer.status_code == 302
    assert "/login" in answer.headers["Location"]


@pytest.mark.parametrize("socket", SOCKETS)
def test_a_socket_asks_for_a_token_and_an_id(server: JupyterServer, socket: str) -> None:
    with pytest.raises(WebSocketBadStatusException) as refused:
        server.stream(f"{socket}?viewer=somebody", token="")
    assert refused.value.status_code == 403
    for viewer in ("", "short", "a" * 65, "some%20body", "some/body"):
        with pytest.raises(WebSocketBadStatusException) as refused:
            server.stream(f"{socket}?viewer={viewer}")
        assert refused.value.status_code == 400


@pytest.mark.parametrize("action", ["start", "stop"])
def test_a_cookie_alone_starts_and_stops_nothing(server: JupyterServer, action: str) -> None:
    """As the page of another site would ask."""
    browser = requests.Session()
    browser.get(f"{server.url}gpubox/desktop?token={server.token}")
    url = f"{server.url}{API}/{action}"
    assert browser.get(server.url + API).status_code == 200
    assert browser.post(url).status_code == 403
    assert browser.post(url, headers={"X-XSRFToken": browser.cookies["_xsrf"]}).status_code == 200


def test_who_may_only_read_watches(start_jupyter: Start, tmp_path: Path) -> None:
    (tmp_path / "reader.py").write_text(READER)
    server = start_jupyter(
        None,
        f"import sys; sys.path.append({str(tmp_path)!r})\nc.ServerApp.authorizer_class = 'reader.Reader'\n",
    )
    assert server.ask(f"{API}/start", "POST").status_code == 403
    page = server.stream(f"{API}/control?viewer=some-page")
    page.send('{"type": "take-control"}')
    assert next_frame(page, "role")["controls"] is False


def test_the_page_runs_its_own_scripts_alone_and_stands_in_no_foreign_frame(server: JupyterServer) -> None:
    page = Path(desktop.__file__).parent / "static" / "index.html"
    is_ours = not page.exists()
    if is_ours:
        page.parent.mkdir(exist_ok=True)
        page.write_text("<!doctype html><title>Desktop</title>")
    try:
        answer = server.ask("gpubox/desktop")
    finally:
        if is_ours:
            page.unlink()
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'self'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "_xsrf" in answer.cookies
    assert server.token not in answer.text
