"""The waiting page: where one stands in line, how it ends, and how to leave."""

import pytest
from playwright.sync_api import expect

from pages.gated import REASON

# Longer than the hub is ever silent: it writes an empty line every 8 seconds.
SILENCE_MILLISECONDS = 20_000


def headline(page):
    return page.locator("#headline")


def test_place_in_line_and_estimate_are_shown(in_line):
    page = in_line("ada")

    expect(headline(page)).to_have_text("2nd in line")
    expect(page.locator("#detail")).to_have_text("About 14 minutes. 3 people are waiting.")
    expect(page.get_by_text("1x H100")).to_be_visible()


def test_server_opens_when_it_is_ready(hub, in_line):
    page = in_line("ben")
    expect(headline(page)).to_have_text("2nd in line")

    hub.let_start("ben")

    expect(page.get_by_text("The server answers")).to_be_visible()
    assert page.url.startswith(f"{hub.url}/user/ben/")


def test_cancel_stops_the_named_server_and_no_other(hub, in_line):
    hub.run("cleo", "free")
    page = in_line("cleo", server="training")
    expect(headline(page)).to_have_text("2nd in line")

    page.get_by_role("button", name="Cancel").click()

    expect(headline(page)).to_have_text("Cancelled")
    assert hub.server("cleo", "training") == {}
    assert hub.is_ready("cleo")
    assert "Ready" not in page.evaluate("headlines")


def test_cancel_stops_the_default_server(hub, in_line):
    page = in_line("dora")
    expect(headline(page)).to_have_text("2nd in line")

    page.get_by_role("button", name="Cancel").click()

    expect(headline(page)).to_have_text("Cancelled")
    assert hub.server("dora") == {}
    page.get_by_role("link", name="Choose a machine").click()
    expect(page.get_by_role("heading", name="Start a machine")).to_be_visible()


@pytest.mark.parametrize(("user", "server"), [("emil", ""), ("fay", "training")])
def test_cancelled_elsewhere_is_never_called_ready(hub, in_line, user, server):
    page = in_line(user, server=server)
    expect(headline(page)).to_have_text("2nd in line")

    hub.stop(user, server)

    expect(headline(page)).to_have_text("Cancelled")
    assert "Ready" not in page.evaluate("headlines")


def test_failure_is_shown_as_its_sentence(hub, signed_in):
    page = signed_in("gus")
    page.goto(f"{hub.url}/hub/spawn")
    page.get_by_role("radio", name="4x H100").check(force=True)
    page.get_by_role("button", name="Start").click()

    # Fails so soon that the hub may answer with the form, the waiting page or "not running".
    expect(page.get_by_text(REASON, exact=True).first).to_be_visible()
    expect(page.get_by_text("SpawnException")).to_have_count(0)

    page.goto(page.url.split("?")[0].replace("/spawn/", "/spawn-pending/"))
    expect(page.get_by_text(REASON, exact=True)).to_be_visible()
    page.get_by_role("link", name="Try again").click()
    expect(page.get_by_role("heading", name="Start a machine")).to_be_visible()


def test_failure_while_the_page_is_open(hub, in_line):
    page = in_line("hal")
    expect(headline(page)).to_have_text("2nd in line")

    (hub.gates / "fail-hal").touch()

    expect(headline(page)).to_have_text("Your machine could not be started")
    expect(page.locator("#detail")).to_have_text(REASON)
    expect(page.get_by_role("link", name="Try again")).to_be_focused()


def test_restart_of_the_hub_resumes_the_start(hub, in_line):
    page = in_line("ida", server="training")
    expect(headline(page)).to_have_text("2nd in line")

    hub.kill()
    page.clock.fast_forward(SILENCE_MILLISECONDS)
    expect(headline(page)).to_have_text("Reconnecting…")
    hub.start()

    expect(headline(page)).to_have_text("2nd in line")
    expect(page.get_by_text("1x H100")).to_be_visible()
    assert hub.server("ida", "training")["user_options"] == {"machine": "line"}
    hub.let_start("ida")
    expect(page.get_by_text("The server answers")).to_be_visible()
    assert page.url.startswith(f"{hub.url}/user/ida/training/")


def test_connection_that_breaks_is_no_lost_hub(in_line):
    page = in_line("mia")
    expect(headline(page)).to_have_text("2nd in line")

    page.route("**/progress*", lambda route: route.abort(), times=1)
    page.reload()

    expect(headline(page)).to_have_text("2nd in line")
    assert "Reconnecting…" not in page.evaluate("headlines")


def test_proxy_that_does_not_know_the_hub_yet_is_no_answer(in_line):
    page = in_line("nan")
    expect(headline(page)).to_have_text("2nd in line")

    page.route("**/progress*", lambda route: route.abort(), times=1)
    page.route("**/hub/api/users/nan/server*", lambda route: route.fulfill(status=404, body="404"), times=2)
    page.reload()

    expect(headline(page)).to_have_text("Reconnecting…")
    page.clock.run_for(5000)
    expect(headline(page)).to_have_text("2nd in line")
    assert "Your machine could not be started" not in page.evaluate("headlines")


def test_cancel_while_the_hub_is_away_is_kept(hub, in_line):
    page = in_line("joe")
    expect(headline(page)).to_have_text("2nd in line")

    hub.kill()
    page.get_by_role("button", name="Cancel").click()
    expect(headline(page)).to_have_text("Cancelling…")
    hub.start()

    expect(headline(page)).to_have_text("Cancelled")
    assert hub.server("joe") == {}


def test_hostile_display_name_is_text(in_line):
    name = "\"><img src=x onerror=window.hacked=1>/'&"

    page = in_line("kim", server="training", display_name=name)

    expect(page.get_by_text(name, exact=True)).to_be_visible()
    expect(headline(page)).to_have_text("2nd in line")
    assert page.evaluate("window.hacked") is None


def test_without_javascript_the_page_goes_on_by_itself(hub, signed_in):
    page = signed_in("leo", java_script_enabled=False)
    page.goto(f"{hub.url}/hub/spawn")
    page.get_by_role("radio", name="1x H100").check(force=True)
    page.get_by_role("button", name="Join the line").click()
    expect(page.get_by_role("heading", name="Starting your machine")).to_be_visible()

    hub.let_start("leo")

    expect(page.get_by_text("The server answers")).to_be_visible()
