"""What of a page's messages is a person's own doing, and who may not use the desktop's fast lane."""

from __future__ import annotations

import pytest
from websocket import WebSocketBadStatusException

from extension.test_desktop_routes import READER
from fixtures.jupyter import Start
from jupyterlab_gpubox.desktop.fastlane import is_input

LANE = "gpubox/desktop/fast/"


@pytest.mark.parametrize("message", ["kd,97", "ku,97", "m,12,40,0,0,1", "m2,1,1,0,0", "co,end,a"])
def test_keys_and_the_pointer_are_input(message: str) -> None:
    assert is_input(message)


@pytest.mark.parametrize(
    "message", ["CLIENT_FRAME_ACK 7", "kr", "cr", "SETTINGS,{}", "START_VIDEO", b"kd,97"]
)
def test_what_a_page_sends_by_itself_is_none(message: str | bytes) -> None:
    assert not is_input(message)


def test_who_may_only_read_gets_neither_its_page_nor_its_socket(start_jupyter: Start) -> None:
    server = start_jupyter(None, f"{READER}\nc.ServerApp.authorizer_class = Reader\n")
    assert server.ask(LANE).status_code == 403
    with pytest.raises(WebSocketBadStatusException, match="403"):
        server.stream(LANE + "api/websockets")
