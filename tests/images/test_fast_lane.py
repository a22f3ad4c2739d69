"""The desktop's fast lane: an image built with it, in a real browser; and one built without."""

from __future__ import annotations

import os
from collections.abc import Iterator
from unittest import mock

import docker
import pytest
import requests
from playwright.sync_api import Page, expect

from fixtures.jupyter import until
from gpubox.host.image import build_image, image_name
from images.test_desktop import Box

LANE = "gpubox/desktop/fast/"
# The brightness of a spot of the stream, 0 to 765, and -1 where there is none yet.
SPOT = """([x, y]) => {
  const video = document.querySelector("video#videoStream");
  if (!video?.videoWidth) return -1;
  const paper = new OffscreenCanvas(1, 1).getContext("2d");
  paper.drawImage(video, x, y, 1, 1, 0, 0, 1, 1);
  return paper.getImageData(0, 0, 1, 1).data.slice(0, 3).reduce((one, other) => one + other);
}"""


@pytest.fixture(scope="module")
def box(docker_client: docker.DockerClient, image: str) -> Iterator[Box]:
    """A box of an image with it, which has a tag of its own; all its other steps are those of ``image``."""
    tag = os.environ.get("GPUBOX_IMAGE_TAG", "latest") + "-fast-lane"
    with mock.patch.dict(os.environ, {"GPUBOX_IMAGE_TAG": tag}):
        name = build_image(docker_client, "cpu", print, {"FAST_LANE": "yes"}).name
        assert name == image_name("cpu") != image
    box = Box(name)
    until(box.answers, "the server answers")
    yield box
    box.remove()


def log_in(box: Box, page: Page) -> None:
    page.goto(box.url() + "api/status?token=secret")


def test_the_desktop_is_seen_and_typed_at_through_it(box: Box, page: Page) -> None:
    assert box.ask()["fast_lane"] is True
    assert "/login" in requests.get(box.url() + LANE, timeout=60).url
    before = requests.get(box.url() + LANE, headers={"Authorization": "token secret"}, timeout=60)
    assert before.status_code == 503  # the desktop is off: its page starts it

    log_in(box, page)
    page.goto(box.url() + "gpubox/desktop")
    box.start_desktop()
    page.locator(".gd-Viewer[data-phase='live']").wait_for()
    page.keyboard.press("Control+Alt+Shift")  # the toolbar, and it stays while it has the focus
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Fast lane").click()
    lane = opened.value

    # The panel is dark, the sky of the wallpaper is not: the picture is the desktop, and no black.
    lane.wait_for_function("() => document.querySelector('video#videoStream')?.videoHeight")
    height = lane.evaluate("document.querySelector('video#videoStream').videoHeight")
    lane.wait_for_function(f"place => ({SPOT})(place) > 150", arg=[700, 300])
    lane.wait_for_function(
        f"place => {{ const seen = ({SPOT})(place); return 0 <= seen && seen < 120; }}",
        arg=[500, height - 12],
    )

    def last_activity() -> str:
        return str(box.ask("api/status")["last_activity"])

    page.close()
    looked = last_activity()
    # It acknowledges pictures 20 times a second; that is no work.
    lane.wait_for_timeout(1000)
    assert last_activity() == looked

    shells = set(box.processes("bash"))
    lane.mouse.move(100, height - 100)
    lane.mouse.move(117, height - 18)
    lane.mouse.click(117, height - 18, delay=200)  # as long as a finger takes
    until(lambda: set(box.processes("bash")) - shells, "a terminal with a shell")
    until(lambda: last_activity() != looked, "the pointer counts")
    lane.keyboard.type("touch ~/typed-in-the-fast-lane")
    lane.keyboard.press("Enter")
    until(lambda: box.has("/home/jovyan/typed-in-the-fast-lane"), "the file that was typed")

    assert box.processes("selkies")
    box.ask("gpubox/api/desktop/stop", "POST")
    until(lambda: not box.processes("selkies"), "it ends with the desktop")


def test_an_image_without_it_offers_nothing(image: str, page: Page) -> None:
    box = Box(image)
    try:
        until(box.answers, "the server answers")
        assert box.start_desktop()["fast_lane"] is False
        assert not box.has("/opt/fast-lane")
        log_in(box, page)
        answer = page.goto(box.url() + LANE)
        assert answer is not None
        assert answer.status == 404
        page.goto(box.url() + "gpubox/desktop")
        expect(page.get_by_role("button", name="Full screen")).to_be_visible()
        expect(page.get_by_role("link", name="Fast lane", include_hidden=True)).to_be_hidden()
    finally:
        box.remove()
