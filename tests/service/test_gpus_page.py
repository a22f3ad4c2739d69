"""The GPUs page in a browser, against a real hub and its service."""

import os
import re
import signal

import psutil
import pytest
from playwright.sync_api import expect

from fixtures.browser import PATIENCE_SECONDS

expect.set_options(timeout=PATIENCE_SECONDS * 1000)


@pytest.fixture(autouse=True)
def nobody_holds_anything(hub, people):
    yield
    hub.stop_all()


@pytest.fixture
def gpus_page(hub, people, new_page):
    """Opens the GPUs page of somebody who logs in; `reloads` counts how often it was loaded since."""

    def gpus_page(name, **options):
        page = new_page(**options)
        page.goto(f"{hub.url}/services/gpubox/")
        page.get_by_label("Username:").fill(name)
        page.get_by_label("Password:").first.fill(hub.password)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="GPUs", level=1)).to_be_visible()
        expect(page.get_by_role("article")).to_have_count(2)
        page.evaluate("window.isTheSamePage = true")
        return page

    return gpus_page


def card(page, index):
    return page.get_by_role("article", name=f"GPU {index}", exact=True)


def is_the_same(page):
    return page.evaluate("window.isTheSamePage === true")


def test_a_machine_that_starts_is_on_everybodys_page_at_once(hub, gpus_page):
    alice, bob = gpus_page("alice"), gpus_page("bob")
    expect(card(bob, 0)).to_contain_text("Free")

    hub.run("alice", "h100")

    expect(card(bob, 0)).to_contain_text("In use")
    expect(card(bob, 0)).to_contain_text("alice")
    expect(card(bob, 0)).not_to_contain_text("you")
    expect(card(bob, 0).get_by_role("button", name="Ask alice to let go")).to_be_visible()
    expect(card(alice, 0)).to_contain_text("you")
    expect(card(alice, 0).get_by_role("button", name="Stop your 1x H100")).to_be_visible()
    assert is_the_same(bob) and is_the_same(alice)


def test_a_user_stops_their_own_machine(hub, gpus_page):
    hub.run("alice", "h100")
    page = gpus_page("alice")

    card(page, 0).get_by_role("button", name="Stop your 1x H100").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop it").click()

    expect(card(page, 0)).to_contain_text("Free")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert not hub.open_leases()


def test_going_back_stops_nothing(hub, gpus_page):
    hub.run("alice", "h100")
    page = gpus_page("alice")
    button = card(page, 0).get_by_role("button", name="Stop your 1x H100")

    button.click()
    expect(page.get_by_role("dialog").get_by_role("button", name="Back")).to_be_focused()
    page.keyboard.press("Escape")

    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(button).to_be_focused()
    assert len(hub.open_leases()) == 1


def test_what_the_hub_refuses_is_said_in_the_dialog(hub, gpus_page):
    hub.run("alice", "h100")
    page = gpus_page("alice")
    card(page, 0).get_by_role("button", name="Stop your 1x H100").click()
    hub.stop("alice")

    page.get_by_role("dialog").get_by_role("button", name="Stop it").click()

    expect(page.get_by_role("dialog").get_by_role("alert")).to_have_text(
        "That machine or place in line has been given back already."
    )


def test_an_admin_drains_a_gpu_and_everybody_sees_why(hub, gpus_page):
    admin, bob = gpus_page("root-of-all"), gpus_page("bob")
    expect(card(bob, 1).get_by_role("button", name="Actions for GPU 1")).to_be_hidden()

    card(admin, 1).get_by_role("button", name="Actions for GPU 1").click()
    admin.get_by_role("menuitem", name="Drain…").click()
    admin.get_by_label("Reason").fill("A <b>fan</b> is loud")
    admin.get_by_role("dialog").get_by_role("button", name="Drain").click()

    expect(card(bob, 1)).to_contain_text("Drained")
    expect(card(bob, 1)).to_contain_text("A <b>fan</b> is loud")
    card(admin, 1).get_by_role("button", name="Actions for GPU 1").click()
    admin.get_by_role("menuitem", name="Serve again").click()
    expect(card(bob, 1)).to_contain_text("Free")
    assert is_the_same(bob)


