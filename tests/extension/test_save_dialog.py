"""The panel's button "Save as template" in a real JupyterLab; the hub's service is a stand-in."""

import time

import pytest
from playwright.sync_api import expect

from fixtures.browser import PATIENCE_SECONDS
from fixtures.waiting import until

expect.set_options(timeout=PATIENCE_SECONDS * 1000)

BOX = {"machine": "cpu", "title": "CPU", "started": 1.0, "ends": None, "server": "big-run"}
BEGUN = {
    "id": "a1b2",
    "owner": "ada",
    "server": "big-run",
    "name": "torch-lab",
    "state": "running",
    "words": "Looking at what was changed",
    "size_bytes": 0,
    "version": None,
    "began_at": time.time(),
    "ended_at": None,
    "secrets": [],
}
DONE = BEGUN | {
    "state": "done",
    "words": "Saved as version 1 of torch-lab.",
    "size_bytes": 1_400_000_000,
    "version": 1,
    "ended_at": time.time(),
}
NONE_YET = {"templates": [], "saves": [], "used_bytes": 0, "limit_bytes": None}


@pytest.fixture(scope="module")
def lab(start_lab):
    return start_lab(BOX)


@pytest.fixture(autouse=True)
def nothing_saved(service, lab):
    until(lambda: service.streams, "the box listens", lab.log)
    service.answers |= {"templates": (200, NONE_YET), "templates/save": (200, BEGUN)}
    service.save()
    yield
    service.answers.clear()
    service.heard.clear()


@pytest.fixture
def open_panel(lab, new_page):
    def open_panel(**options):
        page = new_page(**options)
        page.goto(f"{lab.url}lab?token={lab.token}&reset")
        expect(page.locator(".jp-Launcher").first).to_be_visible()
        page.evaluate("void window.jupyterapp.commands.execute('gpubox:open-panel')")
        return page

    return open_panel


def button(page):
    return page.get_by_role("button", name="Save as template", exact=True)


def begin(page, name="torch-lab", note="What it is for"):
    button(page).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Name")).to_be_focused()
    dialog.get_by_label("Name").fill(name)
    dialog.get_by_label("Note").fill(note)
    dialog.get_by_role("button", name="Save", exact=True).click()
    return dialog


def test_the_machine_is_saved_and_each_page_tells_how_far(open_panel, service):
    page, other = open_panel(), open_panel()
    dialog = begin(page)
    until(lambda: service.of("templates/save"), "the hub is asked to save")
    assert service.of("templates/save") == [
        {"server": "big-run", "name": "torch-lab", "note": "What it is for"}
    ]
    service.save(BEGUN | {"words": "Keeping what was changed", "size_bytes": 1_400_000_000})
    expect(dialog).to_contain_text("Keeping what was changed…")
    expect(dialog).to_contain_text("1.4\u00a0GB")
    expect(other.get_by_role("button", name="Saving torch-lab…")).to_be_visible()

    hostile = "/opt/<img src=x onerror=window.hit=1>/.netrc"
    service.save(DONE | {"secrets": ["/opt/lab/.aws/credentials", hostile]})
    expect(dialog).to_contain_text("Saved as version 1 of torch-lab. It takes 1.4\u00a0GB.")
    expect(dialog.get_by_role("listitem")).to_have_text(["/opt/lab/.aws/credentials", hostile])
    expect(dialog).to_contain_text("look like secrets")
    link = dialog.get_by_role("link", name="Templates").get_attribute("href")
    assert link.endswith("/services/gpubox/templates")
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()
    expect(button(page)).to_be_focused()
    assert not page.evaluate("window.hit")


def test_what_the_hub_refuses_is_said_beside_what_was_typed(open_panel, service):
    refusal = "A template cannot be called 'A b': up to 40 lower-case letters."
    service.answers["templates/save"] = (409, {"message": refusal})
    page = open_panel()
    dialog = begin(page, "A b")
    expect(dialog.get_by_role("alert")).to_have_text(refusal)
    expect(dialog.get_by_label("Name")).to_have_value("A b")
    expect(dialog.get_by_label("Note")).to_have_value("What it is for")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert len(service.of("templates/save")) == 1


