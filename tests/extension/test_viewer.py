"""The desktop's page as people see it: a real browser, a real Jupyter server, and a desktop of one colour."""

import hashlib
import os
import re

import pytest
from playwright.sync_api import expect

from fixtures.browser import PATIENCE_SECONDS
from fixtures.desktop import expect_picture, screen, tool
from fixtures.jupyter import until

expect.set_options(timeout=PATIENCE_SECONDS * 1000)

SHIFT, CONTROL, ALT, DELETE, BACKSPACE = 0xFFE1, 0xFFE3, 0xFFE9, 0xFFFF, 0xFF08
MIB = 1024 * 1024

# What a person drops: files with their content, made in the page.
DROP = """([files]) => {
  const data = new DataTransfer();
  for (const [name, size, letter] of files) data.items.add(new File([letter.repeat(size)], name));
  const viewer = document.querySelector(".gd-Viewer");
  for (const type of ["dragover", "drop"])
    viewer.dispatchEvent(new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true }));
}"""
AVERAGE = """canvas => {
  const paper = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d");
  paper.drawImage(canvas, 0, 0, 1, 1);
  return [...paper.getImageData(0, 0, 1, 1).data].slice(0, 3);
}"""


def key(keysym, is_down):
    return ["key", keysym, is_down]


def pressed(*keysyms):
    """All of them down, then up the other way round."""
    down = [key(keysym, True) for keysym in keysyms]
    return [*down, *(key(keysym, False) for keysym in reversed(keysyms))]


def size(desktop):
    return desktop.seen["size"]


@pytest.fixture
def home(desktop_server):
    """What is in the home, by the Contents API."""

    def names():
        return [model["name"] for model in desktop_server.get("api/contents/?content=1")["content"]]

    yield names
    for name in names():
        if name.startswith("dropped"):
            desktop_server.ask(f"api/contents/{name}", "DELETE")


# --- from the click to the picture -------------------------------------------------------------------


def test_it_says_what_it_does_until_the_picture_is_there(desktop, open_desktop):
    desktop.be(held=True, desktop={"state": "starting", "phase": "Starting the display"})
    page = open_desktop()
    expect(page.get_by_role("status").filter(has_text="Starting the display")).to_be_visible()
    desktop.be(desktop={"phase": "Starting the desktop"})
    expect(page.get_by_role("status").filter(has_text="Starting the desktop")).to_be_visible()

    desktop.be(held=False, desktop={"state": "on"})
    expect_picture(page)
    expect(page).to_have_title("1x H100 · Desktop")
    assert screen(page).evaluate(AVERAGE) == [40, 90, 160]
    assert page.url.endswith("/gpubox/desktop")


def test_what_cannot_be_started_says_why_and_can_be_tried_again(desktop, open_desktop):
    why = "The desktop's display, Xvnc, ended with status 1. Its last words: <b>no space</b> left on /tmp"
    desktop.be(refuse={"code": 4500, "reason": why[:40]}, desktop={"state": "failed", "message": why})
    page = open_desktop()
    expect(page.get_by_role("heading", name="The desktop does not run")).to_be_visible()
    expect(page.get_by_text(why)).to_be_visible()

    page.get_by_role("button", name="Try again").click()
    expect_picture(page)
    assert desktop.seen["starts"] == 1


def test_a_machine_without_a_desktop_says_so(desktop, open_desktop):
    desktop.be(refuse={"code": 4404, "reason": "This image has no desktop."}, desktop={"state": "missing"})
    page = open_desktop()
    expect(page.get_by_role("heading", name="No desktop here")).to_be_visible()
    expect(page.get_by_role("link", name="JupyterLab")).to_have_attribute("href", "/lab")


# --- drops ------------------------------------------------------------------------------------------


def test_it_comes_back_by_itself_after_a_drop(desktop, open_desktop):
    page = open_desktop()
    expect_picture(page)
    desktop.be(held=True, drop=1006)
    expect(page.get_by_text("The connection is gone")).to_be_visible()
    # The last picture stays, greyed.
    expect(page.locator(".gd-Screen-last")).to_be_visible()

    desktop.be(held=False)
    expect_picture(page)
    assert desktop.seen["opened"] == 2
    page.keyboard.press("a")
    desktop.until_said(*pressed(ord("a")))


