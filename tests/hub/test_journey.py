"""What people do, from the log-in page to the stop button: a real browser, hub, engine and image."""

import json
import re
from contextlib import ExitStack

import pytest
from playwright.sync_api import expect

from fixtures.browser import PATIENCE_SECONDS
from fixtures.hub import CPU, H100
from simgpu import SimulatedDriver

expect.set_options(timeout=PATIENCE_SECONDS * 1000)

# Of two H100, one in use: whoever wants both is in line.
PAIR = {**H100, "name": "pair", "title": "2x H100", "count": 2}
QUAD = {**H100, "name": "quad", "title": "4x H100", "count": 4}
MARKUP = """<img src=x onerror=window.hacked=1>"'"""

LIST_GPUS = """
import json, pynvml
pynvml.nvmlInit()
handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
print(json.dumps([pynvml.nvmlDeviceGetUUID(handle) for handle in handles]))
"""

# The waiting page's headlines, told to the test as they change.
TELL_HEADLINES = """
    new MutationObserver(() => {
      const words = document.getElementById("headline")?.textContent;
      if (words) console.debug(`headline: ${words}`);
    }).observe(document, { childList: true, subtree: true, characterData: true });
"""


@pytest.fixture
def driver(docker_client):
    with SimulatedDriver("2xH100") as driver:
        yield driver


@pytest.fixture
def hub(make_hub, driver):
    machines = [CPU, H100, PAIR, QUAD]
    users = ("alice", "bob", "carol", MARKUP)
    return make_hub(environment=driver.environment(), machines=machines, users=users).start()


@pytest.fixture
def log_in(hub, new_page):
    """Opens a page of a person who has come through the log-in page to the form."""

    def log_in(user):
        page = new_page()
        page.goto(hub.url)
        page.get_by_label("Username:").fill(user)
        page.get_by_label("Password:").first.fill(hub.password)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Start a machine")).to_be_visible()
        return page

    return log_in


def card(page, machine):
    """The card of a machine type on the form."""
    return page.locator(".gb-card").filter(has=page.get_by_text(machine, exact=True))


def choose(page, machine):
    """Choose a machine by a click on its card."""
    card(page, machine).click()
    expect(page.get_by_role("radio", name=machine)).to_be_checked()


def headline(page):
    """What the waiting page says in large letters."""
    return page.locator("#headline")


def headlines_from_now(page):
    """Every headline that waiting pages show from the next page on."""
    headlines = []
    page.on("console", lambda message: headlines.append(message.text))
    page.add_init_script(TELL_HEADLINES)
    return headlines


def in_the_lab(page):
    """Wait until JupyterLab is there to be used."""
    page.wait_for_url(re.compile(r"/user/[^?]+/lab"))
    expect(page.locator(".jp-LauncherCard").first).to_be_visible()


def press_start_at_once(pages):
    """Press the start buttons so that every request is sent before the first is answered; the answers."""
    held = []

    def hold(route):
        held.append(route)
        if len(held) == len(pages):
            for each in held:
                each.continue_()

    with ExitStack() as stack:
        for page in pages:
            page.route("**/hub/spawn", hold, times=1)
        answers = [stack.enter_context(page.expect_response("**/hub/spawn")) for page in pages]
        for page in pages:
            page.get_by_role("button", name="Start").click(no_wait_after=True)
    return [answer.value for answer in answers]


def test_log_in_pick_work_and_stop(hub, log_in):
    page = log_in("alice")
    expect(card(page, "1x H100")).to_contain_text("2 of 2 free")
    expect(page.get_by_text("On every machine: PyTorch")).to_be_visible()
    choose(page, "1x H100")
    page.get_by_role("button", name="Start").click()
    in_the_lab(page)

    page.locator(".jp-LauncherCard[data-category=Notebook]").click()
    expect(page.get_by_text("Python (ML) | Idle")).to_be_visible()
    page.locator(".jp-Notebook .cm-content").click()
    page.keyboard.type(LIST_GPUS)
    page.keyboard.press("Shift+Enter")
    output = page.locator(".jp-OutputArea-output")
    expect(output).to_contain_text("]")
    assert json.loads(output.inner_text()) == hub.gpus_held()["alice"]
    assert len(hub.gpus_held()["alice"]) == 1

    page.locator(".lm-TabBar-addButton:visible").click()
    page.locator(".jp-LauncherCard").filter(has_text="Terminal").click()
    page.locator(".jp-Terminal .xterm").click()
    page.keyboard.type("echo $((6 * 7)) >~/answer\n")
    answer = ["cat", "/home/jovyan/answer"]
    hub.until(lambda: hub.container("alice").exec_run(answer).output == b"42\n", "the terminal has answered")

    page.get_by_role("menuitem", name="File").click()
    with page.expect_popup() as opened:
        page.get_by_text("Hub Control Panel").click()
    home = opened.value
    home.get_by_role("button", name="Stop").click()
    expect(home.get_by_text("Stopped", exact=True)).to_be_visible()
    assert not hub.open_leases() and not hub.containers(all=True)
    home.get_by_role("link", name="Start").click()
    expect(card(home, "1x H100")).to_contain_text("2 of 2 free")


