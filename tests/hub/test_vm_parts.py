"""A part of a card that a machine cannot have: what is refused, and that nothing is held after it.

A simulated card is on no bus of this host, so it offers no part. Parts that machines do get are in
tests/engines/test_vgpu and test_passthrough_nested.
"""

from __future__ import annotations

import pytest

from fixtures.libvirt import Libvirt
from simgpu import SimulatedDriver

VM = {"engine": "libvirt", "cpus": 1, "memory": "1G", "gpu": "H100"}
VGPU = {**VM, "name": "vgpu", "sharing": "vgpu: 4 x NVIDIA H100-20C"}
FUNCTION = {**VM, "name": "function", "sharing": "sriov: 4"}


@pytest.mark.timeout(900)
def test_a_card_without_such_parts_is_refused_with_the_reason(
    make_hub, libvirt_host: Libvirt, golden_disk: str
) -> None:
    with SimulatedDriver("1xH100") as driver:
        hub = make_hub(
            machines=[VGPU, FUNCTION], environment=driver.environment(), extra_config=libvirt_host.config
        ).start()
        hub.ask_for("alice", "vgpu")
        assert "offers no vGPUs. They take NVIDIA's vGPU driver on the host" in hub.failure("alice")
        hub.until(lambda: not hub.open_leases(), "its part is free again")
        hub.ask_for("bob", "function")
        assert "has no virtual functions" in hub.failure("bob")
        hub.until(lambda: not hub.open_leases(), "its part is free again")
        assert libvirt_host.virsh("list", "--name") == ""