def test_who_is_online_again_waits_no_longer(desktop, open_desktop):
    page = open_desktop()
    expect_picture(page)
    desktop.be(refuse={"code": 1011, "reason": ""}, drop=1006)
    # By now it waits for seconds.
    until(lambda: desktop.seen["opened"] == 5, "four more tries")
    expect(page.get_by_role("button", name="Try now")).to_be_visible()

    desktop.be(refuse={})
    page.evaluate("window.dispatchEvent(new Event('online'))")
    expect(page.locator(".gd-Cover")).to_be_hidden(timeout=4000)


def test_a_laptop_that_slept_gets_a_new_connection(desktop, open_desktop):
    page = open_desktop()
    expect_picture(page)
    # The clock of a machine that was asleep for ten minutes.
    page.evaluate("const now = Date.now; Date.now = () => now() + 600_000")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    until(lambda: desktop.seen["opened"] == 2, "a second connection")
    expect_picture(page)


def test_a_display_that_is_killed_is_started_again_once(desktop, open_desktop):
    page = open_desktop()
    expect_picture(page)
    page.wait_for_timeout(3500)  # it counts as one that works from then on
    desktop.be(desktop={"state": "failed", "message": "Xvnc was killed by SIGKILL."})
    desktop.be(drop=1001, reason="The desktop has ended.")
    until(lambda: desktop.seen["starts"] == 1, "a start")
    expect_picture(page)

    # And where that does not last, its reason is shown.
    desktop.be(desktop={"state": "failed", "message": "Xvnc was killed by SIGKILL."})
    desktop.be(drop=1001)
    expect(page.get_by_text("Xvnc was killed by SIGKILL.")).to_be_visible()
    assert desktop.seen["starts"] == 1


def test_a_desktop_that_was_ended_stays_so_until_somebody_starts_it(desktop, open_desktop):
    page = open_desktop()
    expect_picture(page)
    desktop.be(desktop={"state": "off", "message": "You logged out of the desktop."}, drop=1001)
    expect(page.get_by_text("You logged out of the desktop.")).to_be_visible()
    assert desktop.seen["opened"] == 1
    page.get_by_role("button", name="Start it again").click()
    expect_picture(page)


def test_a_log_in_that_expired_is_told_with_a_link(desktop, open_desktop, desktop_server):
    page = open_desktop()
    expect_picture(page)
    page.context.clear_cookies()
    desktop.be(drop=1006)
    expect(page.get_by_role("heading", name="Your log-in has expired")).to_be_visible()
    page.get_by_role("link", name="Log in").click()
    expect(page).to_have_url(re.compile("/login"))


# --- who controls -------------------------------------------------------------------------------------


def test_the_desktop_has_the_size_of_the_page_that_controls_and_others_scale(desktop, open_desktop):
    first = open_desktop(viewport={"width": 1000, "height": 700})
    expect_picture(first)
    until(lambda: size(desktop) == [1000, 700], "the first page's size")
    first.set_viewport_size({"width": 900, "height": 600})
    until(lambda: size(desktop) == [900, 600], "its new size")
    expect(first.get_by_role("button", name="Take control")).to_be_hidden()

    second = open_desktop(viewport={"width": 450, "height": 500})
    expect_picture(second)
    expect(first.get_by_text("2 watch · you control")).to_be_visible()
    expect(screen(second)).to_have_css("width", "450px")
    expect(screen(second)).to_have_css("height", "300px")
    assert size(desktop) == [900, 600]

    tool(second, "Take control").click()
    until(lambda: size(desktop) == [450, 500], "the second page's size")
    expect(second.get_by_role("button", name="Take control")).to_be_hidden()
    expect(screen(first)).to_have_css("height", "600px")
    second.close()
    until(lambda: size(desktop) == [900, 600], "the first controls again")


def test_who_only_watches_touches_nothing(desktop, open_desktop):
    page = open_desktop("?view=1")
    expect_picture(page)
    expect(page.get_by_text("View only")).to_be_visible()
    screen(page).click()
    page.keyboard.type("rm -rf /")
    page.set_viewport_size({"width": 640, "height": 400})
    expect(screen(page)).to_have_css("height", "400px")
    assert desktop.seen["said"] == []
    for name in ("Keys", "Files"):
        assert page.get_by_role("button", name=name, exact=True).count() == 0


