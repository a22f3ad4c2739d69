"""Terminals in pages of their own, and forgotten ones: a real Jupyter server, real shells, a real browser."""

import re

import pytest
from playwright.sync_api import expect

from fixtures.browser import PATIENCE_SECONDS
from fixtures.jupyter import JupyterServer, until
from fixtures.parts import is_missing
from jupyterlab_gpubox.pages import STATIC

expect.set_options(timeout=PATIENCE_SECONDS * 1000)

CONFIG = """
c = get_config()
c.TerminalsExtensionApp.terminal_manager_class = "jupyterlab_gpubox.terminals.PatientTerminalManager"
c.TerminalManager.cull_inactive_timeout = {timeout}
c.TerminalManager.cull_interval = 1
c.ServerApp.terminado_settings = {{"shell_command": ["/bin/bash", "--norc"]}}
"""


@pytest.fixture
def start(tmp_path):
    servers = []

    def start(timeout):
        servers.append(JupyterServer(tmp_path, None, config=CONFIG.format(timeout=timeout)))
        return servers[-1].start()

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def open_terminal(new_page):
    if not (STATIC / "terminal.html").is_file():
        is_missing("the pages are not built (make .venv/.panel)")
    errors = []

    def open_terminal(server, path="gpubox/terminal/1"):
        page = new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{server.url}gpubox/api/box?token={server.token}")
        page.goto(server.url + path)
        expect(page.locator(".xterm-rows")).to_contain_text("bash")
        return page

    yield open_terminal
    assert not errors


def type_line(page, line):
    page.locator(".xterm-helper-textarea").focus()
    page.keyboard.type(line)
    page.keyboard.press("Enter")


def names(server):
    return sorted(terminal["name"] for terminal in server.get("api/terminals"))


def test_a_program_outlives_its_page_and_is_found_by_the_next(start, open_terminal):
    server = start(timeout=0)
    page = open_terminal(server)
    rows = page.locator(".xterm-rows")
    type_line(page, "echo begin; while read -r word; do echo heard $word; done")
    expect(rows).to_contain_text("begin")
    page.reload()
    expect(rows).to_contain_text("begin")
    type_line(page, "one")
    expect(rows).to_contain_text("heard one")
    page.close()

    page = open_terminal(server)
    expect(page.locator(".xterm-rows")).to_contain_text("heard one")
    assert names(server) == ["1"]

    # Another beside it; the address leads back to each.
    page.get_by_role("button", name="New").click()
    expect(page).to_have_url(re.compile("/gpubox/terminal/2$"))
    expect(page.locator(".xterm-rows")).not_to_contain_text("heard")
    page.get_by_label("Terminal", exact=True).select_option("1")
    expect(page.locator(".xterm-rows")).to_contain_text("heard one")

    # What has ended says so, and a new one is a key away.
    page.locator(".xterm-helper-textarea").focus()
    page.keyboard.press("Control+c")
    type_line(page, "exit")
    expect(page.get_by_text("This terminal has ended")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/gpubox/terminal/(1|3)$"))


def test_a_terminal_comes_back_after_a_restart_of_its_server(start, open_terminal):
    server = start(timeout=0)
    page = open_terminal(server)
    server.stop()
    expect(page.get_by_text("The connection is gone")).to_be_visible()
    server.start()
    page.evaluate("window.dispatchEvent(new Event('online'))")
    # The log-in outlives the server here; the shell does not, and a new one has its name.
    until(lambda: names(server) == ["1"], "a terminal of that name")
    expect(page.get_by_role("status")).to_be_empty()  # what is typed before it is connected is lost
    type_line(page, "echo $((6 * 7))")
    expect(page.locator(".xterm-rows")).to_contain_text("42")


def test_forgotten_terminals_end_and_those_with_a_program_do_not(start):
    server = start(timeout=2)
    for _ in range(3):
        server.ask("api/terminals", "POST")
    for name, line in (("2", "sleep 1000"), ("3", "sleep 1000 &")):
        stream = server.stream(f"terminals/websocket/{name}")
        stream.send(f'["stdin", "{line}\\r"]')
        until(lambda stream=stream: "sleep" in stream.recv(), "the shell hears it")
        stream.close()
    until(lambda: names(server) == ["2", "3"], "the one at its prompt ends", lambda: str(names(server)))
    until(lambda: server.log().count("Culling terminal '1'") == 1, "it says so")
    assert names(server) == ["2", "3"]
