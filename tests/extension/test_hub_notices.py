"""What the hub tells, as people in JupyterLab see it and answer it: real server, real browser; the service is
a stand-in."""

import re
import time

import pytest
from playwright.sync_api import expect

from fixtures.browser import PATIENCE_SECONDS
from fixtures.waiting import until

expect.set_options(timeout=PATIENCE_SECONDS * 1000)

BOX = {"machine": "h100", "title": "1x H100", "started": 1.0, "ends": None, "server": ""}


@pytest.fixture(scope="module")
def lab(start_lab):
    return start_lab(BOX)


@pytest.fixture
def open_lab(lab, service, new_page):
    def open_lab(wrong_by_seconds=0, **options):
        page = new_page(**options)
        page.add_init_script(
            f"window.wrongBy = {wrong_by_seconds}; const right = Date.now;"
            " Date.now = () => right() + 1000 * window.wrongBy;"
        )
        page.goto(f"{lab.url}lab?token={lab.token}")
        expect(page.locator(".jp-Launcher").first).to_be_visible()
        return page

    yield open_lab
    for _, told in list(service.open):
        service.say("closed", id=told["id"])
    service.open.clear()
    service.heard.clear()
    service.answers.clear()


def warn(service, kind, sentence, seconds=None, number=3):
    due = None if seconds is None else time.time() + seconds
    service.say("notice", id=number, kind=kind, sentence=sentence, told_at=time.time(), due_at=due)