def test_the_keyboard_alone_drains_and_serves_again(hub, gpus_page):
    page = gpus_page("root-of-all")
    button = card(page, 1).get_by_role("button", name="Actions for GPU 1")
    while not button.evaluate("button => button === document.activeElement"):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("menuitem", name="Drain…")).to_be_focused()
    page.keyboard.press("Escape")
    expect(button).to_be_focused()

    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Reason")).to_be_focused()
    page.keyboard.type("repasting")
    page.keyboard.press("Enter")
    expect(card(page, 1)).to_contain_text("Drained")

    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("menuitem", name="Serve again")).to_be_focused()
    page.keyboard.press("Enter")
    expect(card(page, 1)).to_contain_text("Free")


def test_an_admin_ends_a_machine_whose_holder_is_named(hub, gpus_page):
    hub.run("alice", "h100")
    page = gpus_page("root-of-all")

    card(page, 0).get_by_role("button", name="Actions for GPU 0, held by alice").click()
    page.get_by_role("menuitem", name="End…").click()
    dialog = page.get_by_role("dialog", name="End this machine?")
    expect(dialog).to_contain_text("alice holds it: 1x H100")
    dialog.get_by_role("button", name="End it").click()

    expect(card(page, 0)).to_contain_text("Free")
    assert not hub.open_leases()


def test_who_waits_stands_first_on_their_own_page_and_may_leave(hub, gpus_page):
    hub.run("alice", "h100")
    hub.run("bob", "h100")
    hub.ask_for("carol", "h100")
    hub.until(lambda: len(hub.open_leases()) == 3, "carol waits")
    hub.ask_for("dan", "h100")
    hub.until(lambda: len(hub.open_leases()) == 4, "dan waits")
    dan, bob = gpus_page("dan"), gpus_page("bob")
    line = bob.locator("#gb-line-list > li")
    expect(line).to_have_count(2)
    expect(line.first).to_contain_text("carol")
    expect(dan.locator("#gb-line-list > li").first).to_contain_text("dan")
    expect(dan.locator("#gb-line-list > li").first).to_contain_text("2nd")

    dan.get_by_role("button", name="Leave the line").click()
    dan.get_by_role("dialog").get_by_role("button", name="Leave the line").click()

    expect(line).to_have_count(1)
    expect(dan.get_by_role("button", name="Leave the line")).to_have_count(0)
    assert {lease["user"] for lease in hub.open_leases()} == {"alice", "bob", "carol"}


def test_the_day_shows_who_held_what(hub, gpus_page):
    hub.run("alice", "h100")
    page = gpus_page("bob")
    held = page.get_by_role("group", name="GPU 0, H100 80GB HBM3: who held it").get_by_role("button")
    expect(held.last).to_have_accessible_name(re.compile("^alice, 1x H100, .+ to now, "))
    before = held.count()

    hub.stop("alice")
    hub.run("bob", "h100")

    expect(held.last).to_have_accessible_name(re.compile(r"^bob \(you\), "))
    assert held.count() == before + 1
    page.get_by_role("button", name="The day before").click()
    expect(held).to_have_count(0)


def services(hub):
    return [
        process
        for process in psutil.Process(hub.process.pid).children(recursive=True)
        if "gpubox.service" in process.cmdline()
    ]


def test_a_killed_service_comes_back_and_the_page_goes_on(hub, gpus_page):
    page = gpus_page("bob")
    (service,) = services(hub)
    hold = page.locator("#gb-connection")
    # Nothing starts it again before the page has seen that it is gone.
    os.kill(hub.process.pid, signal.SIGSTOP)
    try:
        service.kill()
        expect(hold).to_have_text("Reconnecting…")
    finally:
        os.kill(hub.process.pid, signal.SIGCONT)

    hub.run("alice", "h100")

    expect(card(page, 0)).to_contain_text("alice")
    expect(hold).to_have_text("")
    assert is_the_same(page)


def test_home_leads_to_the_gpus(hub, gpus_page):
    page = gpus_page("bob")
    page.goto(f"{hub.url}/hub/home")
    page.get_by_role("main").get_by_role("link", name="GPUs").click()
    expect(page.get_by_role("heading", name="GPUs", level=1)).to_be_visible()
