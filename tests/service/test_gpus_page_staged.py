"""The GPUs page over labs made up: what no test could fill, or break, in a real one."""

import re

import pytest
from playwright.sync_api import expect

from fixtures.browser import PATIENCE_SECONDS
from fixtures.waiting import until
from service.labs import HOSTILE, Lab, busy_lab, large_lab
from service.stage import CONTRAST, PHONE, fits

expect.set_options(timeout=PATIENCE_SECONDS * 1000)
FROM_RIGHT_TO_LEFT = "مستخدم‮ אבג"


def card(page, index):
    return page.get_by_role("article", name=f"GPU {index}", exact=True)


def line(page):
    return page.locator("#gb-line-list > li")


# --- what is seen -----------------------------------------------------------------------------------


def test_the_first_picture_needs_no_further_answer(stage, look, new_page):
    lab = busy_lab()
    stage.show(lab.state, lab.figures)
    page = new_page()
    page.context.add_cookies([{"name": "as", "value": "alice", "url": stage.url}])
    page.route("**/api/**", lambda route: route.abort())

    page.goto(stage.url)

    expect(page.get_by_role("article")).to_have_count(8)
    expect(card(page, 0)).to_contain_text("93 %")
    expect(line(page)).to_have_count(3)


def test_slices_and_slots_are_parts_of_their_card(look):
    page = look("alice", busy_lab())
    expect(card(page, 4)).to_contain_text("2 of 4 free")
    expect(card(page, 4).locator(".gb-parts > *")).to_have_count(4)
    expect(card(page, 4).locator(".gb-parts > .is-held")).to_have_count(2)
    widths = (
        card(page, 4).locator(".gb-parts > *").evaluate_all("parts => parts.map((one) => one.offsetWidth)")
    )
    assert widths[3] > 2 * widths[0]
    expect(card(page, 4).get_by_role("listitem")).to_have_count(4)
    expect(card(page, 5).locator(".gb-parts > *")).to_have_count(4)
    expect(card(page, 5).get_by_role("listitem")).to_have_count(2)


def test_trouble_and_idleness_are_told(look):
    page = look("alice", busy_lab())
    expect(card(page, 7)).to_contain_text("Lost")
    expect(card(page, 7)).to_contain_text("fallen off the bus")
    expect(card(page, 6)).to_contain_text("A fan is loud")
    expect(card(page, 2)).to_contain_text(re.compile("idle for 1 h"))
    expect(card(page, 1)).not_to_contain_text("idle")


def test_a_number_shows_the_gpus_that_it_counts(look):
    page = look("alice", busy_lab())
    counts = page.get_by_role("group", name="Show only")
    expect(counts.get_by_role("button", name="1 lost")).to_be_visible()
    counts.get_by_role("button", name="3 in use").click()
    expect(page.locator("article:visible")).to_have_count(3)
    counts.get_by_role("button", name="3 in use").click()
    expect(page.locator("article:visible")).to_have_count(8)


def test_a_machine_without_gpus_says_so(look):
    page = look("alice", Lab())
    expect(page.get_by_text("This machine has no GPU")).to_be_visible()
    expect(page.get_by_role("heading", name="Who held what")).to_be_hidden()


def test_of_a_long_line_the_first_are_shown_and_all_on_demand(look):
    page = look("alice", large_lab())
    expect(page.get_by_role("article")).to_have_count(100)
    expect(line(page)).to_have_count(20)
    page.get_by_role("button", name="Show all 1,000").click()
    expect(line(page)).to_have_count(1000)
    expect(line(page).last).to_contain_text("1000th")
    page.get_by_role("button", name="Show the first 20").click()
    expect(line(page)).to_have_count(20)


def test_ones_own_place_is_shown_however_far_back(stage, look):
    lab = large_lab(tickets=300)
    lab.waits("alice", title="2x H100", expected=90)
    page = look("alice", lab)
    expect(line(page).first).to_contain_text("301st")
    expect(line(page).first).to_contain_text("you")
    expect(line(page)).to_have_count(20)


def test_names_stay_text(look):
    lab = Lab()
    first, second = lab.gpu(0, model="NVIDIA H100 80GB HBM3"), lab.gpu(1)
    lab.held(HOSTILE, first, title="<i>1x</i> H100")
    lab.held(FROM_RIGHT_TO_LEFT, second)
    lab.waits(HOSTILE, expected=1)
    page = look("admin", lab, viewport=PHONE)
    expect(card(page, 0).locator(".gb-name")).to_have_text(HOSTILE)
    expect(card(page, 0)).to_contain_text("<i>1x</i> H100")
    expect(card(page, 1).locator("bdi")).to_have_text(FROM_RIGHT_TO_LEFT)
    expect(line(page).first.locator(".gb-name")).to_have_text(HOSTILE)
    expect(page.locator("#hit, main i")).to_have_count(0)
    assert fits(page)


def test_a_name_cannot_end_the_script_that_carries_it(look):
    lab = Lab()
    lab.held("</script><b id=hit>", lab.gpu(0))
    page = look("alice", lab)
    expect(card(page, 0)).to_contain_text("</script><b id=hit>")
    expect(page.locator("#hit")).to_have_count(0)


