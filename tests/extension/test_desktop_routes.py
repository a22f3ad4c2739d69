"""The desktop's routes on a Jupyter server whose machine has no desktop: who may ask, and what is told."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import requests
from websocket import WebSocketBadStatusException

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


def test_nobody_without_a_token_gets_an_answer(server: JupyterServer) -> None:
    assert server.ask(API, token="").status_code == 403


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
