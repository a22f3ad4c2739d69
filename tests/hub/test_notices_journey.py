"""What the hub tells a person in JupyterLab, and what their click does: nothing in it is a stand-in."""

import pytest
from playwright.sync_api import expect

from fixtures.browser import PATIENCE_SECONDS
from fixtures.hub import CPU, H100
from service.conftest import Person
from simgpu import SimulatedDriver

expect.set_options(timeout=PATIENCE_SECONDS * 1000)

# A config takes minutes at the least.
SECONDS = """
from gpubox.hub import GPUHub
GPUHub.idle_limits = lambda self, machine: (None, 4 if machine.count else None)
c.GPUService.cull_seconds = 1
c.GPUService.warn_seconds = 20
c.GPUService.sample_seconds = 1
"""


@pytest.fixture
def hub(make_hub, docker_client):
    with SimulatedDriver("1xH100") as driver:
        driver.gpus[0].set(utilisation=90)
        hub = make_hub(
            environment=driver.environment(),
            machines=[CPU, H100],
            users=("alice", "bob"),
            service=True,
            extra_config=SECONDS,
        )
        hub.driver = driver
        yield hub.start()


def toast(page, words):
    return page.get_by_role("alert").filter(has_text=words)


def test_a_person_is_asked_for_their_gpu_keeps_it_once_and_loses_it_when_it_idles_on(hub, new_page):
    page = new_page()
    page.goto(hub.url)
    page.get_by_label("Username:").fill("alice")
    page.get_by_label("Password:").first.fill(hub.password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("radio", name="1x H100").check(force=True)
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".jp-Launcher").first).to_be_visible()
    (lease,) = hub.open_leases()

    bob = Person(hub, "bob")
    hub.until(lambda: bob.state()["leases"], "bob sees the lease")
    assert bob.ask("POST", f"api/leases/{lease['id']}/ask", json={"words": "paper due"}).status_code == 200
    asked = toast(page, "bob")
    expect(asked).to_contain_text("paper due")
    asked.get_by_role("button", name="Keep it").click()
    expect(asked).to_be_hidden()

    hub.driver.gpus[0].set(utilisation=0)
    idle = toast(page, "has done nothing for 4 seconds")
    expect(idle).to_contain_text("Stops in ")
    idle.get_by_role("button", name="Keep my machine").click()
    expect(idle).to_be_hidden()
    assert hub.is_ready("alice")

    expect(toast(page, "has done nothing for 4 seconds")).to_be_visible()
    hub.until(lambda: not hub.open_leases(), "the machine is stopped", 60)
