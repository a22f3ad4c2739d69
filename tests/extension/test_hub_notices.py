"""What the hub tells, as people in JupyterLab see it and answer it: real server, real browser; the service is
a stand-in."""

import json
import time

import pytest
from playwright.sync_api import expect

from extension.service_stand_in import TOKEN, StandInService
from fixtures.browser import PATIENCE_SECONDS
from fixtures.jupyter import JupyterServer, until

expect.set_options(timeout=PATIENCE_SECONDS * 1000)

BOX = {"machine": "h100", "title": "1x H100", "started": 1.0, "ends": None, "server": ""}


class Lab(JupyterServer):
    expose_app = True


@pytest.fixture(scope="module")
def service():
    service = StandInService().start()
    yield service
    service.stop()


@pytest.fixture(scope="module")
def lab(tmp_path_factory, service):
    box = json.dumps({**BOX, "service": service.url})
    config = "c = get_config()\nc.LabApp.news_url = None\n"
    home = tmp_path_factory.mktemp("lab")
    lab = Lab(home, None, config=config, GPUBOX_BOX=box, JUPYTERHUB_API_TOKEN=TOKEN)
    yield lab.start()
    lab.stop()


@pytest.fixture
def open_lab(lab, service, new_page):
    def open_lab(**options):
        page = new_page(**options)
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


def test_who_is_asked_to_let_go_may_keep_it(open_lab, service):
    page = open_lab()
    warn(service, "ask", '<img src=x onerror="window.hacked=1"> asks whether you still need it.')
    notice = toast(page, "asks whether you still need it.")
    expect(notice).to_contain_text("<img src=x")
    notice.get_by_role("button", name="Keep it").click()
    until(lambda: service.of("notices/3/close"), "it is closed")
    assert not page.evaluate("window.hacked")


def test_the_panel_offers_as_much_more_time_as_there_is(open_lab, service):
    now = time.time()
    service.say("lease", id=7, ends_at=now + 1800, latest_end=now + 1800 + 7 * 3600)
    page = open_lab()
    page.evaluate("void window.jupyterapp.commands.execute('gpubox:open-panel')")
    more = page.get_by_label("Let this machine run longer")
    expect(more).to_be_visible()
    hours = ["1\u00a0h\u00a000\u00a0min more", "6\u00a0h\u00a000\u00a0min more"]
    assert more.locator("option").all_inner_texts() == ["Extend", *hours]
    more.select_option(index=2)
    until(lambda: service.of("leases/7/extend") == [{"seconds": 21600}], "six hours are asked for")
    expect(page.get_by_role("region", name="GPU panel")).to_contain_text("29\u00a0min")
    service.say("lease", id=7, ends_at=now + 1800 + 21600, latest_end=now + 1800 + 7 * 3600)
    expect(page.get_by_role("region", name="GPU panel")).to_contain_text("6\u00a0h\u00a029\u00a0min")
    expect(more.locator("option")).to_have_count(2)
    service.say("lease", id=7, ends_at=now + 1800 + 7 * 3600, latest_end=now + 1800 + 7 * 3600)
    expect(more).to_be_hidden()


@pytest.fixture(autouse=True)
def a_lease(service, lab):
    until(lambda: service.streams, "the box listens", lab.log)
    service.say("lease", id=7, ends_at=None, latest_end=None)
