"""Parts of a card: what node devices say of them, which one a machine gets, and what becomes of it after.

The XML is written as https://libvirt.org/formatnode.html documents it. Real machines get virtual functions in
test_passthrough_nested; no vGPU has been made with a real card.
"""

from __future__ import annotations

import uuid
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engines.test_domain import SPEC
from gpubox.engines import EngineError, domain
from gpubox.engines.passthrough import Address, CannotPass, read_device
from gpubox.engines.vgpu import Part, addresses_in, choose, choose_function, read_parent, read_vgpu, vgpu_xml
from gpubox.inventory import GPU

CARD = Address.parse("0000:06:00.0")

NODE = """
<device>
  <name>pci_0000_06_00_{function}</name>
  <path>/sys/devices/pci0000:00/0000:00:02.0/0000:06:00.{function}</path>
  <parent>pci_0000_00_02_0</parent>
  <driver><name>nvidia</name></driver>
  <capability type='pci'>
    <class>0x030200</class>
    <domain>0</domain>
    <bus>6</bus>
    <slot>0</slot>
    <function>{function}</function>
    <product id='0x1eb8'>TU104GL [Tesla T4]</product>
    <vendor id='0x10de'>NVIDIA Corporation</vendor>
    {capability}
    <iommuGroup number='{group}'>
      <address domain='0x0000' bus='0x06' slot='0x00' function='0x{function}'/>
    </iommuGroup>
  </capability>
</device>
"""
TYPE = """
      <type id='{id}'>
        <name>{name}</name>
        <deviceAPI>vfio-pci</deviceAPI>
        <availableInstances>{available}</availableInstances>
      </type>
"""
MDEV = """
<device>
  <name>mdev_4b20d080_1b54_4048_85b3_a6a62d165c01_0000_06_00_0</name>
  <path>/sys/devices/pci0000:00/0000:00:02.0/0000:06:00.0/4b20d080-1b54-4048-85b3-a6a62d165c01</path>
  <parent>pci_0000_06_00_0</parent>
  <driver><name>nvidia-vgpu-vfio</name></driver>
  <capability type='mdev'>
    <type id='nvidia-231'/>
    <uuid>4b20d080-1b54-4048-85b3-a6a62d165c01</uuid>
    <iommuGroup number='12'/>
  </capability>
</device>
"""


def node(function: int, *types: str, of: bool = False) -> str:
    """A function of the card; ``of`` makes it a virtual one of function 0."""
    capability = f"<capability type='mdev_types'>{''.join(types)}</capability>" if types else ""
    if of:
        physical = "<address domain='0x0000' bus='0x06' slot='0x00' function='0x0'/>"
        capability += f"<capability type='phys_function'>{physical}</capability>"
    return NODE.format(function=function, capability=capability, group=20 + function)


def kind(id_: str, name: str, available: int) -> str:
    return TYPE.format(id=id_, name=name, available=available)


T4 = node(0, kind("nvidia-231", "GRID T4-2Q", 8), kind("nvidia-232", "GRID T4-4Q", 0))


def parents(*xml: str) -> list[Any]:
    return [found for one in xml if (found := read_parent(one)) is not None]


@pytest.mark.parametrize("wanted", ["nvidia-231", "GRID T4-2Q", "T4-2Q"])
def test_a_vgpu_is_made_of_the_card_that_offers_its_type_by_id_or_name(wanted: str) -> None:
    parent, chosen = choose(parents(T4), CARD, wanted)
    assert (parent.node, chosen.id) == ("pci_0000_06_00_0", "nvidia-231")


def test_a_card_whose_virtual_functions_make_its_vgpus_takes_one_that_is_free() -> None:
    functions = [node(number, kind("nvidia-700", "NVIDIA A40-4Q", number - 1), of=True) for number in (1, 2)]
    parent, _ = choose(parents(node(0), *functions), CARD, "nvidia-700")
    assert parent.address == Address.parse("0000:06:00.2")


@pytest.mark.parametrize(
    ("xml", "wanted", "said"),
    [
        (node(0), "nvidia-231", r"0000:06:00\.0 offers no vGPUs.*NVIDIA's vGPU driver"),
        (T4, "nvidia-9", r"no vGPU type 'nvidia-9'\. It has: GRID T4-2Q \(nvidia-231\), GRID T4-4Q"),
        (T4, "GRID T4-4Q", r"no more vGPUs of the type 'GRID T4-4Q'"),
    ],
)
def test_what_a_card_cannot_make_is_refused_with_the_reason(xml: str, wanted: str, said: str) -> None:
    with pytest.raises(CannotPass, match=said):
        choose(parents(xml), CARD, wanted)


