"""Which PCI devices go into a virtual machine with a GPU: pure functions over libvirt's node devices.

A card is several devices (graphics, audio, USB-C), and the IOMMU keeps apart groups of devices, not devices:
all of a group go to the guest, or none. https://libvirt.org/formatnode.html, capability ``pci``;
https://docs.kernel.org/driver-api/vfio.html for the groups.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_BRIDGES = "0x06"  # class codes that begin so: they stay with the host, whatever their group
_PARTS = ("domain", "bus", "slot", "function")
_PLACE = re.compile(r"([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])", re.I)


class CannotPass(ValueError):
    """A card cannot go into a virtual machine; str() is a sentence for the admin."""


@dataclass(frozen=True, order=True)
class Address:
    """Where a device is: domain, bus, slot, function."""

    domain: int
    bus: int
    slot: int
    function: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """From ``0000:01:00.0``; NVML writes the domain with eight digits. Raises ValueError."""
        found = _PLACE.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{text!r} is no PCI address.")
        return cls(*(int(part, 16) for part in found.groups()))

    @classmethod
    def of(cls, element: ET.Element) -> Address:
        """From an element ``address`` of libvirt's, with numbers such as 0x01."""
        return cls(*(int(element.get(part) or "0", 0) for part in _PARTS))

    def __str__(self) -> str:
        return f"{self.domain:04x}:{self.bus:02x}:{self.slot:02x}.{self.function}"

    @property
    def card(self) -> tuple[int, int, int]:
        """What all functions of one card have in common."""
        return self.domain, self.bus, self.slot

    def element(self) -> ET.Element:
        """As a domain names it."""
        return ET.Element(
            "address",
            domain=f"0x{self.domain:04x}",
            bus=f"0x{self.bus:02x}",
            slot=f"0x{self.slot:02x}",
            function=f"0x{self.function:x}",
        )


@dataclass(frozen=True)
class Device:
    """One function of a card, or another PCI device. ``group`` is empty where the host has no IOMMU."""

    address: Address
    name: str = ""
    class_code: str = ""
    driver: str = ""
    group: frozenset[Address] = field(default_factory=frozenset)

    @property
    def is_bridge(self) -> bool:
        """Whether it only leads to others."""
        return self.class_code.startswith(_BRIDGES)

    def __str__(self) -> str:
        return f"{self.name or 'a device'} at {self.address}"


def read_device(xml: str) -> Device | None:
    """A node device; None for what is no PCI device."""
    found = ET.fromstring(xml).find("capability[@type='pci']")  # noqa: S314  # libvirt's own word
    if found is None:
        return None
    names = [(found.findtext(part) or "").strip() for part in ("vendor", "product")]
    return Device(
        address=Address(*(int(found.findtext(part) or "0") for part in _PARTS)),
        name=" ".join(name for name in names if name),
        class_code=(found.findtext("class") or "").strip(),
        driver=(ET.fromstring(xml).findtext("driver/name") or "").strip(),  # noqa: S314
        group=frozenset(map(Address.of, found.findall("iommuGroup/address"))),
    )


def plan(devices: Iterable[Device], cards: Iterable[Address]) -> tuple[Address, ...]:
    """All that goes to the guest with these cards: their functions, in order.

    Raises `CannotPass` where a card is not there, the host has no IOMMU, or a card's group has members that
    are none of these cards'.
    """
    known = {device.address: device for device in devices}
    wanted = {address.card for address in cards}
    functions = sorted(address for address in known if address.card in wanted)
    for card in sorted(cards):
        if card not in known:
            raise CannotPass(f"There is no device at {card}: libvirt does not list it.")
        if not known[card].group:
            raise CannotPass(
                f"{known[card]} cannot be given to a virtual machine: this host's IOMMU is off. Switch on"
                " VT-d or AMD-Vi in its firmware and boot it with intel_iommu=on (Intel) and iommu=pt."
            )
    for function in functions:
        others = _others(known, known[function].group, wanted)
        if others:
            raise CannotPass(
                f"{known[function]} cannot be given to a virtual machine alone: in its IOMMU group are also"
                f" {', '.join(map(str, others))}. Put the card into another slot, or see whether the"
                " firmware can switch on ACS."
            )
    return tuple(functions)


def _others(
    known: Mapping[Address, Device], group: frozenset[Address], wanted: set[tuple[int, int, int]]
) -> list[Device]:
    members = (known.get(address, Device(address)) for address in sorted(group))
    return [device for device in members if device.address.card not in wanted and not device.is_bridge]