def test_three_users_at_once(hub, log_in):
    pages = {user: log_in(user) for user in ("alice", "bob", "carol")}
    for page in pages.values():
        choose(page, "1x H100")
    press_start_at_once(pages.values())

    held = hub.until(lambda: len(hub.gpus_held()) == 2 and hub.gpus_held(), "two have a GPU")
    first, second = held
    for user in held:
        in_the_lab(pages[user])
    assert len({*held[first], *held[second]}) == 2

    (third,) = pages.keys() - held.keys()
    expect(headline(pages[third])).to_have_text("1st in line")
    at_home = pages[third].context.new_page()
    at_home.goto(f"{hub.url}/hub/home")
    expect(at_home.get_by_text("In line", exact=True)).to_be_visible()
    home = pages[first]
    home.goto(f"{hub.url}/hub/home")
    home.get_by_role("button", name="Stop").click()
    in_the_lab(pages[third])
    assert hub.gpus_held() == {second: held[second], third: held[first]}


@pytest.mark.parametrize("server", ["", "training"])
def test_cancel_while_waiting(hub, log_in, server):
    hub.run("alice", "h100")
    page = log_in("bob")
    headlines = headlines_from_now(page)
    if server:
        page.goto(f"{hub.url}/hub/home")
        page.get_by_label("Add a machine").fill(server)
        page.get_by_role("button", name="Add").click()
        page.locator(f"[data-server-name={server}]").get_by_role("link", name="Start").click()
    choose(page, "2x H100")
    before = hub.open_leases()
    page.get_by_role("button", name="Join the line").click()
    expect(headline(page)).to_have_text("1st in line")
    assert len(hub.open_leases()) == 2

    page.get_by_role("button", name="Cancel").click()

    expect(headline(page)).to_have_text("Cancelled")
    assert "headline: 1st in line" in headlines and "headline: Ready" not in headlines
    assert hub.open_leases() == before
    page.get_by_role("link", name="Choose a machine").click()
    choose(page, "CPU")
    page.get_by_role("button", name="Start").click()
    in_the_lab(page)
    assert hub.is_ready("bob", server)


def test_second_click_changes_nothing(hub, log_in):
    twice = log_in("alice")
    choose(twice, "1x H100")
    twice.get_by_role("button", name="Start").dblclick()
    in_the_lab(twice)

    page = log_in("bob")
    tab = page.context.new_page()
    tab.goto(page.url)
    for each in (page, tab):
        choose(each, "1x H100")
    answers = press_start_at_once([page, tab])
    # The second is refused with 400, or 500 where the two came closer than JupyterHub looks.
    assert sorted(answer.status == 302 for answer in answers) == [False, True]
    started, refused = (page, tab) if answers[0].status == 302 else (tab, page)
    in_the_lab(started)  # first: JupyterHub logs one tab at a time in to a server
    refused.get_by_role("link", name="Go to it").click()
    in_the_lab(refused)

    assert [len(gpus) for gpus in hub.gpus_held().values()] == [1, 1]
    assert len(hub.open_leases()) == len(hub.containers(all=True)) == 2


def test_a_refusal_is_a_sentence(hub, log_in):
    page = log_in("alice")
    expect(page.get_by_role("radio", name="4x H100")).to_be_disabled()
    expect(card(page, "4x H100")).to_contain_text("Only 2 such GPUs here")

    # Past the form, by a link that names the machine.
    page.goto(f"{hub.url}/hub/spawn?machine=quad")

    expect(page.get_by_role("heading", name="Your machine could not be started")).to_be_visible()
    expect(page.locator(".gb-detail")).to_contain_text("4x H100 needs 4 GPUs and there are only 2 such.")
    assert "Traceback" not in page.content() + hub.log.read_text()
    assert not hub.open_leases() and not hub.containers(all=True)


def test_a_name_with_quotes_and_markup_is_only_text(hub, log_in):
    hub.run("alice", "h100")
    page = log_in(MARKUP)

    def shows_the_name(places):
        expect(page.get_by_text(MARKUP, exact=True)).to_have_count(places)
        assert page.evaluate("window.hacked") is None

    shows_the_name(1)
    page.goto(f"{hub.url}/hub/home")
    page.get_by_label("Add a machine").fill(MARKUP)
    page.get_by_role("button", name="Add").click()
    shows_the_name(2)
    page.locator("[data-server-name]").get_by_role("link", name="Start").click()
    expect(page.get_by_role("heading", name="Start a machine")).to_be_visible()
    shows_the_name(2)
    choose(page, "2x H100")
    page.get_by_role("button", name="Join the line").click()
    expect(headline(page)).to_have_text("1st in line")
    shows_the_name(2)
    page.get_by_role("button", name="Cancel").click()
    expect(headline(page)).to_have_text("Cancelled")
    shows_the_name(2)


def test_who_holds_a_gpu_that_is_lost_is_told(hub, driver, log_in):
    page = log_in("alice")
    choose(page, "1x H100")
    page.get_by_role("button", name="Start").click()
    in_the_lab(page)
    (uuid,) = hub.gpus_held()["alice"]
    page.goto(f"{hub.url}/hub/home")
    expect(page.get_by_role("alert")).to_have_count(0)

    next(gpu for gpu in driver.gpus if gpu.uuid == uuid).lose()

    hub.until(lambda: ") is lost:" in hub.log.read_text(), "the hub knows of it")
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("A GPU of this machine is lost")
    assert hub.gpus_held()["alice"] == [uuid]