def test_a_vgpu_of_another_card_is_none_of_this_one() -> None:
    with pytest.raises(CannotPass, match="offers no vGPUs"):
        choose(parents(T4), Address.parse("0000:07:00.0"), "nvidia-231")


def test_a_virtual_function_is_taken_that_no_machine_has() -> None:
    xml = [node(0), node(1, of=True), node(2, of=True)]
    devices = [found for one in xml if (found := read_device(one)) is not None]
    first, second = Address.parse("0000:06:00.1"), Address.parse("0000:06:00.2")
    assert choose_function(parents(*xml), devices, CARD, set()).address == first
    assert choose_function(parents(*xml), devices, CARD, {first}).address == second
    with pytest.raises(CannotPass, match="it has 2, in use"):
        choose_function(parents(*xml), devices, CARD, {first, second})
    with pytest.raises(CannotPass, match=r"has no virtual functions.*sriov_numvfs"):
        choose_function(parents(node(0)), devices, CARD, set())
    with pytest.raises(CannotPass, match="IOMMU is off"):
        choose_function(parents(*xml), [replace(one, group=frozenset()) for one in devices], CARD, set())
    crowded = [replace(one, group=frozenset({first, second})) for one in devices]
    with pytest.raises(CannotPass, match=r"are also NVIDIA Corporation .*Tesla T4\] at 0000:06:00\.2"):
        choose_function(parents(*xml), crowded, CARD, set())


def test_a_virtual_function_that_is_to_be_a_vgpu_and_has_no_type_is_left_out(tmp_path: Path) -> None:
    """In files as NVIDIA documents them for drivers that make vGPUs of virtual functions."""
    xml = [node(0), node(1, of=True), node(2, of=True)]
    devices = [found for one in xml if (found := read_device(one)) is not None]
    types = [tmp_path / f"0000:06:00.{number}" / "nvidia" / "current_vgpu_type" for number in (1, 2)]
    for file in types:
        file.parent.mkdir(parents=True)
        file.write_text("0\n")
    with pytest.raises(CannotPass, match=r"has a vGPU type\. .*06:00\.1/nvidia/creatable_vgpu_types"):
        choose_function(parents(*xml), devices, CARD, set(), tmp_path)
    types[1].write_text("1155\n")
    second = choose_function(parents(*xml), devices, CARD, set(), tmp_path)
    assert second == devices[2]
    with pytest.raises(CannotPass, match="it has 1, in use"):
        choose_function(parents(*xml), devices, CARD, {second.address}, tmp_path)


def test_a_machine_with_a_part_of_a_card_says_so_and_borrows_none_whole() -> None:
    id_ = SPEC.names.id
    spec = replace(SPEC, gpus=(GPU("GPU-1", "Tesla T4"),), part=Part(CARD, "nvidia-231"), vgpu=id_)
    xml = domain.domain_xml(spec)
    [device] = ET.fromstring(xml).findall("devices/hostdev")
    assert dict(device.attrib) == {"mode": "subsystem", "type": "mdev", "model": "vfio-pci"}
    address = device.find("source/address")
    assert address is not None and address.get("uuid") == str(id_)
    facts = domain.facts_of(xml, "hub1")
    assert facts is not None
    assert [gpu.uuid for gpu in domain.gpus_of(facts)] == ["GPU-1"] and domain.cards_of(facts) == ()
    assert addresses_in(xml) == frozenset()
    whole = domain.domain_xml(replace(SPEC, devices=(CARD,)))
    assert addresses_in(whole) == {CARD}


# --- the calls, to a stand-in for libvirt with a card that no test machine has ------------------------


