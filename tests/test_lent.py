"""Cards that are in virtual machines: the host's driver does not see them, and they are not lost.

No card can be taken from a driver here: what it lists is put in its place.
"""

from __future__ import annotations

import pytest

from gpubox.hub import GPUHub
from gpubox.inventory import GPU, Inventory, nvidia
from gpubox.inventory.xid import XidWatch

ONE, OTHER = GPU("GPU-1", "NVIDIA H100", 81559, 0), GPU("GPU-2", "NVIDIA H100", 81559, 1)


@pytest.fixture
def hub() -> GPUHub:
    hub = GPUHub()
    hub._xids = XidWatch()
    hub.lent = {ONE.uuid: ONE}
    return hub


def listed(monkeypatch: pytest.MonkeyPatch, inventory: Inventory) -> None:
    """From now on the driver lists this."""
    monkeypatch.setattr(nvidia, "discover", lambda: inventory)


def seen(hub: GPUHub) -> list[str]:
    return sorted(gpu.uuid for gpu in hub.look().gpus)


def test_a_card_in_a_machine_is_there_though_the_driver_does_not_list_it(
    hub: GPUHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed(monkeypatch, Inventory((OTHER,)))
    assert seen(hub) == ["GPU-1", "GPU-2"]


def test_given_back_it_is_there_again_when_the_driver_lists_it(
    hub: GPUHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.lent.clear()
    listed(monkeypatch, Inventory((OTHER,)))
    assert seen(hub) == ["GPU-2"]
    listed(monkeypatch, Inventory((ONE, OTHER)))
    assert seen(hub) == ["GPU-1", "GPU-2"]


def test_one_that_the_driver_lists_already_is_not_there_twice(
    hub: GPUHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed(monkeypatch, Inventory((ONE, OTHER)))
    assert seen(hub) == ["GPU-1", "GPU-2"]


def test_of_a_driver_that_does_not_answer_nothing_is_made_up(
    hub: GPUHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = Inventory(problem="The driver fails.", answered=False)
    listed(monkeypatch, silent)
    assert hub.look() == silent
