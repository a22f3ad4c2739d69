"""The GPU panel in a box: what the browser shows is what the driver says, and whose process it is."""

import re

import pytest
from playwright.sync_api import expect

from fixtures.browser import PATIENCE_SECONDS
from fixtures.hub import CPU, H100
from simgpu import SimulatedDriver

expect.set_options(timeout=PATIENCE_SECONDS * 1000)

NOTEBOOK = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


@pytest.fixture(params=["the box's pids", "the host's pids"])
def driver(request, docker_client):
    with SimulatedDriver("2xH100") as driver:
        driver.set(host_pids=int(request.param == "the host's pids"))
        yield driver


@pytest.fixture
def hub(make_hub, driver):
    return make_hub(environment=driver.environment(), machines=[CPU, H100], users=("alice",)).start()


def kernel_pid(hub):
    """The host's pid of the kernel in alice's box."""

    def found():
        titles, *processes = (lambda top: (top["Titles"], *top["Processes"]))(hub.container("alice").top())
        rows = [dict(zip(titles, process, strict=True)) for process in processes]
        return next((int(row["PID"]) for row in rows if "ipykernel" in row["CMD"]), None)

    return hub.until(found, "a kernel runs in alice's box")


# Has its GPU's device open, as a program that computes on it has. (The simulated one can be had open by its
# path alone: there is no kernel module behind it.)
USE_THE_GPU = "import glob, os; print(len([os.open(d, os.O_PATH) for d in glob.glob('/dev/nvidia[0-9]*')]))"


def test_a_person_sees_their_gpu_and_the_notebook_on_it(hub, driver, new_page):
    page = new_page()
    page.goto(hub.url)
    page.get_by_label("Username:").fill("alice")
    page.get_by_label("Password:").first.fill(hub.password)
    page.get_by_role("button", name="Sign in").click()
    page.locator(".gb-card").filter(has=page.get_by_text("1x H100", exact=True)).click()
    page.get_by_role("button", name="Start").click()
    page.wait_for_url(re.compile(r"/user/[^?]+/lab"))
    (uuid,) = hub.gpus_held()["alice"]
    gpu = next(gpu for gpu in driver.gpus if gpu.uuid == uuid)
    other = next(gpu for gpu in driver.gpus if gpu.uuid != uuid)
    other.set(utilisation=13)
    gpu.set(utilisation=77, power_mw=555_000)

    page.get_by_role("tab", name="GPU", exact=True).click()
    panel = page.get_by_role("region", name="GPU panel")
    expect(panel.get_by_role("heading", name="1x H100")).to_be_visible()
    expect(panel).to_contain_text("PyTorch")
    expect(panel).to_contain_text("Cost so far")
    expect(panel).to_contain_text("77 %")
    expect(panel).to_contain_text("555")
    expect(panel).not_to_contain_text("13 %")

    page.locator(".jp-LauncherCard[data-category=Notebook]").click()
    expect(page.get_by_text("Python (ML) | Idle")).to_be_visible()
    page.locator(".jp-Notebook .cm-content").click()
    page.keyboard.type(USE_THE_GPU)
    page.keyboard.press("Shift+Enter")
    expect(page.locator(".jp-OutputArea-output")).to_have_text("1")
    gpu.add_process(kernel_pid(hub), memory_mib=12595)
    expect(panel.get_by_role("button", name="Untitled.ipynb", exact=True)).to_be_visible()
    expect(panel).to_contain_text("12.3 GB")
    expect(panel).not_to_contain_text("estimated")

    panel.get_by_role("button", name=re.compile("Shut down the kernel")).click()
    page.get_by_role("dialog").get_by_role("button", name="Shut Down").click()
    hub.until(
        lambda: not any("ipykernel" in str(row) for row in hub.container("alice").top()["Processes"]),
        "the kernel has ended",
    )