def test_the_link_to_watch_is_copied(open_desktop, desktop_server):
    page = open_desktop(permissions=["clipboard-read", "clipboard-write"])
    expect_picture(page)
    tool(page, "Copy a link to watch").click()
    expect(page.get_by_text("The link is copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == f"{desktop_server.url}gpubox/desktop?view=1"


# --- keys and clipboard ---------------------------------------------------------------------------------


def test_keys_that_browsers_keep_are_in_a_menu(desktop, open_desktop):
    page = open_desktop()
    expect_picture(page)
    tool(page, "Keys").click()
    page.get_by_role("button", name="Ctrl+Alt+Del").click()
    desktop.until_said(*pressed(CONTROL, ALT, DELETE))
    page.get_by_role("button", name="F11", exact=True).click()
    desktop.until_said(*pressed(0xFFBE + 10))

    hold = page.get_by_role("group").get_by_role("button", name="Ctrl")
    hold.click()
    expect(hold).to_have_attribute("aria-pressed", "true")
    screen(page).click(position={"x": 20, "y": 400})
    page.keyboard.press("x")
    desktop.until_said(key(CONTROL, True), *pressed(ord("x")))
    hold.click()
    desktop.until_said(key(CONTROL, False))


def test_the_toolbar_hides_and_is_reached_with_keys(desktop, open_desktop):
    page = open_desktop()
    expect_picture(page)
    page.mouse.move(600, 500)
    expect(page.get_by_role("toolbar")).to_be_hidden()
    for name in ("Control", "Alt", "Shift"):
        page.keyboard.down(name)
    expect(page.get_by_role("button", name="Clipboard", exact=True)).to_be_focused()
    for name in ("Shift", "Alt", "Control"):
        page.keyboard.up(name)
    # What was held is let go of, though its key was released elsewhere.
    until(lambda: key(CONTROL, False) in desktop.said and key(ALT, False) in desktop.said, "they are up")

    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("button", name="Keys", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("region", name="Keys")).to_be_hidden()
    page.keyboard.press("Escape")
    page.keyboard.press("q")
    desktop.until_said(*pressed(ord("q")))


def test_the_clipboard_is_one_for_both(desktop, open_desktop):
    page = open_desktop(permissions=["clipboard-read", "clipboard-write"])
    expect_picture(page)
    page.evaluate("navigator.clipboard.writeText('from here')")
    page.keyboard.press("Control+v")
    desktop.until_said(key(CONTROL, True), ["cut", "from here"], *pressed(ord("v")), key(CONTROL, False))
    # A terminal's way; the large V is what keeps Shift down there.
    page.evaluate("navigator.clipboard.writeText('from here, too')")
    page.keyboard.press("Control+Shift+V")
    desktop.until_said(["cut", "from here, too"], *pressed(ord("V")), key(SHIFT, False), key(CONTROL, False))

    desktop.be(copy="from there")
    until(lambda: page.evaluate("navigator.clipboard.readText()") == "from there", "it is here")
    # What came from there need not go back.
    page.keyboard.press("Control+v")
    until(lambda: desktop.said[-1] == key(CONTROL, False), "pasted")
    assert [said for said in desktop.said if said[0] == "cut"] == [
        ["cut", "from here"],
        ["cut", "from here, too"],
    ]


def test_without_https_there_is_a_box_for_the_clipboard(desktop, open_desktop, new_page):
    page = open_desktop()
    page.add_init_script("Object.defineProperty(window, 'isSecureContext', { value: false })")
    page.reload()
    expect_picture(page)
    desktop.be(copy="from there")
    tool(page, "Clipboard").click()
    expect(page.get_by_text("does not come over https")).to_be_visible()
    box = page.get_by_role("region", name="Clipboard").get_by_role("textbox")
    expect(box).to_have_value("from there")
    box.fill("typed here")
    desktop.until_said(["cut", "typed here"])


# --- files --------------------------------------------------------------------------------------------


def test_files_that_are_dropped_are_in_the_home(open_desktop, desktop_server, home):
    page = open_desktop()
    expect_picture(page)
    page.evaluate(DROP, [[["dropped 100%.txt", 5, "a"], ["dropped.bin", 9 * MIB, "b"]]])
    expect(page.get_by_text("dropped.bin is in your home.")).to_be_visible()
    content = desktop_server.ask("files/dropped.bin").content
    assert hashlib.sha256(content).digest() == hashlib.sha256(b"b" * 9 * MIB).digest()
    assert desktop_server.ask("files/dropped%20100%25.txt").content == b"aaaaa"

    # What is there already is left alone.
    page.evaluate(DROP, [[["dropped.bin", 3, "c"]]])
    expect(page.get_by_text("dropped (1).bin is in your home.")).to_be_visible()
    assert len(desktop_server.ask("files/dropped.bin").content) == 9 * MIB


def test_an_upload_that_fails_says_why_and_leaves_nothing(open_desktop, home):
    page = open_desktop()
    expect_picture(page)
    full = {"message": "Unexpected error while saving file: dropped [Errno 28] No space left on device"}
    page.route("**/api/contents/dropped*", lambda route: answer_third(route, full))
    counted = []

    def answer_third(route, answer):
        counted.append(route.request.method)
        third = route.request.method == "PUT" and counted.count("PUT") == 3
        route.fulfill(status=500, json=answer) if third else route.continue_()

    page.evaluate(DROP, [[["dropped.bin", 12 * MIB, "b"]]])
    expect(page.get_by_role("alert")).to_contain_text("the disk of your home is full")
    assert "dropped.bin" not in home()


def test_an_upload_can_be_cancelled(open_desktop, home):
    page = open_desktop()
    expect_picture(page)
    held = []
    page.route(
        "**/api/contents/dropped*",
        lambda route: (
            held.append(route) if len(held) == 0 and "PUT" in route.request.method else route.continue_()
        ),
    )
    page.evaluate(DROP, [[["dropped.bin", 12 * MIB, "b"]]])
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".gd-Upload")).to_have_count(0)
    assert "dropped.bin" not in home()


