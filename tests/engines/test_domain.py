"""What libvirt is asked for, and what is read from what it says. tests/hub/test_vm shows that it takes it."""

from __future__ import annotations

import ipaddress
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from gpubox.engines import domain
from gpubox.engines.domain import DiskFacts, DomainSpec, Leases, Names
from gpubox.engines.passthrough import Address
from gpubox.engines.volumes import Volume
from gpubox.inventory import GPU

H100 = GPU("GPU-1", "NVIDIA H100", 81559, 3)
SPEC = DomainSpec(
    names=Names.of("hub1", "ada", "big-run"),
    hub_id="hub1",
    user="ada",
    server="big-run",
    lease_id=7,
    machine="vm",
    cpus=2.5,
    memory_mib=4096,
    address="10.0.0.5",
    pool="gpubox",
    pool_path="/pool",
    network="gpubox-vm",
    filter="gpubox-hub1",
)
SUBNET = ipaddress.IPv4Network("10.0.0.0/24")


def made(**changes: object) -> ET.Element:
    return ET.fromstring(domain.domain_xml(replace(SPEC, **changes)))  # type: ignore[arg-type]


def test_names_follow_from_hub_user_and_server_and_no_two_servers_share_one() -> None:
    assert Names.of("hub1", "ada", "big-run") == SPEC.names
    others = [
        ("hub2", "ada", "big-run"),
        ("hub1", "ada", ""),
        ("hub1", "ada:big", "run"),
        ("hub1", "ada", "big:run"),
    ]
    assert len({Names.of(*other) for other in others} | {SPEC.names}) == 5
    mac = SPEC.names.mac
    assert int(mac[:2], 16) & 1 == 0, "a group's address is no machine's"


def test_a_domain_tells_whose_it_is_whatever_the_names() -> None:
    odd = {"user": 'a "b" <c> & \x01 é', "server": "x/y"}
    xml = domain.domain_xml(replace(SPEC, **odd, gpus=(H100,)))  # type: ignore[arg-type]
    facts = domain.facts_of(xml, "hub1")
    assert facts is not None
    box = domain.box_of("gpubox-1", facts, running=True)
    assert (box.user, box.server, box.machine, box.gpus) == (odd["user"], "x/y", "vm", ("GPU-1",))
    assert domain.gpus_of(facts) == (H100,)
    assert domain.facts_of(xml, "hub2") is None
    assert domain.facts_of("<domain><name>somebody's</name></domain>", "hub1") is None


def test_a_domain_tells_what_is_known_of_its_disk_and_what_is_kept_when_it_is_off() -> None:
    disk = DiskFacts("0123456789abcdef", 1e9, "ada/lab:2", "PyTorch 2.6")
    facts = domain.facts_of(domain.domain_xml(replace(SPEC, disk=disk)), "hub1")
    assert facts is not None and domain.disk_of(facts) == disk
    volume = Volume("gpubox-1.disk.qcow2", "/pool/gpubox-1.disk.qcow2", 5000, 2e9, "/pool/saved.qcow2")
    kept = domain.kept_of(facts, volume, {"gpubox-vm-20260101000000"})
    assert (kept.user, kept.server, kept.machine, kept.engine) == ("ada", "big-run", "vm", "libvirt")
    assert (kept.image, kept.since, kept.created_at, kept.size_bytes) == ("ada/lab:2", 2e9, 1e9, 5000)
    assert kept.key == disk.id and not kept.is_old


@pytest.mark.parametrize(("base", "is_old"), [("gpubox-vm-2", False), ("gpubox-vm-1", True)])
def test_a_machine_is_old_once_there_is_a_newer_golden_disk(base: str, is_old: bool) -> None:
    facts = domain.facts_of(domain.domain_xml(SPEC), "hub1")
    assert facts is not None
    volume = Volume("gpubox-1.disk.qcow2", "", 1, 2.0, f"/pool/{base}.qcow2")
    kept = domain.kept_of(facts, volume, {"gpubox-vm-2"})
    assert (kept.is_old, kept.image) == (is_old, base)


def test_a_copy_is_of_the_system_alone_and_never_of_the_home() -> None:
    backup = ET.fromstring(domain.backup_xml("/pool/copy.qcow2"))
    disks = {disk.get("name"): disk.get("backup") for disk in backup.iter("disk")}
    assert disks == {"vda": "yes", "vdb": "no"}
    target = backup.find("disks/disk[@name='vda']/target")
    assert target is not None and target.get("file") == "/pool/copy.qcow2"


def test_the_limits_of_the_machine_type_are_the_domains() -> None:
    xml = made()
    assert (xml.findtext("vcpu"), xml.findtext("memory")) == ("3", "4096")


