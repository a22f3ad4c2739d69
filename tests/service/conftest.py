"""A real hub with its service, and people at it: their tokens, their requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from playwright.sync_api import Page

from fixtures.hub import Hub
from service.labs import NOW, Lab, day_of
from service.stage import Stage
from simgpu import SimulatedDriver

MACHINES = [
    {"name": "cpu", "title": "CPU", "cpus": 1, "memory": "1G"},
    {"name": "h100", "title": "1x H100", "gpu": "H100", "cpus": 1, "memory": "1G", "price": 2.5},
]

GROUPS = """
c.JupyterHub.load_groups = {"students": {"users": ["alice", "bob"]}, "staff": {"users": ["carol"]}}
c.JupyterHub.load_roles.append({
    "name": "gpubox-students", "scopes": ["custom:gpubox:manage!group=students"], "users": ["carol"]})
c.Authenticator.admin_users = {"root-of-all"}
"""

PEOPLE = ("alice", "bob", "carol", "dan", "root-of-all")


class Person:
    """Somebody with a token of the hub, at the service."""

    def __init__(self, hub: Hub, name: str) -> None:
        self.hub, self.name = hub, name
        self.url = f"{hub.url}/services/gpubox/"
        hub.api("POST", f"/users/{name}")
        answer = hub.api("POST", f"/users/{name}/tokens", json={"note": "tests"})
        assert answer.status_code == 201, answer.text
        self.token = answer.json()["token"]

    def ask(self, method: str, path: str, **details: Any) -> requests.Response:
        """Send a request with the token."""
        headers = {"Authorization": f"token {self.token}"}
        return requests.request(method, self.url + path, headers=headers, timeout=60, **details)

    def state(self, **query: str) -> dict[str, Any]:
        """What the API says of GPUs, leases and the line."""
        answer = self.ask("GET", "api/state", params=query)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


@pytest.fixture(scope="module")
def driver() -> Iterator[SimulatedDriver]:
    """Two simulated GPUs."""
    with SimulatedDriver("2xH100") as driver:
        yield driver


@pytest.fixture(scope="module")
def hub(make_process_hub: Callable[..., Hub], driver: SimulatedDriver) -> Hub:
    """A hub with its service, a group admin and an admin; its servers are processes."""
    return make_process_hub(
        engine="process",
        environment=driver.environment(),
        machines=MACHINES,
        users=PEOPLE,
        extra_config=GROUPS,
        service=True,
    ).start()


@pytest.fixture(scope="module")
def people(hub: Hub) -> dict[str, Person]:
    """Everybody, by name: alice and bob are students, carol is their group admin."""
    hub.until(lambda: requests.get(f"{hub.url}/services/gpubox/health", timeout=5).ok, "the service serves")
    return {name: Person(hub, name) for name in PEOPLE}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """The pages over labs made up."""
    stage = Stage().open()
    yield stage
    stage.close()


@pytest.fixture
def look(stage: Stage, new_page: Callable[..., Page]) -> Iterator[Callable[..., Page]]:
    """Opens a page of the stage as somebody: ``look("admin", lab)``."""

    def look(name: str, lab: Lab | None = None, path: str = "", **options: Any) -> Page:
        if lab is not None:
            stage.show(lab.state, lab.figures)
            stage.answers["history"] = lambda handler: day_of(lab, handler.viewer.name)
        page = new_page(**options)
        page.clock.set_fixed_time(datetime.fromtimestamp(NOW, UTC))
        page.context.add_cookies([{"name": "as", "value": name, "url": stage.url}])
        page.goto(stage.url + path)
        return page

    yield look
    stage.reset()