class StandIn:
    """A libvirt with a T4 and a virtual function: vGPUs are made and destroyed, domains start or fail."""

    def __init__(self) -> None:
        self.vgpus: dict[str, str] = {}
        self.domains: dict[str, StandInDomain] = {}
        self.fails = False
        self.function_driver = "nvidia"

    def isAlive(self) -> bool:  # libvirt's name
        return True

    def listAllDevices(self, flags: int) -> list[StandInDevice]:
        import libvirt

        if flags == libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_MDEV:
            return [StandInDevice(self, xml, id_) for id_, xml in self.vgpus.items()]
        left = 8 - len(self.vgpus)
        function = node(1, of=True).replace("<name>nvidia<", f"<name>{self.function_driver}<")
        parents = node(0, kind("nvidia-231", "GRID T4-2Q", left)), function
        return [StandInDevice(self, xml, "") for xml in parents]

    def nodeDeviceCreateXML(self, xml: str, flags: int) -> StandInDevice:
        made = ET.fromstring(xml)
        assert made.findtext("parent") == "pci_0000_06_00_0"
        id_ = made.findtext("capability[@type='mdev']/uuid") or ""
        self.vgpus[id_] = MDEV.replace("4b20d080-1b54-4048-85b3-a6a62d165c01", id_)
        return StandInDevice(self, self.vgpus[id_], id_)

    def defineXML(self, xml: str) -> StandInDomain:
        made = StandInDomain(self, xml)
        self.domains[made.UUIDString()] = made
        return made

    def listAllDomains(self, flags: int) -> list[StandInDomain]:
        return list(self.domains.values())


class StandInDevice:
    def __init__(self, host: StandIn, xml: str, id_: str) -> None:
        self.host, self.xml, self.id = host, xml, id_

    def XMLDesc(self, flags: int) -> str:
        return self.xml

    def destroy(self) -> None:
        del self.host.vgpus[self.id]


class StandInDomain:
    def __init__(self, host: StandIn, xml: str) -> None:
        self.host, self.xml, self.active = host, xml, False

    def create(self) -> None:
        import libvirt

        if self.host.fails:
            raise libvirt.libvirtError("no memory")
        self.active = True

    def XMLDesc(self, flags: int) -> str:
        return self.xml

    def UUIDString(self) -> str:
        return ET.fromstring(self.xml).findtext("uuid") or ""

    def isActive(self) -> bool:
        return self.active


@pytest.fixture
def host() -> StandIn:
    return StandIn()


@pytest.fixture
def guests(host: StandIn) -> Any:
    from gpubox.engines.guests import Guests

    made = Guests("", "hub1", pool="p", pool_path="/p", network="n", subnet="10.0.0.0/24")
    made._connection = host
    return made


WITH_VGPU = replace(SPEC, part=Part(CARD, "T4-2Q"))
ID = str(SPEC.names.id)


def test_a_vgpu_is_made_for_a_start_and_removed_once_the_machine_is_off(host: StandIn, guests: Any) -> None:
    guests.start(WITH_VGPU)
    assert list(host.vgpus) == [ID] and f'uuid="{ID}"' in host.domains[ID].xml
    guests.remove_left_vgpus()
    assert list(host.vgpus) == [ID], "its machine runs"
    host.domains[ID].active = False
    guests.remove_left_vgpus()
    assert not host.vgpus


def test_a_start_that_fails_leaves_no_vgpu(host: StandIn, guests: Any) -> None:
    host.fails = True
    with pytest.raises(EngineError, match="no memory"):
        guests.start(WITH_VGPU)
    assert not host.vgpus


def test_a_vgpu_that_a_killed_hub_left_is_no_hindrance_to_the_next_start(host: StandIn, guests: Any) -> None:
    host.nodeDeviceCreateXML(vgpu_xml("pci_0000_06_00_0", "nvidia-231", SPEC.names.id), 0)
    guests.start(WITH_VGPU)
    assert list(host.vgpus) == [ID]


def test_somebody_elses_vgpu_is_left_alone(host: StandIn, guests: Any) -> None:
    other = uuid.UUID(int=7)
    host.nodeDeviceCreateXML(vgpu_xml("pci_0000_06_00_0", "nvidia-231", other), 0)
    guests.start(WITH_VGPU)
    host.domains[ID].active = False
    guests.remove_left_vgpus()
    assert list(host.vgpus) == [str(other)]
    found = read_vgpu(host.vgpus[str(other)])
    assert found is not None and found.id == other


@pytest.mark.parametrize(("driver", "managed"), [("nvidia", "no"), ("vfio-pci", "yes"), ("i915", "yes")])
def test_a_function_that_nvidias_driver_has_stays_with_it_and_any_other_is_taken_from_its_driver(
    host: StandIn, guests: Any, driver: str, managed: str
) -> None:
    host.function_driver = driver
    guests.start(replace(SPEC, part=Part(CARD)))
    [device] = ET.fromstring(host.domains[ID].xml).findall("devices/hostdev")
    assert (device.get("type"), device.get("managed")) == ("pci", managed)
    with pytest.raises(CannotPass, match="it has 1, in use"):
        guests.start(replace(SPEC, names=domain.Names.of("hub1", "ben", ""), part=Part(CARD)))
