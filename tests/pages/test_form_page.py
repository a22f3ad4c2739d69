"""The options form on JupyterHub's spawn page, and what every page has in common."""

import json

from playwright.sync_api import expect

from pages.conftest import ANNOUNCEMENT

REFRESH_MILLISECONDS = 11_000


def open_form(hub, page, where=""):
    page.goto(f"{hub.url}/hub/spawn{where}")
    expect(page.get_by_role("heading", name="Start a machine")).to_be_visible()


def test_free_machine_is_chosen_and_started(hub, signed_in):
    page = signed_in("ada")
    open_form(hub, page)

    expect(page.get_by_role("radio", name="CPU")).to_be_checked()
    page.get_by_role("button", name="Start").click()

    expect(page.get_by_text("The server answers")).to_be_visible()
    assert hub.server("ada")["user_options"] == {"machine": "free"}


def test_card_tells_its_figures_and_price_to_a_screen_reader(hub, signed_in):
    page = signed_in("ben")
    open_form(hub, page)

    radio = page.get_by_role("radio", name="1x H100")
    expect(radio).to_have_accessible_description("$2.50 an hour In use, 2 in line")


def test_machine_that_may_not_be_started_says_why(hub, signed_in):
    page = signed_in("cleo")
    open_form(hub, page)

    expect(page.get_by_role("radio", name="8x H100")).to_be_disabled()
    expect(page.get_by_text("For members of: vision-lab")).to_be_visible()


def test_figures_stay_current_and_choice_and_focus_stay(hub, signed_in):
    page = signed_in("dora")
    open_form(hub, page)
    radio = page.get_by_role("radio", name="1x H100")
    radio.focus()
    radio.press("Space")
    expect(page.get_by_role("button", name="Join the line")).to_be_visible()

    before = json.loads((hub.gates / "figures").read_text())
    hub.set_figures(free=1, waiting=0)
    page.clock.fast_forward(REFRESH_MILLISECONDS)

    expect(page.get_by_text("1 of 1 free").first).to_be_visible()
    expect(radio).to_be_checked()
    expect(radio).to_be_focused()
    expect(page.get_by_role("button", name="Start")).to_be_visible()
    hub.set_figures(**before)


def test_keyboard_alone_starts_cancels_and_comes_back(hub, signed_in):
    page = signed_in("emil")
    open_form(hub, page)
    while not page.get_by_role("radio", name="CPU").evaluate("radio => radio === document.activeElement"):
        page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("radio", name="1x H100")).to_be_checked()
    page.keyboard.press("Enter")
    expect(page.locator("#headline")).to_have_text("2nd in line")

    cancel = page.get_by_role("button", name="Cancel")
    while not cancel.evaluate("button => button === document.activeElement"):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Choose a machine")).to_be_focused()
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", name="Start a machine")).to_be_visible()


def test_form_names_the_server_that_it_is_for(hub, signed_in):
    name = '<i>training</i> / "quoted" & more'
    page = signed_in("fay")
    assert hub.api("PUT", "/users/fay/servers/training", json={"display_name": name}).ok

    open_form(hub, page, "/fay/training")

    expect(page.get_by_text(name, exact=True)).to_be_visible()


