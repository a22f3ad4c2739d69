"""Desktop and terminals from JupyterLab: launcher, panel, a tab of its own; over the desktop's stand-in."""

import re

import pytest
from playwright.sync_api import expect

from fixtures.browser import PATIENCE_SECONDS
from fixtures.jupyter import until
from fixtures.panel import command

expect.set_options(timeout=PATIENCE_SECONDS * 1000)

LIVE = ".gd-Viewer[data-phase=live]"
SETTINGS = "lab/api/settings/@gpubox/jupyterlab-gpubox:plugin"


@pytest.fixture
def open_lab(desktop_server, desktop, new_page):
    def open_lab(path="lab?reset"):
        page = new_page()
        page.goto(f"{desktop_server.url}gpubox/api/box?token={desktop_server.token}")
        page.goto(desktop_server.url + path)
        expect(page.locator(".jp-Launcher")).to_be_visible()
        return page

    yield open_lab
    desktop_server.ask(SETTINGS, "PUT", json={"raw": "{}"})


def card(page, name):
    return page.locator(".jp-LauncherCard").filter(has_text=re.compile(f"^{name}$"))


def test_the_card_and_the_panels_buttons_open_pages_of_their_own(open_lab, desktop_server):
    page = open_lab()
    with page.expect_popup() as opened:
        card(page, "Desktop").click()
    expect(opened.value.locator(LIVE)).to_be_visible()
    assert opened.value.url == f"{desktop_server.url}gpubox/desktop"

    command(page, "gpubox:open-panel")
    panel = page.get_by_role("region", name="GPU panel")
    with page.expect_popup() as opened:
        panel.get_by_role("button", name="Desktop").click()
    assert opened.value.url == f"{desktop_server.url}gpubox/desktop"
    with page.expect_popup() as opened:
        panel.get_by_role("button", name="Terminal").click()
    assert opened.value.url == f"{desktop_server.url}gpubox/terminal/1"


def test_where_there_is_no_desktop_there_is_no_card(open_lab, desktop):
    desktop.be(desktop={"state": "missing"})
    page = open_lab()
    expect(card(page, "GPU Dashboard")).to_be_visible()
    page.wait_for_load_state("networkidle")
    expect(card(page, "Desktop")).to_have_count(0)


def test_it_opens_inside_jupyterlab_where_that_is_set_and_is_there_after_a_reload(
    open_lab, desktop_server, desktop
):
    desktop_server.ask(SETTINGS, "PUT", json={"raw": '{"desktopInLab": true, "tmuxCard": true}'})
    page = open_lab()
    expect(card(page, "Terminal with tmux")).to_be_visible()
    card(page, "Desktop").click()
    expect(page.locator(LIVE)).to_be_visible()
    height = page.locator(".gb-Desktop").bounding_box()["height"]
    until(lambda: desktop.seen["size"][1] == int(height), "the desktop has the tab's size")

    # JupyterLab's own shortcuts are the desktop's while it has the focus.
    page.locator(".gd-Screen > div > canvas").click()
    page.keyboard.press("Control+b")
    desktop.until_said(
        ["key", 0xFFE3, True], ["key", ord("b"), True], ["key", ord("b"), False], ["key", 0xFFE3, False]
    )
    expect(page.locator("#filebrowser")).to_be_visible()

    page.wait_for_timeout(1500)  # JupyterLab saves the layout a second after it changed
    page.goto(f"{desktop_server.url}lab")
    expect(page.locator(LIVE)).to_be_visible()
