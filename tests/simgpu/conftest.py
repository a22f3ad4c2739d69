"""What the simulated driver's own tests share: the engine and a driver that is installed on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import docker
import pytest
from docker.types import DeviceRequest

from simgpu import SimulatedDriver
from simgpu.image import build_probe_image


@pytest.fixture(scope="session")
def probe_engine() -> Iterator[docker.DockerClient]:
    """This machine's engine. Without one these tests fail: what they promise was not seen."""
    engine = docker.from_env()
    engine.ping()
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def probe_image(probe_engine: docker.DockerClient) -> Iterator[str]:
    name = build_probe_image(probe_engine)
    yield name
    probe_engine.images.remove(name, force=True)


@pytest.fixture
def installed() -> Iterator[SimulatedDriver]:
    """Two H100 and an A100 in three slices."""
    with SimulatedDriver("2xH100+1xA100:mig=3x1g.10gb") as driver:
        yield driver


@pytest.fixture
def probe(probe_engine: docker.DockerClient, probe_image: str) -> Callable[..., list[str]]:
    """Runs a container with the CDI devices named and gives the UUIDs that it sees."""

    def run(*devices: str, by_hand: str = "", user: str = "0") -> list[str]:
        names = [f"nvidia.com/gpu={device}" for device in devices]
        container = probe_engine.containers.create(
            probe_image,
            ["/probe", *by_hand.split()],
            device_requests=[DeviceRequest(driver="cdi", device_ids=names)] if names else None,
            network_mode="none",
            user=user,
        )
        try:
            container.start()
            status = container.wait()["StatusCode"]
            assert status == 0, container.logs().decode()
            return container.logs(stdout=True, stderr=False).decode().split("\n")[:-1]
        finally:
            container.remove(force=True)

    return run
