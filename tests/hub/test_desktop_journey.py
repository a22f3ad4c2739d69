"""The desktop and the terminal of a real machine, from the click in JupyterLab or on the hub's page."""

import re

import pytest
from playwright.sync_api import expect

from fixtures.browser import PATIENCE_SECONDS
from fixtures.desktop import expect_picture, screen, tool
from fixtures.hub import CPU

expect.set_options(timeout=PATIENCE_SECONDS * 1000)

CLIPBOARD = ["clipboard-read", "clipboard-write"]
# The mean colour of a part of the picture, as red, green and blue.
COLOUR = """(canvas, [x, y, width, height]) => {
  const paper = Object.assign(document.createElement("canvas"), { width, height }).getContext("2d");
  paper.drawImage(canvas, x, y, width, height, 0, 0, width, height);
  const { data } = paper.getImageData(0, 0, width, height);
  const sums = [0, 0, 0];
  data.forEach((value, place) => { if (place % 4 < 3) sums[place % 4] += value; });
  return sums.map(sum => sum / (width * height));
}"""
WIDTH, HEIGHT = 1280, 800
# Where XFCE's panel has nothing on it, where the sky of the wallpaper is, and its darkest wave.
PANEL = (800, HEIGHT - 30, 200, 20)
SKY = (900, 150, 200, 60)
WAVE = (1000, HEIGHT - 75, 200, 20)
# Inside the window of a terminal that opened in the corner.
PAPER = (300, 200, 200, 100)


@pytest.fixture(scope="module")
def hub(make_module_hub, image):
    machine = CPU | {"memory": "2G", "image": image}
    hub = make_module_hub(machines=[machine], users=("alice",), service=True).start()
    hub.run("alice", "cpu")
    return hub


@pytest.fixture
def log_in(hub, new_page):
    def log_in(**options):
        page = new_page(**options)
        page.goto(f"{hub.url}/hub/login?next=/hub/home")
        page.get_by_label("Username:").fill("alice")
        page.get_by_label("Password:").first.fill(hub.password)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Your machines")).to_be_visible()
        return page

    return log_in


def colour(page, part):
    return screen(page).evaluate(COLOUR, list(part))


def is_xfce(page):
    """The picture is the desktop's: a dark panel, a bright sky, blue waves."""
    panel, sky, wave = (colour(page, part) for part in (PANEL, SKY, WAVE))
    return max(panel) < 60 and min(sky) > 190 and wave[2] > wave[0] + 40 and wave[2] > 80


def content(hub, name):
    """What a file in alice's home holds; '' while there is none."""
    code, output = hub.container("alice").exec_run(["cat", f"/home/jovyan/{name}"])
    return output.decode() if code == 0 else ""


def desktop_at(hub):
    """When the hub was told that somebody worked on the desktop."""
    found = hub.query("SELECT desktop_at FROM activity WHERE reported_at IS NOT NULL")
    return found[0]["desktop_at"] if found else None


def test_a_person_works_on_the_desktop_and_it_comes_back_when_its_display_is_killed(hub, log_in):
    lab = log_in(viewport={"width": WIDTH, "height": HEIGHT}, permissions=CLIPBOARD)
    lab.goto(f"{hub.url}/user/alice/lab")
    with lab.expect_popup() as opened:
        lab.locator(".jp-LauncherCard").filter(has_text=re.compile("^Desktop$")).click()
    page = opened.value
    expect_picture(page)
    expect(page).to_have_title("CPU · Desktop")
    assert "token" not in page.url
    hub.until(lambda: is_xfce(page), "XFCE is to be seen")
    hub.until(lambda: hub.query("SELECT 1 FROM activity WHERE reported_at IS NOT NULL"), "a report")
    # It is open, its clock is painted, and nobody works on it.
    assert desktop_at(hub) is None

    page.keyboard.press("Control+Alt+t")
    hub.until(lambda: min(colour(page, PAPER)) > 245, "a terminal opens")
    page.keyboard.type("echo by hand > typed.txt; clear\n")
    hub.until(lambda: content(hub, "typed.txt") == "by hand\n", "what was typed is in the home")
    tool(page, "Files").click()
    expect(page.get_by_role("link", name="typed.txt")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    hub.until(lambda: desktop_at(hub), "the hub is told of it")

    page.evaluate("navigator.clipboard.writeText('echo from here > pasted.txt')")
    page.keyboard.press("Control+Shift+V")

    def done():
        # The text is on its way when the key has gone.
        page.keyboard.press("Enter")
        return content(hub, "pasted.txt") == "from here\n"

    hub.until(done, "what was pasted was done")
    page.keyboard.type("clear; echo fromthere; echo > shown.txt\n")
    hub.until(lambda: content(hub, "shown.txt") == "\n", "it is on the screen")

    def copied():
        screen(page).click(position={"x": 60, "y": 33}, click_count=2)
        page.keyboard.press("Control+Shift+C")
        return page.evaluate("navigator.clipboard.readText()") == "fromthere"

    hub.until(copied, "what was copied there is here")

    code, _ = hub.container("alice").exec_run(["pkill", "-9", "-x", "Xvnc"])
    assert code == 0
    expect(page.locator(".gd-Viewer")).not_to_have_attribute("data-phase", "live")
    expect_picture(page)
    hub.until(lambda: is_xfce(page), "XFCE is back")


def test_two_pages_share_it_and_one_gives_it_its_size(hub, log_in):
    first = log_in(viewport={"width": WIDTH, "height": HEIGHT})
    first.goto(f"{hub.url}/user/alice/gpubox/desktop")
    expect_picture(first)
    expect(screen(first)).to_have_js_property("width", WIDTH)
    first.set_viewport_size({"width": 1000, "height": 700})
    expect(screen(first)).to_have_js_property("width", 1000)

    second = log_in(viewport={"width": 500, "height": 700})
    second.goto(f"{hub.url}/user/alice/gpubox/desktop")
    expect_picture(second)
    expect(screen(second)).to_have_js_property("width", 1000)
    expect(screen(second)).to_have_css("width", "500px")
    tool(second, "Take control").click()
    expect(screen(second)).to_have_js_property("width", 500)
    expect(screen(first)).to_have_js_property("width", 500)
    expect(tool(first, "Take control")).to_be_visible()
    expect(first.get_by_text("alice controls")).to_be_visible()


def test_the_hubs_page_leads_to_a_terminal_whose_program_outlives_a_reload(hub, log_in):
    home = log_in()
    expect(home.get_by_role("link", name="Desktop")).to_have_attribute("href", "/user/alice/gpubox/desktop")
    with home.expect_popup() as opened:
        home.get_by_role("link", name="Terminal").click()
    page = opened.value
    rows = page.locator(".xterm-rows")
    expect(rows).to_contain_text("jovyan@")
    page.keyboard.type("shopt -q login_shell && which python; while read w; do echo heard $w; done\n")
    # A login shell, with the box's own tools first.
    expect(rows).to_contain_text("/opt/ml/bin/python")
    page.reload()
    expect(rows).to_contain_text("/opt/ml/bin/python")
    page.keyboard.type("me\n")
    expect(rows).to_contain_text("heard me")
