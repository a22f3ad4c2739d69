"""The GPU panel as people see it: a real browser, a real JupyterLab with real kernels, scripted figures."""

import gzip
import re
import time

import pytest
from playwright.sync_api import expect

from fixtures.browser import PATIENCE_SECONDS
from fixtures.panel import MIB, NVIDIA, command, h100, process
from fixtures.waiting import until

expect.set_options(timeout=PATIENCE_SECONDS * 1000)

MARKUP = """<img src=x onerror=window.hacked=1>"'.ipynb"""
NOTEBOOK = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}

# What a canvas shows, as one string: other pictures are other strings.
PICTURE = "canvas => canvas.toDataURL()"
IS_DRAWN = """canvas => {
  const paper = canvas.getContext("2d");
  return paper.getImageData(0, 0, canvas.width, canvas.height).data.some(value => value);
}"""


def card(page, index=0):
    """The card of a GPU."""
    return page.locator(".gb-Card").nth(index)


def status_bar(page):
    """The GPUs in the status bar."""
    return page.locator(".gb-Status")


def set_hidden(page, is_hidden):
    """As if the person went to another tab of the browser, or came back."""
    page.evaluate(
        """isHidden => {
          Object.defineProperty(document, "hidden", { configurable: true, get: () => isHidden });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        is_hidden,
    )


@pytest.fixture
def notebook(lab):
    """train.ipynb with a running kernel; the kernel's owner as the server would tell it."""
    lab.ask("api/contents/train.ipynb", "PUT", json={"type": "notebook", "content": NOTEBOOK})
    asked = {"path": "train.ipynb", "name": "train.ipynb", "type": "notebook", "kernel": {"name": "python3"}}
    session = lab.ask("api/sessions", "POST", json=asked).json()
    yield {"kind": "kernel", "id": session["kernel"]["id"], "name": "train.ipynb", "path": "train.ipynb"}
    lab.ask(f"api/sessions/{session['id']}", "DELETE")


def test_figures_appear_and_change_by_themselves(open_panel, gpus):
    page = open_panel()
    expect(card(page)).to_contain_text("NVIDIA H100 80GB HBM3")
    expect(card(page)).to_contain_text("97\u00a0%")
    expect(card(page)).to_contain_text("40.0\u00a0/\u00a080.0\u00a0GB")
    expect(card(page)).to_contain_text("612\u00a0/\u00a0700\u00a0W")
    expect(card(page)).to_contain_text("61\u00a0°C")
    meter = page.get_by_role("meter", name="Utilisation")
    expect(meter).to_have_attribute("aria-valuenow", "97")
    gpus.set(0, utilisation_percent=12)
    expect(meter).to_have_attribute("aria-valuenow", "12")
    expect(status_bar(page)).to_contain_text("12\u00a0%")
    until(lambda: card(page).locator("canvas").evaluate(IS_DRAWN), "the curve is drawn")


def test_what_slows_a_gpu_down_or_broke_is_told(open_panel, gpus):
    page = open_panel()
    expect(card(page)).not_to_contain_text("ECC")
    gpus.set(0, throttle_reasons=["power cap"], ecc_uncorrected=2, xid=79)
    for words in ("Slowed down: power cap", "ECC errors: 2", "Xid: 79"):
        expect(card(page)).to_contain_text(words)


def test_a_process_is_named_after_its_notebook_and_its_kernel_is_shut_down(open_panel, gpus, lab, notebook):
    gpus.run(process(owner=notebook), process(pid=1, memory_mib=None, is_estimated=True), others=2)
    page = open_panel()
    rows = card(page).get_by_role("listitem")
    expect(rows.nth(0)).to_contain_text("train.ipynb")
    expect(rows.nth(0)).to_contain_text("12.3\u00a0GB")
    expect(rows.nth(1)).to_contain_text("estimated")
    expect(rows.nth(1)).to_contain_text("n/a")
    expect(rows.nth(2)).to_have_text("2 processes of others4.0\u00a0GB")

    card(page).get_by_role("button", name="train.ipynb", exact=True).click()
    expect(page.get_by_role("main").get_by_role("tab", name="train.ipynb")).to_be_visible()
    card(page).get_by_role("button", name="Interrupt the kernel of train.ipynb").click()
    expect(page.get_by_text("The kernel of train.ipynb was interrupted.")).to_be_visible()

    card(page).get_by_role("button", name="Shut down the kernel of train.ipynb").click()
    page.get_by_role("button", name="Cancel").click()
    assert [kernel["id"] for kernel in lab.get("api/kernels")] == [notebook["id"]]
    card(page).get_by_role("button", name="Shut down the kernel of train.ipynb").click()
    page.get_by_role("button", name="Shut Down", exact=True).click()
    until(lambda: lab.get("api/kernels") == [], "the kernel is gone")
    gpus.run()
    expect(card(page)).to_contain_text("Nothing runs here")


def test_the_palette_asks_which_kernel_to_shut_down(open_lab, gpus, lab, notebook):
    gpus.run(process(owner=notebook))
    page = open_lab()
    command(page, "gpubox:shut-down-kernel")
    page.get_by_role("button", name="OK").click()
    page.get_by_role("button", name="Shut Down", exact=True).click()
    until(lambda: lab.get("api/kernels") == [], "the kernel is gone")


def test_names_are_text_whatever_is_in_them(open_panel, gpus):
    gpus.show(h100(name=MARKUP, state="stale", message=MARKUP))
    gpus.run(process(owner={"kind": "kernel", "id": "1", "name": MARKUP, "path": MARKUP}))
    gpus.box(machine="x", title=MARKUP, contents=MARKUP, started=0, price_per_hour=0, currency="$",
             cost=0, ends=None, hub_url="javascript:window.hacked=1")  # fmt: skip
    page = open_panel()
    expect(page.get_by_role("heading", name=MARKUP).first).to_be_visible()
    expect(card(page).get_by_role("button", name=MARKUP, exact=True)).to_be_visible()
    expect(page.get_by_role("heading", name=MARKUP)).to_have_count(2)
    expect(page.get_by_text("Stop or change")).to_be_hidden()
    assert page.evaluate("window.hacked") is None


def test_it_comes_back_after_a_restart_of_the_server(open_panel, gpus, lab):
    page = open_panel()
    expect(card(page)).to_contain_text("97\u00a0%")
    lab.stop()
    expect(page.get_by_text("No connection to the server; it is tried again.")).to_be_visible()
    expect(card(page)).to_contain_text("97\u00a0%")
    lab.start()
    gpus.show(h100())
    gpus.set(0, utilisation_percent=33)
    expect(card(page)).to_contain_text("33\u00a0%")
    expect(page.get_by_text("No connection to the server")).to_have_count(0)
    assert gpus.streams == 1


def test_it_follows_the_theme(open_panel):
    page = open_panel()
    colour = "node => getComputedStyle(node).backgroundColor"
    light = card(page).evaluate(colour)
    until(lambda: card(page).locator("canvas").evaluate(IS_DRAWN), "the curve is drawn")
    curve = card(page).locator("canvas").evaluate(PICTURE)
    command(page, "apputils:change-theme", theme="JupyterLab Dark")
    until(lambda: card(page).evaluate(colour) != light, "the card is dark")
    until(lambda: card(page).locator("canvas").evaluate(PICTURE) != curve, "the curve has other colours")
    command(page, "apputils:change-theme", theme="JupyterLab Light")
    until(lambda: card(page).evaluate(colour) == light, "the card is light again")


def test_it_is_used_with_the_keyboard_alone(open_lab, gpus):
    gpus.run(process(owner={"kind": "terminal", "id": "1", "name": "Terminal 1"}))
    page = open_lab()
    status_bar(page).get_by_role("button").focus()
    page.keyboard.press("Enter")
    button = page.get_by_role("button", name="Open the GPU dashboard")
    expect(button).to_be_visible()
    page.keyboard.press("Tab")
    expect(button).to_be_focused()
    assert "solid" in button.evaluate("node => getComputedStyle(node).outline")
    page.keyboard.press("Tab")
    expect(card(page).get_by_role("button", name="Terminal 1")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    hour = page.get_by_role("button", name="1 h", exact=True)
    hour.focus()
    page.keyboard.press("Space")
    expect(hour).to_have_attribute("aria-pressed", "true")


def test_without_a_gpu_it_says_so_and_the_status_bar_is_left_alone(open_panel, gpus):
    gpus.show()
    page = open_panel()
    expect(page.get_by_text("No GPU here")).to_be_visible()
    expect(page.get_by_text("nvidia-smi")).to_be_visible()
    expect(status_bar(page)).to_be_hidden()
    gpus.show(h100())
    expect(status_bar(page)).to_be_visible()
    expect(page.get_by_text("No GPU here")).to_be_hidden()


def test_a_driver_in_trouble_says_what_to_do(open_panel, gpus):
    message = "The driver was updated under a running kernel module: restart this machine."
    gpus.show(drivers=[{**NVIDIA, "state": "trouble", "message": message}])
    page = open_panel()
    expect(page.get_by_text(message)).to_be_visible()
    expect(page.get_by_text("No GPU here")).to_be_hidden()


def test_a_lost_gpu_is_notified_once(open_panel, gpus):
    page = open_panel()
    notices = page.locator(".Toastify__toast").filter(has_text="GPU 0 is lost.")
    gpus.change(0, state="lost", message="It has fallen off the bus.")
    expect(notices).to_contain_text("It has fallen off the bus.")
    expect(card(page).get_by_role("status")).to_have_text("It has fallen off the bus.")
    expect(card(page)).to_have_class(re.compile("gb-mod-lost"))
    gpus.set(0, xid=79)
    expect(card(page)).to_contain_text("Xid: 79")
    time.sleep(1)
    expect(notices).to_have_count(1)


def test_old_values_are_grey_with_their_age_and_missing_ones_are_no_zero(open_panel, gpus):
    gpus.set(0, temperature_celsius=None, memory_used_mib=None)
    gpus.change(0, stale={"power_watts": 12.3}, memory_total_mib=None)
    page = open_panel()
    power = page.locator(".gb-mod-power")
    expect(power).to_contain_text("12\u00a0s old")
    expect(power).to_have_class(re.compile("gb-mod-old"))
    expect(page.locator(".gb-mod-temperature")).to_have_text("Temp.n/a")
    expect(page.locator(".gb-Meter.gb-mod-memory")).to_have_text("Memoryn/a")
    expect(page.get_by_role("meter", name="Memory")).to_have_count(0)
    gpus.change(0, stale={})
    expect(power).not_to_contain_text("old")


def test_slices_stand_under_one_heading(open_panel, gpus):
    slices = [h100(index, id=f"MIG-{index}", parent="GPU-9", mig_profile="1g.10gb") for index in range(2)]
    gpus.show(*slices)
    page = open_panel()
    expect(page.get_by_role("heading", name="NVIDIA H100 80GB HBM3 · 2 slices")).to_be_visible()
    expect(page.get_by_role("heading", name="1g.10gb")).to_have_count(2)


def test_a_gpubox_server_tells_its_machine_and_its_cost(open_panel, gpus):
    facts = {"machine": "1x-h100", "title": "1x H100", "contents": "PyTorch 2.15, CUDA 13.2",
             "price_per_hour": 2.5, "currency": "$", "cost": 5.28, "hub_url": "/hub/home"}  # fmt: skip
    gpus.box(started=time.time() - 7500, ends=time.time() + 4.5 * 60, **facts)
    page = open_panel()
    machine = page.get_by_role("region", name="This machine")
    for words in ("1x H100", "PyTorch 2.15, CUDA 13.2", "2\u00a0h\u00a005\u00a0min", "$5.28", "4\u00a0min"):
        expect(machine).to_contain_text(words)
    expect(machine.get_by_role("link")).to_have_attribute("href", re.compile(r"^http://.*/hub/home$"))
    expect(page.get_by_text("This machine stops in 5 minutes. Save your work.")).to_be_visible()


def test_settings_take_effect_at_once(open_panel, gpus):
    page = open_panel()
    expect(card(page)).to_contain_text("Power")
    command(page, "settingeditor:open", query="GPU")
    page.get_by_label("Power and its limit").uncheck()
    expect(card(page)).not_to_contain_text("Power")
    page.get_by_label("PCIe traffic").check()
    expect(card(page)).to_contain_text("PCIe out / in")
    until(lambda: gpus.are_links_read, "the link counters are asked for")
    page.get_by_label("PCIe traffic").uncheck()
    until(lambda: not gpus.are_links_read, "they are not any more")
    page.get_by_label("Power and its limit").check()
    expect(card(page)).to_contain_text("Power")
    page.get_by_label("Show the GPUs in the status bar").uncheck()
    expect(status_bar(page)).to_be_hidden()
    command(page, "gpubox:toggle-status-bar")
    expect(status_bar(page)).to_be_visible()


def test_the_dashboard_draws_charts_of_the_chosen_figures_and_time(open_lab, gpus):
    page = open_lab()
    command(page, "gpubox:open-dashboard")
    charts = page.locator(".gb-Chart")
    expect(charts).to_have_count(2)
    canvas = charts.first.locator("canvas")
    until(lambda: canvas.evaluate(IS_DRAWN), "the chart is drawn")
    expect(charts.first).to_contain_text("97\u00a0%")
    fine = canvas.evaluate(PICTURE)
    with page.expect_response(re.compile("history\\?range=coarse")):
        page.get_by_role("button", name="24 h").click()
    until(lambda: canvas.evaluate(PICTURE) != fine, "the chart shows another time")
    page.get_by_role("button", name="Power", exact=True).click()
    expect(charts).to_have_count(3)
    charts.first.locator(".u-over").hover()
    for chart in charts.all():
        expect(chart.locator(".gb-Chart-when")).to_have_text(re.compile(r"\d\d:\d\d:\d\d"))


def test_the_dashboard_is_there_again_after_a_reload(open_lab, lab):
    page = open_lab()
    command(page, "gpubox:open-dashboard")
    expect(page.locator(".gb-Chart canvas").first).to_be_visible()
    until(lambda: "gpubox-dashboard" in lab.ask("lab/api/workspaces").text, "the layout is saved")
    page.goto(f"{lab.url}lab")
    expect(page.locator(".gb-Chart canvas").first).to_be_visible()


def test_the_status_bar_is_red_near_full_memory_and_it_is_notified_once(open_lab, gpus):
    page = open_lab()
    notices = page.locator(".Toastify__toast").filter(has_text="of the memory is in use")
    expect(status_bar(page)).to_contain_text("40.0\u00a0/\u00a080.0\u00a0GB")
    expect(status_bar(page)).not_to_have_class(re.compile("gb-mod-full"))
    gpus.set(0, memory_used_mib=77 * MIB)
    expect(status_bar(page)).to_have_class(re.compile("gb-mod-full"))
    expect(notices).to_contain_text("GPU 0: 96 %")
    gpus.set(0, memory_used_mib=75 * MIB)
    expect(status_bar(page)).not_to_have_class(re.compile("gb-mod-full"))
    gpus.set(0, memory_used_mib=78 * MIB)
    expect(status_bar(page)).to_have_class(re.compile("gb-mod-full"))
    time.sleep(1)
    expect(notices).to_have_count(1)


def test_two_pages_of_one_browser_notify_once(open_lab, gpus, lab):
    first = open_lab()
    second = first.context.new_page()
    second.goto(f"{lab.url}lab/workspaces/second?reset")
    pages = (first, second)
    for page in pages:
        expect(status_bar(page)).to_contain_text("40.0\u00a0/\u00a080.0\u00a0GB")
    gpus.set(0, memory_used_mib=79 * MIB)
    for page in pages:
        expect(status_bar(page)).to_have_class(re.compile("gb-mod-full"))
    notices = [page.locator(".Toastify__toast").filter(has_text="of the memory is in use") for page in pages]
    until(lambda: sum(notice.count() for notice in notices), "it is notified")
    time.sleep(1)
    assert sum(notice.count() for notice in notices) == 1


def test_nobody_listens_while_the_page_is_hidden_or_shows_no_gpu(open_panel, gpus):
    page = open_panel()
    until(lambda: gpus.streams == 1, "the page listens")
    set_hidden(page, True)
    until(lambda: gpus.streams == 0, "the hidden page does not")
    gpus.set(0, utilisation_percent=5)
    set_hidden(page, False)
    expect(card(page)).to_contain_text("5\u00a0%")
    assert gpus.streams == 1
    command(page, "gpubox:toggle-status-bar")
    command(page, "application:toggle-right-area")
    until(lambda: gpus.streams == 0, "with nothing to show it does not listen")
    command(page, "gpubox:toggle-status-bar")
    until(lambda: gpus.streams == 1, "for the status bar it does")


def test_little_is_loaded_before_the_panel_is_opened(new_page, lab, gpus):
    page = new_page()
    scripts = []
    page.on("response", lambda response: "@gpubox" in response.url and scripts.append(response))
    page.goto(f"{lab.url}lab?token={lab.token}&reset")
    expect(status_bar(page)).to_be_visible()
    page.wait_for_load_state("networkidle")
    assert zipped(scripts) < 16_000
    command(page, "gpubox:open-panel")
    command(page, "gpubox:open-dashboard")
    expect(page.locator(".gb-Chart canvas").first).to_be_visible()
    assert zipped(scripts) < 60_000


def zipped(responses):
    """The bytes of scripts as a server that compresses would send them."""
    return sum(len(gzip.compress(response.body())) for response in responses if ".js" in response.url)