def test_files_of_the_home_are_downloaded(open_desktop, desktop_server):
    (desktop_server.home / "results").mkdir(exist_ok=True)
    content = os.urandom(2000)
    (desktop_server.home / "results" / "model #1.bin").write_bytes(content)
    page = open_desktop()
    expect_picture(page)
    tool(page, "Files").click()
    page.get_by_role("button", name="results").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="model #1.bin").click()
    assert download.value.path().read_bytes() == content


# --- on a phone, and the rest -------------------------------------------------------------------------


def test_on_a_phone_it_is_typed_with_the_phones_keyboard(desktop, open_desktop):
    page = open_desktop(viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True)
    expect_picture(page)
    tool(page, "On-screen keyboard").click()
    field = page.get_by_label("Type on the desktop")
    expect(field).to_be_focused()
    page.keyboard.type("hi")
    page.keyboard.press("Backspace")
    desktop.until_said(*pressed(ord("h")), *pressed(ord("i")), *pressed(BACKSPACE))
    bar = page.get_by_role("toolbar").bounding_box()
    assert bar["x"] >= 0 and bar["x"] + bar["width"] <= 360


def test_the_desktops_icon_for_jupyterlab_offers_it(desktop, open_desktop):
    page = open_desktop()
    expect_picture(page)
    desktop.be(open="lab")
    link = page.get_by_role("link", name="Open JupyterLab")
    expect(link).to_have_attribute("href", "/lab")
    expect(link).to_have_attribute("target", "_blank")


def test_what_is_preferred_is_kept_and_3d_is_told(open_desktop):
    page = open_desktop()
    expect_picture(page)
    tool(page, "Settings").click()
    expect(page.get_by_text("3-D: llvmpipe (LLVM 19) (software)")).to_be_visible()
    page.get_by_label("Picture").select_option("low")
    page.get_by_label("Keep the toolbar").check()
    page.reload()
    expect_picture(page)
    tool(page, "Settings").click()
    expect(page.get_by_label("Picture")).to_have_value("low")
    expect(page.get_by_label("Keep the toolbar")).to_be_checked()
