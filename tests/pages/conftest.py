"""A real hub with gpubox's pages, whose servers start when the test says so."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

from fixtures.browser import PATIENCE_SECONDS
from fixtures.hub import Hub

expect.set_options(timeout=PATIENCE_SECONDS * 1000)

TESTS = Path(__file__).parents[1]
PEOPLE = (
    *("ada", "ben", "cleo", "dora", "emil", "fay", "gus", "hal"),
    *("ida", "joe", "kim", "leo", "mia", "nan", "una", "vera"),
)
ANNOUNCEMENT = "Simulated GPUs: <b>nothing</b> here computes."
EXTRA_CONFIG = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
from pages.gated import GatedSpawner
c.JupyterHub.spawner_class = GatedSpawner
"""

# Every headline that the page has shown since it was opened.
REMEMBER_HEADLINES = """
    window.headlines = [];
    new MutationObserver(() => {
      const words = document.getElementById("headline")?.textContent;
      if (words && words !== window.headlines.at(-1)) window.headlines.push(words);
    }).observe(document, { childList: true, subtree: true, characterData: true });
"""


class PagesHub(Hub):
    """The hub, and what its servers wait for."""

    def __init__(self, directory):
        self.gates = directory / "gates"
        self.gates.mkdir(parents=True)
        self.set_figures(free=0, waiting=2)
        super().__init__(
            directory,
            engine="process",
            users=PEOPLE,
            environment={"GATES": str(self.gates), "GPUBOX_ANNOUNCEMENT": ANNOUNCEMENT},
            extra_config=EXTRA_CONFIG,
        )

    def open_leases(self):
        return []  # its spawner takes none

    def set_figures(self, **figures):
        (self.gates / "figures").write_text(json.dumps(figures))

    def let_start(self, user):
        (self.gates / f"open-{user}").touch()


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    hub = PagesHub(tmp_path_factory.mktemp("pages"))
    yield hub.start()
    hub.close()


@pytest.fixture
def signed_in(hub, new_page):
    """Opens a page of a person who has signed in."""

    def signed_in(user, **options):
        page = new_page(**options)
        page.clock.install()
        page.add_init_script(REMEMBER_HEADLINES)
        page.goto(f"{hub.url}/hub/login?next=%2Fhub%2Fhome")
        page.get_by_label("Username:").fill(user)
        page.get_by_label("Password:").first.fill(hub.password)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/hub/home")
        return page

    return signed_in


@pytest.fixture
def in_line(hub, signed_in):
    """Opens the waiting page of a person who stands in line with a server."""

    def in_line(user, server="", display_name="", **options):
        page = signed_in(user, **options)
        if server:
            body = {"display_name": display_name or server}
            assert hub.api("PUT", f"/users/{user}/servers/{server}", json=body).ok
        page.goto(f"{hub.url}/hub/spawn/{user}/{server}".rstrip("/"))
        page.get_by_role("radio", name="1x H100").check(force=True)
        page.get_by_role("button", name="Join the line").click()
        page.wait_for_url("**/hub/spawn-pending/**")
        return page

    return in_line
