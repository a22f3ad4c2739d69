"""The panel's button SSH in a real JupyterLab: what to type, ready to copy."""

import time

from playwright.sync_api import expect

FACTS = {
    "machine": "cpu",
    "title": "CPU",
    "contents": "",
    "price_per_hour": 0,
    "currency": "$",
    "cost": 0,
    "ends": None,
    "hub_url": "/hub/home",
}


def test_the_button_shows_the_command_and_an_entry_for_the_config(open_panel, gpus):
    gpus.box(**FACTS, started=time.time(), ssh={"user": "ana+training", "host": "", "port": 2222})
    page = open_panel()
    page.get_by_role("button", name="SSH", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("code").nth(0)).to_have_text("ssh -p 2222 ana+training@127.0.0.1")
    expect(dialog.locator("code").nth(1)).to_contain_text(
        "Host gpubox\n    HostName 127.0.0.1\n    Port 2222\n"
    )
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    dialog.get_by_role("button", name="Copy").first.click()
    expect(dialog.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "ssh -p 2222 ana+training@127.0.0.1"
    keys = dialog.get_by_role("link", name="Your SSH keys")
    assert keys.get_attribute("href").endswith("/services/gpubox/keys")


def test_a_hub_with_no_gateway_has_no_button(open_panel, gpus):
    gpus.box(**FACTS, started=time.time(), ssh=None)
    page = open_panel()
    expect(page.get_by_role("heading", name="CPU")).to_be_visible()
    expect(page.get_by_role("button", name="SSH", exact=True)).to_be_hidden()