@pytest.mark.parametrize("lab", [busy_lab, large_lab])
def test_the_page_fits_a_phone(look, lab):
    page = look("admin", lab(), viewport=PHONE, has_touch=True)
    expect(page.locator(".gb-span").first).to_be_attached()
    assert fits(page)
    page.get_by_role("button", name="Toggle navigation").click()
    expect(page.get_by_role("link", name="Usage")).to_be_visible()
    assert fits(page)


WORDS = (
    ".gb-gpu-state",
    ".gb-gpu-figures",
    ".gb-gpu-reason",
    ".gb-seat-facts",
    ".gb-seat-idle",
    ".gb-seat-free",
    ".gb-you",
    ".gb-quiet",
    ".gb-place-since",
    ".gb-place-expected",
    ".gb-span-name",
    ".gb-day-axis span",
    ".nav-link.active",
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read_in_light_and_dark(look, scheme):
    page = look("alice", busy_lab(), color_scheme=scheme)
    expect(page.locator(".gb-span").first).to_be_visible()
    assert page.evaluate("document.documentElement.dataset.bsTheme") == scheme
    for words in WORDS:
        for element in page.locator(words).all():
            if element.is_visible():
                assert element.evaluate(CONTRAST) >= 4.5, (words, element.text_content())
    # A name in a bar, in every colour that a holder may have.
    name = page.locator(".gb-span-name").first
    for colour in range(10):
        name.evaluate(
            f"name => name.parentElement.style.setProperty('--gb-colour', 'var(--gb-holder-{colour})')"
        )
        assert name.evaluate(CONTRAST) >= 4.5, colour


# --- the day ----------------------------------------------------------------------------------------


def test_a_day_tells_who_held_what_and_can_be_walked_through_by_keyboard(stage, look):
    page = look("alice", busy_lab())
    bar = page.get_by_role("group", name=re.compile("^GPU 0, "))
    last = bar.get_by_role("button").last
    expect(last).to_have_accessible_name(
        re.compile(r"^alice \(you\), 1x H100, .+ to now, 2 h \d+ min, busy \d+ %")
    )
    first = page.locator(".gb-span").first
    first.focus()
    expect(page.locator(".gb-tip")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(bar.get_by_role("button").nth(1)).to_be_focused()
    assert page.locator('.gb-span[tabindex="0"]').count() == 1

    page.get_by_role("button", name="The day before").click()
    expect(page.get_by_role("button", name="The day after")).to_be_enabled()
    assert any(re.search(r"history\?day=\d{4}-\d\d-\d\d$", asked) for asked in stage.got)
    page.get_by_role("button", name="The day after").click()
    expect(page.get_by_role("button", name="The day after")).to_be_disabled()


def test_the_day_is_looked_at_again_when_the_first_of_all_gpus_is_taken(stage, look):
    lab = Lab()
    uuid = lab.gpu(0)
    page = look("alice", lab)
    bar = page.get_by_role("group", name=re.compile("^GPU 0, "))
    expect(bar).to_be_visible()
    before = len(stage.got)
    lab.held("ben", uuid)
    stage.show(lab.state)
    until(lambda: any("history" in asked for asked in stage.got[before:]), "the day is asked for again")
    expect(bar.get_by_role("button").last).to_have_accessible_name(re.compile("^ben, 1x H100"))


def test_no_history_is_a_sentence_and_the_rest_works(stage, look):
    page = look("alice", busy_lab())
    stage.answers["history"] = 503
    page.reload()
    expect(page.locator("#gb-day-said")).to_have_text("No history today.")
    expect(page.get_by_role("article")).to_have_count(8)


# --- what is done -----------------------------------------------------------------------------------


def test_a_second_click_does_nothing_twice(stage, look):
    page = look("alice", busy_lab())
    stage.hub.may_answer.clear()
    card(page, 0).get_by_role("button", name="Stop your 1x H100").click()
    button = page.get_by_role("dialog").get_by_role("button", name=re.compile("Stop"))
    button.click()
    expect(button).to_have_text("Stopping…")
    button.click(force=True)
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_visible()
    stage.hub.may_answer.set()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert [what for what, _ in stage.hub.asked] == ["end"]


def test_a_gpu_that_is_being_taken_back_offers_nothing_meanwhile(stage, look):
    page = look("admin", busy_lab())
    stage.hub.may_answer.clear()
    button = card(page, 6).get_by_role("button", name="Actions for GPU 6")
    button.click()
    page.get_by_role("menuitem", name="Serve again").click()
    expect(card(page, 6)).to_contain_text("Taking back into service…")
    expect(button).to_be_disabled()
    button.click(force=True)
    expect(page.get_by_role("menu")).to_have_count(0)
    stage.hub.may_answer.set()
    expect(button).to_be_enabled()
    expect(button).to_be_focused()
    assert [what for what, _ in stage.hub.asked] == ["undrain"]


def test_the_focus_stays_with_the_card_whose_machine_has_gone(stage, look):
    lab = busy_lab()
    page = look("alice", lab)
    card(page, 0).get_by_role("button", name="Stop your 1x H100").focus()
    lab.gpus[0] |= {"holders": [], "state": "ready"}
    stage.show(lab.state)
    expect(card(page, 0)).to_contain_text("Free")
    expect(card(page, 0)).to_be_focused()


def test_a_holder_is_asked_with_ones_words(stage, look):
    page = look("alice", busy_lab())
    card(page, 1).get_by_role("button", name="Ask ben to let go of GPU 1").click()
    dialog = page.get_by_role("dialog", name="Ask to let go")
    expect(dialog.get_by_label("Your words (optional)")).to_be_focused()
    dialog.get_by_label("Your words (optional)").fill("the deadline is tonight")
    page.keyboard.press("Enter")
    expect(card(page, 1)).to_contain_text("Asked. They see it in their JupyterLab.")
    assert stage.posted == [("leases/2/ask", '{"words":"the deadline is tonight"}')]


def test_a_machine_is_let_run_longer_as_far_as_the_rules_allow(stage, look):
    lab = busy_lab()
    lab.leases[0]["latest_end"] = lab.leases[0]["ends_at"] + 1800
    page = look("alice", lab)
    button = card(page, 0).get_by_role("button", name="Actions for GPU 0, held by you")
    button.click()
    page.get_by_role("menuitem", name="30 min longer").click()
    until(lambda: stage.hub.asked == [("extend", {"lease": 1, "seconds": 1800})], "so much is asked for")

    lab.leases[0]["ends_because"], lab.leases[0]["latest_end"] = "budget", lab.leases[0]["ends_at"]
    stage.show(lab.state)
    expect(card(page, 0)).to_contain_text("the budget is used up")
    expect(button).to_be_hidden()


def test_an_admin_moves_people_in_the_line(stage, look):
    page = look("admin", busy_lab())
    stage.hub.may_answer.clear()
    page.get_by_role("button", name="Actions for hana's place in line").click()
    page.get_by_role("menuitem", name="Move to the front").click()
    moving = page.locator(".gb-place-row .gb-said").filter(has_text="Moving…")
    expect(moving).to_be_visible()
    stage.hub.may_answer.set()
    expect(moving).to_have_count(0)
    assert stage.hub.asked == [("move", {"lease": 9, "to": "first"})]


def test_a_menu_is_closed_by_its_button_and_by_a_click_elsewhere(look):
    page = look("admin", busy_lab())
    button = card(page, 0).get_by_role("button", name="Actions for GPU 0", exact=True)
    for closing in (button, page.get_by_role("heading", name="GPUs", level=1)):
        button.click()
        expect(page.get_by_role("menu")).to_be_visible()
        expect(button).to_have_attribute("aria-expanded", "true")
        closing.click()
        expect(page.get_by_role("menu")).to_have_count(0)
        expect(button).to_have_attribute("aria-expanded", "false")


def test_notices_are_shown_as_text_and_closed(stage, look):
    sentence = "ben asks you to let go: <b id=hit>please</b>"
    stage.answers["notices"] = {
        "notices": [
            {"id": 7, "kind": "ask", "server": None, "sentence": sentence, "told_at": 1, "due_at": None}
        ]
    }
    for path in ("", "usage"):
        page = look("alice", busy_lab(), path=path)
        expect(page.get_by_text(sentence)).to_be_visible()
        page.get_by_role("button", name=f"Close: {sentence}").click()
        expect(page.get_by_text(sentence)).to_have_count(0)
    assert [path for path, _ in stage.posted] == ["notices/7/close"] * 2


def test_a_page_that_is_refused_loads_itself_once_and_no_more(stage, look, new_page):
    lab = busy_lab()
    stage.show(lab.state, lab.figures)
    page = new_page()
    page.add_init_script("sessionStorage.loads = Number(sessionStorage.loads ?? 0) + 1")
    page.route("**/api/events", lambda route: route.fulfill(status=401, body="{}"))
    page.goto(stage.url)
    expect(page.locator("#gb-connection")).to_have_text("You are logged out: load this page again.")
    assert page.evaluate("sessionStorage.loads") == "2"


def test_a_page_whose_script_did_not_come_loads_itself_once_more(stage, new_page):
    lab = busy_lab()
    stage.show(lab.state, lab.figures)
    page = new_page()
    page.route("**/static/daybars.js", lambda route: route.abort(), times=1)
    page.goto(stage.url)
    expect(page.get_by_role("article")).to_have_count(8)


@pytest.mark.parametrize("path", ["", "usage"])
def test_a_page_whose_script_never_comes_says_so(stage, new_page, path):
    page = new_page()
    page.add_init_script("sessionStorage.loads = Number(sessionStorage.loads ?? 0) + 1")
    page.route("**/static/dom.js", lambda route: route.abort())
    page.goto(stage.url + path)
    expect(page.get_by_role("alert")).to_have_text(
        "This page could not be loaded as a whole: load it again in a moment."
    )
    assert page.evaluate("sessionStorage.loads") == "2"