def test_the_environment_is_a_file_and_no_text_of_the_domain() -> None:
    entry = made().find("sysinfo/entry[@name='opt/io.systemd.credentials/gpubox.environment']")
    assert entry is not None
    assert entry.get("file") == f"/pool/{SPEC.names.environment}" and not entry.text


def test_all_functions_of_a_card_are_taken_from_the_hosts_driver_and_given_back() -> None:
    devices = (Address.parse("0000:41:00.0"), Address.parse("0000:41:00.1"))
    cards = made(devices=devices).findall("devices/hostdev")
    assert [card.get("managed") for card in cards] == ["yes", "yes"]
    places = [card.find("source/address") for card in cards]
    assert [(place.get("bus"), place.get("function")) for place in places if place is not None] == [
        ("0x41", "0x0"),
        ("0x41", "0x1"),
    ]


def test_a_machine_boots_by_its_disk_by_uefi_or_by_the_templates_kernel() -> None:
    assert made().find("os/boot") is not None and made().find("os/kernel") is None
    assert made(uefi=True).find("os").get("firmware") == "efi"  # type: ignore[union-attr]
    direct = made(kernel="k", initrd="i", root="UUID=1", uefi=True)
    assert direct.findtext("os/kernel") == "/pool/k" and direct.find("os/boot") is None


@pytest.mark.parametrize(
    "value", ["plain", "", 'a "b" \\c $HOME `id`', "two\nlines", "ünï", "a=b # c", " x "]
)
def test_a_value_is_quoted_as_a_shell_would_read_it_in_double_quotes(value: str) -> None:
    text = domain.environment_file({"NAME": value}).decode()
    assert text.startswith('NAME="') and text.endswith('"\n')
    inner = text[len('NAME="') : -2]
    plain, position = "", 0
    while position < len(inner):  # systemd.exec(5): a backslash takes the meaning of \, ", $ and `
        assert inner[position] not in '"$`'
        position += inner[position] == "\\"
        plain += inner[position]
        position += 1
    assert plain == value


def test_addresses_are_fixed_and_none_is_given_twice() -> None:
    xml = domain.network_xml("gpubox-vm", SUBNET)
    assert Leases.read(xml).gateway == "10.0.0.1"
    assert Leases.read(xml).free() == "10.0.0.2"
    taken = xml.replace("<dhcp />", "<dhcp><host mac='52:54:00:00:00:01' ip='10.0.0.2'/></dhcp>")
    assert Leases.read(taken).addresses == {"52:54:00:00:00:01": "10.0.0.2"}
    assert Leases.read(taken).free() == "10.0.0.3"
    full = replace(Leases.read(taken), addresses={str(n): str(a) for n, a in enumerate(SUBNET.hosts())})
    with pytest.raises(ValueError, match="given away"):
        full.free()


def test_a_network_without_an_address_is_none_for_machines() -> None:
    with pytest.raises(ValueError, match="no IPv4"):
        Leases.read("<network><name>bridge</name></network>")


def test_the_filter_opens_the_hub_and_closes_host_and_neighbours() -> None:
    xml = ET.fromstring(domain.filter_xml("f", SUBNET, ["192.168.1.9"], [("172.18.0.1", 8081)]))
    rules = [(rule, child) for rule in xml.findall("rule") for child in rule]
    accepted = {
        (child.get("dstipaddr"), child.get("dstportstart"))
        for rule, child in rules
        if (rule.get("action"), rule.get("direction")) == ("accept", "out") and child.get("dstportstart")
    }
    assert accepted == {(None, "67"), ("10.0.0.1", "53"), ("172.18.0.1", "8081")}
    dropped = {
        child.get("dstipaddr"): int(rule.get("priority", "0"))
        for rule, child in rules
        if (rule.get("action"), rule.get("direction")) == ("drop", "out")
    }
    assert set(dropped) == {"10.0.0.0", "169.254.0.0", "192.168.1.9"}
    everything = [rule for rule, child in rules if rule.get("action") == "accept" and not child.attrib]
    assert all(int(rule.get("priority", "0")) > max(dropped.values()) for rule in everything)


CONSOLE = (
    "\x1bc\x1b[?7l[    0.000000] Linux version 6.12\r\n\x1b[0;32m  OK  \x1b[0m started\r\n"
    "gpubox: disk ready\r\ngpubox: driver 1 of 2\r\ngpubox: server starts\r\n\r\n"
)


def test_how_far_a_guest_has_come_is_read_from_its_console() -> None:
    assert domain.marks(CONSOLE) == {"disk": "ready", "driver": "1 of 2", "server": "starts"}
    assert domain.marks("") == {}


def test_last_words_have_no_terminals_signs() -> None:
    words = domain.last_lines(CONSOLE + "Kernel panic - not syncing\r\n", 2)
    assert words == "gpubox: server starts\nKernel panic - not syncing"
