"""GPU models that can be simulated, and the words that ask for them: ``4xH100``, ``1xA100:mig=7x1g.10gb``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

NVLink = Literal["none", "pairs", "all", "switch"]
_GROUP = re.compile(r"(?:(?P<count>\d+) ?x ?)?(?P<model>[^:+]+?)(?::(?P<options>.+))?")
_SLICES = re.compile(r"(?:(\d+)x)?(\d)g\.(\d+)gb")


class UnknownGPU(ValueError):
    """A specification names no GPU that can be simulated; the message lists those that can."""


@dataclass(frozen=True)
class Model:
    """What sets one model apart, with NVIDIA's numbers. ``memory_mib`` is None for unified memory."""

    name: str
    memory_mib: int | None
    architecture: int
    cuda: tuple[int, int]
    brand: int
    device_id: int
    power_limit_watts: int
    clock_mhz: int
    memory_clock_mhz: int
    cores: int
    bus_width: int
    pcie_generation: int
    ecc: bool = True
    mig: bool = False
    fan: bool = False
    nvlinks: int = 0
    nvlink_version: int = 0
    nvlink: NVLink = "none"


_QUADRO, _TESLA, _GEFORCE, _NVIDIA_RTX, _NVIDIA = 1, 2, 5, 13, 14
_PASCAL, _TURING, _AMPERE, _ADA, _HOPPER, _BLACKWELL = 4, 6, 7, 8, 9, 10

# fmt: off
_SXM: dict[str, Any] = {"mig": True, "nvlink": "all"}
_BRIDGED: dict[str, Any] = {"fan": True, "nvlinks": 4, "nvlink_version": 5, "nvlink": "pairs"}
MODELS: dict[str, Model] = {
    # name, MiB, architecture, CUDA capability, brand, PCI id, watts, MHz, memory MHz, cores, bus bits, PCIe
    "H100": Model("NVIDIA H100 80GB HBM3", 81559, _HOPPER, (9, 0), _NVIDIA, 0x233010DE,
                  700, 1980, 2619, 16896, 5120, 5, nvlinks=18, nvlink_version=6, **_SXM),
    "H200": Model("NVIDIA H200", 143771, _HOPPER, (9, 0), _NVIDIA, 0x233510DE,
                  700, 1980, 3201, 16896, 6144, 5, nvlinks=18, nvlink_version=6, **_SXM),
    "A100": Model("NVIDIA A100-SXM4-80GB", 81920, _AMPERE, (8, 0), _NVIDIA, 0x20B210DE,
                  400, 1410, 1593, 6912, 5120, 4, nvlinks=12, nvlink_version=4, **_SXM),
    "A100 40GB": Model("NVIDIA A100-SXM4-40GB", 40960, _AMPERE, (8, 0), _NVIDIA, 0x20B010DE,
                       400, 1410, 1215, 6912, 5120, 4, nvlinks=12, nvlink_version=4, **_SXM),
    "A6000": Model("NVIDIA RTX A6000", 49140, _AMPERE, (8, 6), _NVIDIA_RTX, 0x223010DE,
                   300, 2100, 8001, 10752, 384, 4, **_BRIDGED),
    "L40S": Model("NVIDIA L40S", 46068, _ADA, (8, 9), _NVIDIA, 0x26B910DE,
                  350, 2520, 9001, 18176, 384, 4),
    "T4": Model("Tesla T4", 15360, _TURING, (7, 5), _TESLA, 0x1EB810DE,
                70, 1590, 5001, 2560, 256, 3),
    "RTX 4090": Model("NVIDIA GeForce RTX 4090", 24564, _ADA, (8, 9), _GEFORCE, 0x268410DE,
                      450, 3105, 10501, 16384, 384, 4, ecc=False, fan=True),
    "RTX 3090": Model("NVIDIA GeForce RTX 3090", 24576, _AMPERE, (8, 6), _GEFORCE, 0x220410DE,
                      350, 2100, 9751, 10496, 384, 4, ecc=False, **_BRIDGED),
    "Quadro P5000": Model("Quadro P5000", 16384, _PASCAL, (6, 1), _QUADRO, 0x1BB010DE,
                          180, 1733, 4513, 2560, 256, 3, fan=True),
    "GB10": Model("NVIDIA GB10", None, _BLACKWELL, (12, 1), _NVIDIA, 0x2E1210DE,
                  140, 2418, 0, 6144, 0, 5, ecc=False),
}
# fmt: on


@dataclass(frozen=True)
class Profile:
    """A MIG profile such as ``1g.10gb``: its compute slices, of the card's seven, and memory (GB)."""

    slices: int
    memory_gb: int

    @property
    def name(self) -> str:
        return f"{self.slices}g.{self.memory_gb}gb"

    @property
    def memory_mib(self) -> int:
        """What the driver shows for it: an A100's 1g.10gb has 9728 MiB."""
        return self.memory_gb * 1024 * 95 // 100


@dataclass(frozen=True)
class Wish:
    """One GPU as asked for. ``slices`` is None with MIG off."""

    model: Model
    slices: tuple[Profile, ...] | None = None
    nvlink: NVLink = "none"


def parse(specification: str) -> tuple[Wish, ...]:
    """The GPUs that a specification asks for, in order; an empty one asks for a driver without GPUs.

    Groups are joined by ``+``; after a colon come ``mig=7x1g.10gb`` (``mig=`` for MIG on and no
    slice), more slices with further ``mig=``, and ``nvlink=none|pairs|all|switch``.
    """
    wishes: list[Wish] = []
    for group in re.split(r"\+(?=\d+ ?x)", specification) if specification.strip() else []:
        found = _GROUP.fullmatch(group.strip())
        model = MODELS.get(found["model"].strip()) if found else None
        if found is None or model is None:
            raise UnknownGPU(f"{group.strip()!r} is no GPU to simulate, such as 4xH100: {', '.join(MODELS)}.")
        wish = _with_options(Wish(model, None, model.nvlink), found["options"] or "")
        wishes += [wish] * int(found["count"] or 1)
    return tuple(wishes)


def _with_options(wish: Wish, options: str) -> Wish:
    slices, nvlink = wish.slices, wish.nvlink
    for option in filter(None, options.split(",")):
        name, _, value = option.strip().partition("=")
        if name == "mig" and wish.model.mig:
            slices = (slices or ()) + parse_slices(value)
        elif name == "nvlink" and value in ("none", "pairs", "all", "switch"):
            nvlink = value  # type: ignore[assignment]
        else:
            raise UnknownGPU(f"{option!r}: an option is mig=7x1g.10gb (A100, H100, H200) or nvlink=pairs.")
    return Wish(wish.model, slices, nvlink)


def parse_slices(text: str) -> tuple[Profile, ...]:
    """``7x1g.10gb`` as seven profiles; the empty text as none."""
    if not text:
        return ()
    found = _SLICES.fullmatch(text)
    if not found or int(found[2]) not in (1, 2, 3, 4, 7):
        raise UnknownGPU(f"{text!r} is no MIG slice, such as 7x1g.10gb.")
    return (Profile(int(found[2]), int(found[3])),) * int(found[1] or 1)
