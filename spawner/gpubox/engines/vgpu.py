"""Parts of a card for virtual machines: vGPUs (mediated devices) and virtual functions (SR-IOV).

Pure functions over libvirt's node devices, https://libvirt.org/formatnode.html: capabilities ``mdev_types``,
``mdev`` and ``phys_function``. Whole cards are in ``passthrough``, the calls in ``guests``.

Newer drivers of NVIDIA's make vGPUs with no mediated device: the admin gives a virtual function a type, and
it stays with that driver, which speaks VFIO itself ("vendor-specific VFIO framework",
https://docs.nvidia.com/vgpu/latest/grid-vgpu-user-guide/).
"""

from __future__ import annotations

import uuid
import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from .passthrough import Address, CannotPass, Device

_SYSFS = Path("/sys/bus/pci/devices")


@dataclass(frozen=True)
class Part:
    """What a machine gets of a card: a vGPU, by the id or name of its type, or else a virtual function."""

    card: Address
    vgpu: str = ""


@dataclass(frozen=True)
class Kind:
    """A type of vGPU that a device can make, and how many more of it now."""

    id: str
    name: str
    available: int

    def is_called(self, wanted: str) -> bool:
        """Whether an admin means it: by its id (``nvidia-63``) or its name (``GRID T4-2Q``)."""
        words = wanted.split()
        # Newer drivers write NVIDIA, older ones GRID, before the same name.
        return wanted == self.id or words == self.name.split() or words == self.name.split()[1:]

    def __str__(self) -> str:
        return f"{self.name} ({self.id})" if self.name else self.id


@dataclass(frozen=True)
class Parent:
    """A card, or one of its virtual functions; vGPUs are made of either. ``node`` is libvirt's name."""

    node: str
    address: Address
    card: Address
    kinds: tuple[Kind, ...] = ()


@dataclass(frozen=True)
class VGPU:
    """A vGPU that was made: ``node`` is libvirt's name."""

    node: str
    id: uuid.UUID


def read_parent(xml: str) -> Parent | None:
    """A node device as a part of a card; None for what is none and can make none."""
    device = ET.fromstring(xml)  # noqa: S314  # libvirt's own word
    pci = device.find("capability[@type='pci']")
    if pci is None:
        return None
    address = Address(*(int(pci.findtext(part) or "0") for part in ("domain", "bus", "slot", "function")))
    physical = pci.find("capability[@type='phys_function']/address")
    types = pci.findall("capability[@type='mdev_types']/type")
    if physical is None and not types:
        return None
    kinds = tuple(
        Kind(
            id=one.get("id") or "",
            name=(one.findtext("name") or "").strip(),
            available=int(one.findtext("availableInstances") or "0"),
        )
        for one in types
    )
    card = address if physical is None else Address.of(physical)
    return Parent(device.findtext("name") or "", address, card, kinds)


def read_vgpu(xml: str) -> VGPU | None:
    """A node device that is a vGPU; None for any other."""
    device = ET.fromstring(xml)  # noqa: S314  # libvirt's own word
    found = device.findtext("capability[@type='mdev']/uuid")
    return VGPU(device.findtext("name") or "", uuid.UUID(found.strip())) if found else None


def choose(parents: Iterable[Parent], card: Address, wanted: str) -> tuple[Parent, Kind]:
    """What makes one more vGPU of that type on that card.

    Raises `CannotPass` where the card makes none of that type, or no more.
    """
    of_card = [parent for parent in sorted(parents, key=lambda one: one.address) if parent.card == card]
    offered = [(parent, kind) for parent in of_card for kind in parent.kinds]
    if not offered:
        raise CannotPass(
            f"The GPU at {card} offers no vGPUs. They take NVIDIA's vGPU driver on the host, and on newer"
            " cards /usr/lib/nvidia/sriov-manage -e ALL after each boot. Where that driver makes vGPUs with"
            " no mediated devices, the machine type says 'sriov: N'."
        )
    called = [(parent, kind) for parent, kind in offered if kind.is_called(wanted)]
    if not called:
        names = ", ".join(sorted({str(kind) for _, kind in offered}))
        raise CannotPass(f"The GPU at {card} has no vGPU type {wanted!r}. It has: {names}.")
    free = [(parent, kind) for parent, kind in called if kind.available > 0]
    if not free:
        raise CannotPass(
            f"The GPU at {card} can make no more vGPUs of the type {wanted!r}: as many as it can, or some of"
            " another type, are there. Its machine type promises more than the card has, or something else"
            " than this hub makes vGPUs."
        )
    return free[0]


def has_no_type(function: Address, sysfs: Path = _SYSFS) -> bool:
    """Whether NVIDIA's driver makes vGPUs of virtual functions, and of this one none: it has no type."""
    try:
        return (sysfs / str(function) / "nvidia/current_vgpu_type").read_text().strip() == "0"
    except OSError:
        return False


def choose_function(
    parents: Iterable[Parent],
    devices: Iterable[Device],
    card: Address,
    taken: Collection[Address],
    sysfs: Path = _SYSFS,
) -> Device:
    """A virtual function of the card that no machine has; ``taken`` are those that some have.

    Raises `CannotPass` where there is none, the host has no IOMMU, or its group has other members.
    """
    known = {device.address: device for device in devices}
    functions = sorted(one.address for one in parents if one.card == card and one.address != card)
    if not functions:
        raise CannotPass(
            f"The GPU at {card} has no virtual functions. The admin makes some by writing their number to"
            f" /sys/bus/pci/devices/{card}/sriov_numvfs, where the card and its driver can."
        )
    usable = [address for address in functions if not has_no_type(address, sysfs)]
    if not usable:
        raise CannotPass(
            f"No virtual function of the GPU at {card} has a vGPU type. The admin writes the number of one,"
            f" from {_SYSFS}/{functions[0]}/nvidia/creatable_vgpu_types, to the file current_vgpu_type beside"
            " it, for each function that a machine may have."
        )
    free = [address for address in usable if address not in taken]
    if not free:
        raise CannotPass(
            f"No virtual function of the GPU at {card} is free: it has {len(usable)}, in use. Its machine"
            " type promises more than the card has, or something else than this hub uses them."
        )
    chosen = known.get(free[0], Device(free[0]))
    if not chosen.group:
        raise CannotPass(f"The virtual function at {free[0]} has no IOMMU group: this host's IOMMU is off.")
    if others := sorted(chosen.group - {free[0]}):
        names = ", ".join(str(known.get(address, address)) for address in others)
        raise CannotPass(
            f"The virtual function at {free[0]} cannot be given to a virtual machine alone: in its IOMMU"
            f" group are also {names}."
        )
    return chosen


def vgpu_xml(parent: str, kind: str, id_: uuid.UUID) -> str:
    """A vGPU that is to be made; it is gone after a restart of the host."""
    device = ET.Element("device")
    ET.SubElement(device, "parent").text = parent
    capability = ET.SubElement(device, "capability", type="mdev")
    ET.SubElement(capability, "type", id=kind)
    ET.SubElement(capability, "uuid").text = str(id_)
    return ET.tostring(device, encoding="unicode")


def addresses_in(xml: str) -> frozenset[Address]:
    """The PCI devices that a domain has."""
    sources = ET.fromstring(xml).findall("devices/hostdev[@type='pci']/source/address")  # noqa: S314
    return frozenset(map(Address.of, sources))
