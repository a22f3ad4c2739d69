"""Which devices go into a machine with a card, from node devices as libvirt's format documents them."""

from __future__ import annotations

import pytest

from gpubox.engines.passthrough import Address, CannotPass, Device, plan, read_device

# One function of a card, as https://libvirt.org/formatnode.html has it.
NODE = """
<device>
  <name>pci_0000_{bus:02x}_{slot:02x}_{function}</name>
  <path>/sys/devices/pci0000:00/0000:00:01.0/0000:{bus:02x}:{slot:02x}.{function}</path>
  <parent>pci_0000_00_01_0</parent>
  <driver><name>{driver}</name></driver>
  <capability type='pci'>
    <class>{class_code}</class>
    <domain>0</domain>
    <bus>{bus}</bus>
    <slot>{slot}</slot>
    <function>{function}</function>
    <product id='0x1e07'>{product}</product>
    <vendor id='0x10de'>{vendor}</vendor>
    {group}
    <numa node='0'/>
    <pci-express/>
  </capability>
</device>
"""


def node(
    bus: int,
    function: int,
    product: str,
    *,
    group: tuple[tuple[int, int, int], ...] = (),
    slot: int = 0,
    class_code: str = "0x030000",
    driver: str = "nvidia",
    vendor: str = "NVIDIA Corporation",
) -> str:
    """The XML of one function; ``group`` are the members of its IOMMU group, as bus, slot and function."""
    members = "".join(
        f"<address domain='0x0000' bus='0x{b:02x}' slot='0x{s:02x}' function='0x{f:x}'/>" for b, s, f in group
    )
    iommu = f"<iommuGroup number='{bus}'>{members}</iommuGroup>" if group else ""
    return NODE.format(
        bus=bus,
        slot=slot,
        function=function,
        product=product,
        class_code=class_code,
        driver=driver,
        vendor=vendor,
        group=iommu,
    )


def read(*xml: str) -> list[Device]:
    return [device for one in xml if (device := read_device(one)) is not None]


CARD = ((1, 0, 0), (1, 0, 1), (1, 0, 2), (1, 0, 3))


def geforce(group: tuple[tuple[int, int, int], ...] = CARD, bus: int = 1) -> list[str]:
    return [
        node(bus, 0, "GeForce RTX 2080 Ti", group=group),
        node(bus, 1, "High Definition Audio", group=group, class_code="0x040300", driver="snd_hda_intel"),
        node(bus, 2, "USB 3.1 Host Controller", group=group, class_code="0x0c0330", driver="xhci_hcd"),
        node(bus, 3, "USB Type-C UCSI Controller", group=group, class_code="0x0c8000", driver=""),
    ]


def test_all_functions_of_a_card_go_with_it() -> None:
    given = plan(read(*geforce()), [Address.parse("0000:01:00.0")])
    assert [str(address) for address in given] == [f"0000:01:00.{function}" for function in range(4)]


def test_nvml_writes_the_place_of_a_card_with_a_longer_domain() -> None:
    assert Address.parse("00000000:01:00.0") == Address.parse("0000:01:00.0")
    with pytest.raises(ValueError, match="no PCI address"):
        Address.parse("GPU-5f3557a9")


def test_the_bridge_above_a_card_is_in_its_group_and_stays_with_the_host() -> None:
    group = ((0, 1, 0), *CARD)
    port = node(
        0, 0, "Root Port", slot=1, group=group, class_code="0x060400", driver="pcieport", vendor="Intel"
    )
    given = plan(read(port, *geforce(group)), [Address.parse("0000:01:00.0")])
    assert len(given) == 4 and all(address.bus == 1 for address in given)


def test_a_card_whose_group_has_other_devices_is_refused_and_they_are_named() -> None:
    group = (*CARD, (2, 0, 0))
    disk = node(2, 0, "NVMe SSD", group=group, class_code="0x010802", driver="nvme", vendor="Samsung")
    with pytest.raises(CannotPass, match=r"in its IOMMU group are also Samsung NVMe SSD at 0000:02:00\.0\."):
        plan(read(disk, *geforce(group)), [Address.parse("0000:01:00.0")])


def test_a_member_that_libvirt_does_not_list_counts_as_another_device() -> None:
    with pytest.raises(CannotPass, match=r"a device at 0000:02:00\.0"):
        plan(read(*geforce((*CARD, (2, 0, 0)))), [Address.parse("0000:01:00.0")])


def test_two_cards_of_one_group_go_together_or_not_at_all() -> None:
    both = tuple((bus, 0, function) for bus in (1, 2) for function in range(4))
    devices = read(*geforce(both, bus=1), *geforce(both, bus=2))
    one, other = Address.parse("0000:01:00.0"), Address.parse("0000:02:00.0")
    assert len(plan(devices, [one, other])) == 8
    with pytest.raises(CannotPass, match=r"GeForce RTX 2080 Ti at 0000:02:00\.0"):
        plan(devices, [one])


def test_a_host_without_an_iommu_is_told_what_to_switch_on() -> None:
    with pytest.raises(CannotPass, match=r"IOMMU is off.*intel_iommu=on"):
        plan(read(*geforce(())), [Address.parse("0000:01:00.0")])


def test_a_card_that_the_host_has_no_more_is_refused() -> None:
    with pytest.raises(CannotPass, match=r"no device at 0000:09:00\.0"):
        plan(read(*geforce()), [Address.parse("0000:09:00.0")])


def test_what_is_no_pci_device_is_left_out() -> None:
    assert read_device("<device><name>net_lo</name><capability type='net'/></device>") is None