def test_it_becomes_the_next_version_of_ones_own_template(open_panel, service):
    old = {"number": 2, "secrets": ["/opt/key.pem"]}
    mine = {"name": "torch-lab", "note": "Our loaders", "mine": True, "versions": [old]}
    theirs = mine | {"name": "others", "mine": False}
    told = NONE_YET | {"templates": [mine, theirs], "used_bytes": 2e9, "limit_bytes": 5e9}
    service.answers["templates"] = (200, told)
    page = open_panel()
    button(page).click()
    dialog = page.get_by_role("dialog")
    choice = dialog.get_by_label("Save as")
    expect(choice.locator("option")).to_have_text(["A new template", "Version 3 of torch-lab"])
    expect(dialog).to_contain_text("Your templates take 2.0\u00a0GB of 5.0\u00a0GB.")
    dialog.get_by_label("Name").fill("torch-lab")
    expect(dialog).to_contain_text("this becomes its version 3")
    choice.select_option(label="Version 3 of torch-lab")
    expect(dialog.get_by_label("Name")).to_be_hidden()
    expect(dialog.get_by_label("Note")).to_have_value("Our loaders")
    dialog.get_by_role("button", name="Save", exact=True).click()
    until(lambda: service.of("templates/save"), "the hub is asked to save")
    assert service.of("templates/save") == [{"server": "big-run", "name": "torch-lab", "note": "Our loaders"}]
    service.save(DONE)
    expect(dialog).to_contain_text("Saved as version 1")


def test_a_save_is_cancelled_and_one_is_not_waited_for(open_panel, service):
    page = open_panel()
    dialog = begin(page)
    service.save(BEGUN)
    dialog.get_by_role("button", name="Cancel the save").click()
    until(lambda: service.of("templates/cancel") == [{"save": "a1b2"}], "the hub is asked to end it")
    service.save(BEGUN | {"state": "cancelled", "words": "Cancelled. Nothing was kept.", "ended_at": 1.0})
    expect(page.get_by_role("alert").filter(has_text="Nothing was kept.")).to_be_visible()

    service.save()
    dialog = begin(page)
    service.save(BEGUN)
    dialog.get_by_role("button", name="Work on meanwhile").click()
    expect(dialog).to_be_hidden()
    # The button shows it again, and does not begin another one.
    page.get_by_role("button", name="Saving torch-lab…").click()
    expect(dialog).to_contain_text("Looking at what was changed")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert len(service.of("templates/save")) == 2
    service.save(DONE)
    toast = page.get_by_role("alert").filter(has_text="Saved as version 1 of torch-lab.")
    toast.get_by_role("button", name="Show").click()
    expect(dialog).to_contain_text("It takes 1.4\u00a0GB.")


def test_a_hub_that_began_anew_is_told_of_and_waited_for_no_more(open_panel, service):
    page = open_panel()
    dialog = begin(page)
    service.save(BEGUN)
    expect(dialog).to_contain_text("Looking at what was changed")
    service.save()
    expect(dialog).to_contain_text("Not saved")
    expect(dialog).to_contain_text("The hub began anew meanwhile")
    expect(button(page)).to_have_count(1)


def test_the_dialogs_fit_a_phone_however_far_it_is_scrolled(open_panel, service):
    page = open_panel(viewport={"width": 390, "height": 844})
    dialog = begin(page)
    for told, words in ((BEGUN, "Looking at what was changed"), (DONE, "Saved as version 1")):
        service.save(told)
        expect(dialog).to_contain_text(words)
        page.evaluate("document.documentElement.scrollLeft = document.body.scrollLeft = 1000")
        box = page.locator(".jp-Dialog-content").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390, words
