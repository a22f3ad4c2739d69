"""A real card in a machine and back, through a real hub: needs an idle NVIDIA GPU, an IOMMU and KVM.

No machine with a card has run this yet. What of it needs none is in tests/engines/test_passthrough_nested.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import docker
import pytest

from fixtures.guest import Guest
from fixtures.hub import Hub
from fixtures.libvirt import NETWORK, SUBNET, Libvirt
from gpubox.host import vmhost
from gpubox.host.vmdisk import make_disk
from gpubox.inventory import GPU, nvidia

# A disk with NVIDIA's driver is large, and a card with much memory starts slowly.
_BOOT_SECONDS = 900

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(4 * _BOOT_SECONDS)]


@pytest.fixture(scope="module")
def card() -> GPU:
    """A whole card of this host that no program uses. Skips where the host cannot pass it through."""
    found = nvidia.discover()
    cards = [gpu for gpu in found.gpus if gpu.mig_profile is None and not gpu.problem]
    if not cards:
        pytest.skip(f"This machine has no NVIDIA GPU in order. {found.problem}".strip())
    host = vmhost.read(Path("/"))
    if not (host.has_kvm and host.has_vfio and host.iommu_groups):
        pytest.skip(f"No card can go into a machine here: {vmhost.check(host, has_gpus=True).words}")
    used = {place.uuid: place.programs for place in nvidia.places([gpu.uuid for gpu in cards])}
    idle = [gpu for gpu in cards if used.get(gpu.uuid) == ()]
    if not idle:
        pytest.skip("Programs of this machine use all of its GPUs.")
    return idle[0]


@pytest.fixture(scope="module")
def disk_with_driver(card: GPU, libvirt_host: Libvirt, docker_client: docker.DockerClient) -> str:
    """A golden disk with JupyterLab and NVIDIA's driver in the pool."""
    from gpubox.engines.guests import Guests

    place = {"pool": "gpubox", "pool_path": str(libvirt_host.pool_path), "network": NETWORK, "subnet": SUBNET}
    guests: Any = Guests(libvirt_host.uri, "", **place)
    return make_disk(
        docker_client, guests, print, {"VM_OF": "server", "VM_DRIVER": "driver"}, "gpubox-vm-driver"
    )


@pytest.fixture(scope="module")
def hub(card: GPU, make_module_hub, disk_with_driver: str, libvirt_host: Libvirt) -> Hub:
    machine = {
        "name": "vm-gpu",
        "title": "Virtual machine with a GPU",
        "engine": "libvirt",
        "gpu": card.model,
        "cpus": 4,
        "memory": "8G",
        "disk": "20G",
        "image": "gpubox-vm-driver",
    }
    options = 'c.LibvirtSpawner.virt_type = "kvm"\nc.LibvirtSpawner.boot = "disk"\n'
    hub: Hub = make_module_hub(machines=[machine], extra_config=libvirt_host.config + options)
    return hub.start()


def cards_driver(bus_id: str) -> str:
    """Which of the host's drivers has the card."""
    place = bus_id.lower()[-len("0000:00:00.0") :]
    return Path(f"/sys/bus/pci/devices/{place}/driver").resolve().name


def test_a_card_works_in_a_machine_and_is_handed_out_again_after_it(hub: Hub) -> None:
    def start() -> tuple[str, str]:
        hub.ask_for("alice", "vm-gpu")
        hub.until(lambda: hub.is_ready("alice"), "the machine is ready", _BOOT_SECONDS)
        [uuid] = hub.gpus_held()["alice"]
        return uuid, Guest(hub, "alice").sh("nvidia-smi --query-gpu=uuid --format=csv,noheader")

    listed = [gpu.uuid for gpu in nvidia.discover().gpus]
    places = {place.uuid: place.bus_id for place in nvidia.places(listed)}
    uuid, seen = start()
    assert seen == uuid, "nvidia-smi in the machine names the leased card"
    assert cards_driver(places[uuid]) == "vfio-pci"

    hub.stop("alice")
    hub.until(lambda: cards_driver(places[uuid]) == "nvidia", "the host's driver has the card back")
    assert uuid in {gpu.uuid for gpu in nvidia.discover().gpus}

    again, seen = start()
    assert seen == again
    hub.stop("alice")