def set_hidden(page, is_hidden):
    """As if the person went to another tab of the browser, or came back."""
    page.evaluate(
        """isHidden => {
          Object.defineProperty(document, "hidden", { configurable: true, get: () => isHidden });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        is_hidden,
    )


def toast(page, words):
    return page.get_by_role("alert").filter(has_text=words)


def test_an_idle_machine_counts_down_and_one_click_keeps_it(open_lab, service):
    page = open_lab()
    warn(service, "idle", "No GPU work for an hour: this machine will be stopped.", 600)
    notice = toast(page, "No GPU work for an hour")
    expect(notice).to_contain_text("Stops in 9\u00a0min.")
    notice.get_by_role("button", name="Keep my machine").click()
    until(lambda: service.of("leases/7/keep") == [{}], "the service is asked to keep it")
    expect(notice).to_be_visible()
    service.say("closed", id=3)
    expect(notice).to_be_hidden()


def test_a_notice_closed_on_one_page_is_gone_from_the_other(open_lab, service):
    pages = open_lab(), open_lab()
    warn(service, "budget", "80 % of your budget is used.")
    for page in pages:
        expect(toast(page, "80 % of your budget")).to_be_visible()
    toast(pages[0], "80 %").get_by_role("button", name="Close").click()
    for page in pages:
        expect(toast(page, "80 %")).to_be_hidden()
    assert service.of("notices/3/close") == [{}]


def test_a_notice_closed_while_a_page_was_hidden_is_gone_when_it_is_seen_again(open_lab, service):
    page = open_lab()
    warn(service, "budget", "80 % of your budget is used.")
    warn(service, "lost", "A GPU of this machine is lost.", number=4)
    expect(toast(page, "80 % of your budget")).to_be_visible()
    with page.expect_event("websocket") as again:
        set_hidden(page, True)
        until(lambda: not service.of("notices/3/close"), "it is still open")
        service.say("closed", id=3)
        expect(toast(page, "80 % of your budget")).to_be_visible()
        set_hidden(page, False)
    assert again.value.url.partition("?")[0].endswith("gpubox/api/stream")
    expect(toast(page, "80 % of your budget")).to_be_hidden()
    expect(toast(page, "A GPU of this machine is lost.")).to_be_visible()


def test_what_was_told_before_the_page_came_is_told_to_it(open_lab, service):
    warn(service, "lost", "A GPU of this machine is lost.")
    expect(toast(open_lab(), "A GPU of this machine is lost.")).to_be_visible()


def test_a_refusal_is_shown_in_the_hubs_words(open_lab, service):
    service.answers["leases/7/extend"] = (409, {"message": "It may not run longer."})
    page = open_lab()
    warn(service, "end", "This machine will be stopped.", 300)
    toast(page, "will be stopped").get_by_role("button", name="One hour more").click()
    expect(toast(page, "It may not run longer.")).to_be_visible()
    assert service.of("leases/7/extend") == [{"seconds": 3600}]


@pytest.mark.parametrize(
    ("left", "button", "asked"), [(20 * 60, "20\u00a0min more", 20 * 60), (7 * 3600, "One hour more", 3600)]
)
def test_the_end_is_put_off_as_far_as_there_is_time(open_lab, service, left, button, asked):
    ends = float(int(time.time()) + 300)
    service.say("lease", id=7, ends_at=ends, latest_end=ends + left)
    page = open_lab()
    warn(service, "end", "This machine will be stopped.", 300)
    toast(page, "will be stopped").get_by_role("button", name=button).click()
    until(lambda: service.of("leases/7/extend") == [{"seconds": asked}], "so much is asked for")


def test_an_end_that_cannot_be_put_off_is_told_without_a_button(open_lab, service):
    ends = time.time() + 300
    service.say("lease", id=7, ends_at=ends, latest_end=ends)
    page = open_lab()
    warn(service, "end", "This machine will be stopped.", 300)
    expect(toast(page, "will be stopped")).to_contain_text("Stops in 4")
    expect(toast(page, "will be stopped").get_by_role("button", name="more")).to_have_count(0)


def test_a_notice_is_read_out_once_though_its_minutes_pass(open_lab, service):
    page = open_lab()
    warn(service, "idle", "It does nothing.", 170)
    notice = toast(page, "It does nothing.")
    expect(notice).to_contain_text("Stops in 2\u00a0min.")
    expect(notice).not_to_have_attribute("aria-live", "off")
    for seconds, words in ((60, "1\u00a0min"), (35, "[4-8]0\u00a0s")):
        page.evaluate(f"window.wrongBy += {seconds}")
        expect(notice).to_contain_text(re.compile(f"Stops in {words}."))
        expect(notice).to_have_attribute("aria-live", "off")


def test_the_status_bar_counts_the_last_minutes_down(open_lab, service):
    page = open_lab()
    status = page.locator(".gb-Status")
    now = time.time()
    service.say("lease", id=7, ends_at=now + 3600, latest_end=None)
    warn(service, "lost", "A GPU of this machine is lost.", 60)  # no word of an end
    expect(toast(page, "is lost")).to_be_visible()
    expect(status).to_be_hidden()
    service.say("lease", id=7, ends_at=now + 590, latest_end=None)
    expect(status).to_have_text(re.compile("^Stops in 9\u00a0min\u00a0[0-4]\\d\u00a0s$"))
    expect(status).to_have_class(re.compile("gb-mod-ending"))
    warn(service, "idle", "It does nothing.", 100, number=4)
    expect(status).to_contain_text("Stops in 1\u00a0min")
    service.say("closed", id=4)
    expect(status).to_contain_text(re.compile("Stops in [89]\u00a0min"))
    service.say("lease", id=7, ends_at=None, latest_end=None)
    expect(status).to_be_hidden()


def test_time_is_counted_by_the_servers_clock(open_lab, service):
    service.say("lease", id=7, ends_at=time.time() + 300, latest_end=None)
    page = open_lab(wrong_by_seconds=3600)
    warn(service, "idle", "It does nothing.", 300)
    expect(toast(page, "It does nothing.")).to_contain_text("Stops in 4")
    expect(page.locator(".gb-Status")).to_contain_text("Stops in 4")


def test_more_than_fits_is_cut_at_a_sentence_and_can_be_read_whole(open_lab, service):
    page = open_lab()
    story = "a long story " * 20 + "and its end."
    warn(service, "ask", f"Bob asks whether you still need it. He says: {story}")
    notice = toast(page, "Bob asks whether you still need it.")
    expect(notice).not_to_contain_text("a long story")
    notice.get_by_role("button", name="Read it all").click()
    expect(page.get_by_role("dialog")).to_contain_text("and its end.")
    page.get_by_role("button", name="Ok").click()
    expect(notice).to_be_visible()


def test_who_is_asked_to_let_go_finds_the_hub(open_lab, service):
    page = open_lab()
    warn(service, "ask", "Ben asks whether you still need it.")
    with page.context.expect_page() as hub:
        toast(page, "Ben asks").get_by_role("button", name="Stop my machine…").click()
    hub.value.wait_for_url("**/hub/home")


def test_who_is_asked_to_let_go_may_keep_it(open_lab, service):
    page = open_lab()
    warn(service, "ask", '<img src=x onerror="window.hacked=1"> asks whether you still need it.')
    notice = toast(page, "asks whether you still need it.")
    expect(notice).to_contain_text("<img src=x")
    notice.get_by_role("button", name="Keep it").click()
    until(lambda: service.of("notices/3/close"), "it is closed")
    assert not page.evaluate("window.hacked")


def test_the_panel_offers_as_much_more_time_as_there_is(open_lab, service):
    page = open_lab(timezone_id="Asia/Tokyo")
    now = float(int(time.time()))
    latest = now + 1800 + 7 * 3600
    service.say("lease", id=7, ends_at=now + 1800, latest_end=latest)
    page.evaluate("void window.jupyterapp.commands.execute('gpubox:open-panel')")
    more = page.get_by_label("Let this machine run longer")
    expect(more).to_be_visible()
    until_latest = re.compile(f"^until .*{clock(latest)}.*, the latest$")
    expect(more.locator("option")).to_have_text(["Extend", "1 hour more", "6 hours more", until_latest])
    more.select_option(index=2)
    until(lambda: service.of("leases/7/extend") == [{"seconds": 21600}], "six hours are asked for")
    service.heard.clear()
    more.select_option(index=3)
    until(lambda: service.of("leases/7/extend") == [{"seconds": 7 * 3600}], "all there is is asked for")
    panel = page.get_by_role("region", name="GPU panel")
    expect(panel).to_contain_text("29\u00a0min")
    service.say("lease", id=7, ends_at=now + 1800 + 21600, latest_end=latest)
    expect(panel).to_contain_text("6\u00a0h\u00a029\u00a0min")
    expect(panel.locator(".gb-Box")).to_contain_text(clock(now + 1800 + 21600))
    expect(more.locator("option")).to_have_text(["Extend", "1 hour more"])
    service.say("lease", id=7, ends_at=latest, latest_end=latest)
    expect(more).to_be_hidden()


def clock(at):
    """Hours and minutes in Tokyo, which has no summer time, as an English page writes them."""
    return time.strftime("%I:%M", time.gmtime(at + 9 * 3600))


def test_the_panel_counts_the_last_hour_down_second_by_second(open_lab, service):
    page = open_lab()
    service.say("lease", id=7, ends_at=time.time() + 3600 + 2.5, latest_end=None)
    page.evaluate("void window.jupyterapp.commands.execute('gpubox:open-panel')")
    left = page.locator(".gb-Box-left")
    expect(left).to_have_text(re.compile("^59\u00a0min\u00a0\\d\\d\u00a0s$"))
    seen = left.inner_text()
    expect(left).not_to_have_text(seen)
    machine = page.get_by_role("region", name="This machine")
    assert machine.locator("[aria-live], [role=status], [role=timer]").filter(has=left).count() == 0
    expect(machine).not_to_have_class(re.compile("gb-mod-ending"))
    service.say("lease", id=7, ends_at=time.time() + 500, latest_end=None)
    expect(machine).to_have_class(re.compile("gb-mod-ending"))


@pytest.fixture(autouse=True)
def a_lease(service, lab):
    until(lambda: service.streams, "the box listens", lab.log)
    service.say("lease", id=7, ends_at=None, latest_end=None)
