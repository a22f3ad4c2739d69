"""How simulated GPUs are connected: NVLinks by model, PCIe and NUMA by their order in the machine."""

from __future__ import annotations

from collections.abc import Sequence

from .gpu import SimulatedGPU
from .models import Wish

# NVIDIA's nvmlGpuTopologyLevel_t: one PCIe switch, one NUMA node, across sockets.
_ONE_SWITCH, _ONE_NODE, _SYSTEM = 10, 40, 50


def connect(gpus: Sequence[SimulatedGPU], wishes: Sequence[Wish]) -> None:
    """Pairs share a PCIe switch, fours a NUMA node; NVLinks join GPUs of one model as it has them."""
    for i, gpu in enumerate(gpus):
        gpu.links = {f"topology.{other.minor}": _level(i, j) for j, other in enumerate(gpus) if i != j}
    for i, (gpu, wish) in enumerate(zip(gpus, wishes, strict=True)):
        peers = [
            other
            for j, (other, its) in enumerate(zip(gpus, wishes, strict=True))
            if i != j and its.model == wish.model and its.nvlink == wish.nvlink
        ]
        for link, end in enumerate(_ends(gpu, wish, peers)):
            gpu.links[f"nvlink.{link}"] = end


def _level(i: int, j: int) -> int:
    if i // 2 == j // 2:
        return _ONE_SWITCH
    return _ONE_NODE if i // 4 == j // 4 else _SYSTEM


def _ends(gpu: SimulatedGPU, wish: Wish, peers: list[SimulatedGPU]) -> list[str]:
    """What each of a GPU's NVLinks ends at. More than four GPUs meet at an NVSwitch, as in an HGX board."""
    count, kind = wish.model.nvlinks, wish.nvlink
    if kind == "pairs":
        alike = sorted([*peers, gpu], key=lambda one: one.minor)
        place = alike.index(gpu)
        peers = [alike[place ^ 1]] if place ^ 1 < len(alike) else []
    if kind == "none" or not count:
        return []
    if kind == "switch" or len(peers) > 3:
        return ["switch"] * count
    if not peers:
        return ["down"] * count
    each = count // len(peers)
    return [f"gpu {peer.minor}" for peer in peers for _ in range(each)] + ["down"] * (count % len(peers))
