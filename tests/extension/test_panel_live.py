"""The panel over the real server and the simulated driver: what the driver does is what the page shows."""

import pytest
from playwright.sync_api import expect

from fixtures.browser import PATIENCE_SECONDS
from fixtures.jupyter import JupyterServer
from simgpu import SimulatedLibrary

expect.set_options(timeout=PATIENCE_SECONDS * 1000)

FAST = """
c = get_config()
c.GPUPanel.core_seconds = 0.2
c.GPUPanel.process_seconds = 1
c.GPUPanel.health_seconds = 1
c.LabApp.news_url = None
"""


@pytest.fixture
def start(tmp_path, page):
    """Starts a JupyterLab over a driver and opens its panel."""
    servers = []

    def start(driver):
        server = JupyterServer(tmp_path, driver, config=FAST)
        servers.append(server)
        server.start()
        page.goto(f"{server.url}lab?token={server.token}")
        page.get_by_role("tab", name="GPU", exact=True).click()
        return server

    yield start
    for server in servers:
        server.stop()


def cards(page):
    return page.locator(".gb-Card")


def test_utilisation_changes_live_and_comes_back_after_a_restart_of_the_server(start, page):
    with SimulatedLibrary("2xH100") as driver:
        server = start(driver)
        expect(cards(page)).to_have_count(2)
        driver.gpus[1].set(utilisation=83)
        expect(cards(page).nth(1)).to_contain_text("83\u00a0%")

        server.stop()
        driver.gpus[1].set(utilisation=21)
        server.start()

        expect(cards(page).nth(1)).to_contain_text("21\u00a0%")


def test_a_gpu_that_is_lost_among_eight_is_told_and_the_others_go_on(start, page):
    with SimulatedLibrary("8xH100") as driver:
        start(driver)
        expect(cards(page)).to_have_count(8)

        driver.gpus[5].lose(known=True)

        expect(cards(page).nth(5)).to_contain_text("fallen off the bus")
        driver.gpus[6].set(utilisation=66)
        cards(page).nth(6).scroll_into_view_if_needed()
        expect(cards(page).nth(6)).to_contain_text("66\u00a0%")
        expect(page.get_by_role("alert").filter(has_text="GPU 5 is lost")).to_be_visible()


def test_a_driver_that_mismatches_says_what_to_do_and_is_there_when_it_is_mended(start, page):
    with SimulatedLibrary("1xH100") as driver:
        driver.mismatch()
        start(driver)
        panel = page.get_by_role("region", name="GPU panel")
        expect(panel).to_contain_text("The NVIDIA driver was updated")

        driver.recover()

        expect(cards(page)).to_have_count(1)


def test_slices_have_their_own_memory_and_no_figure_of_the_card(start, page):
    with SimulatedLibrary("1xA100:mig=2x1g.10gb") as driver:
        driver.gpus[0].slices[1].set(memory_used_mib=5000)
        start(driver)

        expect(cards(page)).to_have_count(2)
        expect(cards(page).nth(1)).to_contain_text("4.9\u00a0/\u00a09.5\u00a0GB")
        expect(cards(page).nth(1)).to_contain_text("n/a")


def test_a_machine_without_a_gpu_says_so(start, page):
    start(None)
    expect(page.get_by_role("region", name="GPU panel")).to_contain_text("No GPU here")