def test_address_after_a_refusal_starts_nothing(hub, signed_in):
    page = signed_in("gus")
    open_form(hub, page)
    page.get_by_role("radio", name="4x H100").check(force=True)
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/hub/spawn*/**")
    assert "_xsrf" not in page.url

    open_form(hub, page)

    assert hub.server("gus") == {}


def test_home_lists_machines_and_stops_them(hub, signed_in):
    page = signed_in("hal")
    assert hub.api("PUT", "/users/hal/servers/training", json={"display_name": "My <training>"}).ok
    hub.run("hal", "free")
    page.goto(f"{hub.url}/hub/home")
    expect(page.get_by_text("My <training>")).to_be_visible()
    expect(page.get_by_text("Running")).to_be_visible()

    page.get_by_role("button", name="Stop").click()

    expect(page.get_by_text("Running")).to_have_count(0)
    hub.until(lambda: hub.server("hal") == {}, "hal's server has stopped")


def test_announcement_is_on_every_page_as_text(hub, new_page, signed_in):
    page = new_page()
    for path in ("/hub/login", "/hub/nonsense"):
        page.goto(hub.url + path)
        expect(page.get_by_text(ANNOUNCEMENT, exact=True)).to_be_visible()
    page = signed_in("ida")
    for path in ("/hub/home", "/hub/spawn", "/hub/token"):
        page.goto(hub.url + path)
        expect(page.get_by_text(ANNOUNCEMENT, exact=True)).to_be_visible()


def test_pages_fit_a_phone(hub, signed_in):
    page = signed_in("joe")
    page.set_viewport_size({"width": 360, "height": 740})
    for path in ("/hub/home", "/hub/spawn"):
        page.goto(hub.url + path)
        expect(page.locator("h1")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


def test_what_was_left_goes_on_and_is_deleted_only_when_asked_twice(hub, signed_in):
    page = signed_in("una")
    open_form(hub, page)
    left, afresh = page.get_by_role("radio", name="As I left it"), page.get_by_role("radio", name="Afresh")
    expect(left).to_be_checked()
    expect(page.get_by_text("3.0 GB changed")).to_be_visible()
    template = page.get_by_label("Start from")
    expect(template).to_be_disabled()

    # A machine that does not keep anything is no way to go on.
    page.get_by_role("radio", name="1x H100").check(force=True)
    page.get_by_role("button", name="Join the line").click()
    told = "radio => radio.validationMessage"
    assert "choose one that does" in page.get_by_role("radio", name="1x H100").evaluate(told)
    page.get_by_role("radio", name="CPU").check(force=True)
    assert page.get_by_role("radio", name="CPU").evaluate(told) == ""

    afresh.check()
    expect(template).to_be_enabled()
    questions = []
    page.once("dialog", lambda dialog: (questions.append(dialog.message), dialog.dismiss()))
    page.get_by_role("button", name="Start").click()
    assert "Delete what you installed" in questions[0]
    expect(page.get_by_role("button", name="Start")).to_be_enabled()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_text("The server answers")).to_be_visible()
    wanted = {"machine": "free", "fresh": "0123456789abcdef", "template": ""}
    assert hub.server("una")["user_options"] == wanted


def test_a_link_to_a_template_chooses_a_machine_of_its_kind(hub, signed_in):
    page = signed_in("vera")
    page.goto(f"{hub.url}/hub/spawn#template=vera/disk")
    expect(page.get_by_role("radio", name="A machine")).to_be_checked()
    expect(page.get_by_text("Your machine is there as you left it. To start from vera/disk")).to_be_visible()
    page.get_by_role("radio", name="Afresh").check()
    expect(page.get_by_label("Start from")).to_have_value("vera/disk:1")


def test_what_is_of_virtual_machines_is_offered_with_them_alone(hub, signed_in):
    page = signed_in("vera")
    open_form(hub, page)
    cpu, machine = page.get_by_role("radio", name="CPU"), page.get_by_role("radio", name="A machine")
    left, template = page.get_by_role("radio", name="As I left it"), page.get_by_label("Start from")
    cpu.check(force=True)
    expect(left).to_be_hidden()
    expect(template).to_be_enabled()
    assert template.locator("option:enabled").all_text_contents() == [
        "The machine's own image",
        "lab, version 1",
    ]
    template.select_option("vera/lab:1")
    machine.check(force=True)
    expect(left).to_be_visible()
    expect(template).to_have_value("")
    page.get_by_role("radio", name="Afresh").check()
    expect(template).to_be_enabled()
    template.select_option("vera/disk:1")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_text("The server answers")).to_be_visible()
    wanted = {"machine": "vm", "fresh": "0123456789abcdef", "template": "vera/disk:1"}
    assert hub.server("vera")["user_options"] == wanted
