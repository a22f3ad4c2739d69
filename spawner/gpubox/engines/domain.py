"""What a machine type and a lease mean for a virtual machine: pure functions to and from libvirt's XML.

Element names are those of libvirt's formats (https://libvirt.org/formatdomain.html, formatnetwork.html,
formatnwfilter.html, formatstorage.html). The calls are in ``guests``.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ..inventory import GPU
from . import Box, KeptMachine
from .passthrough import Address
from .vgpu import Part

if TYPE_CHECKING:
    from .volumes import Volume

NAMESPACE = "https://gpubox.invalid/server/1"
_TAG = f"{{{NAMESPACE}}}server"
ET.register_namespace("gpubox", NAMESPACE)

DISK = ".disk.qcow2"
"""How the volume of a domain's system is called, after the domain's name."""

PORT = 8888
"""Where the server of a machine listens, in the machine."""

# systemd takes what is called so as a credential of the whole system (systemd.system-credentials(7)).
_CREDENTIAL = "opt/io.systemd.credentials/"
_LINK_LOCAL = "169.254.0.0/16"  # where clouds keep what their machines' keys are asked for


@dataclass(frozen=True)
class Names:
    """What a server's domain and volumes are called: all follows from hub, user and server."""

    id: uuid.UUID

    @classmethod
    def of(cls, hub_id: str, user: str, server: str) -> Names:
        """Of that server of that hub. JSON, so that no two servers have one name between them."""
        return cls(uuid.uuid5(uuid.NAMESPACE_URL, f"gpubox:{json.dumps([hub_id, user, server])}"))

    @property
    def domain(self) -> str:
        """The domain, and how its volumes' names begin."""
        return f"gpubox-{self.id.hex[:16]}"

    @property
    def disk(self) -> str:
        """The volume with its system: what its user changed over the template."""
        return f"{self.domain}{DISK}"

    @property
    def home(self) -> str:
        """The volume with its user's home."""
        return f"{self.domain}.home.qcow2"

    @property
    def environment(self) -> str:
        """The volume with the environment of the next start, for libvirt's eyes alone."""
        return f"{self.domain}.environment"

    @property
    def console(self) -> str:
        """The volume that the guest's console is written to."""
        return f"{self.domain}.console"

    @property
    def mac(self) -> str:
        """Its network card's address; 52:54 is what QEMU's begin with."""
        return ":".join(["52", "54", *(f"{byte:02x}" for byte in self.id.bytes[:4])])


@dataclass(frozen=True)
class DiskFacts:
    """What is known of a machine's disk for as long as there is one: its own id, since when it is, and from
    what template (owner/name:version; empty for a golden disk), which holds what, in words."""

    id: str = ""
    made_at: float = 0.0
    template: str = ""
    contents: str = ""


@dataclass(frozen=True)
class DomainSpec:
    """All that one domain gets from its machine type, its lease and the options of the engine."""

    names: Names
    hub_id: str
    user: str
    server: str
    lease_id: int
    machine: str
    cpus: float
    memory_mib: int
    address: str
    pool: str
    pool_path: str
    network: str
    filter: str
    virt_type: str = "kvm"
    gpus: tuple[GPU, ...] = ()
    devices: tuple[Address, ...] = ()
    # By libvirt, which gives them back; else the host's driver keeps them, and hands them on itself.
    is_taken_from_driver: bool = True
    # In place of whole cards; ``vgpu`` is the one that was made of it.
    part: Part | None = None
    vgpu: uuid.UUID | None = None
    # Kernel and initial file system beside the template; without them the disk boots itself.
    kernel: str = ""
    initrd: str = ""
    root: str = ""
    uefi: bool = False
    disk: DiskFacts = DiskFacts()


def domain_xml(spec: DomainSpec) -> str:
    """The domain of a server, to be defined anew for every start."""
    domain = ET.Element("domain", type=spec.virt_type)
    _text(domain, "name", spec.names.domain)
    _text(domain, "uuid", str(spec.names.id))
    _text(domain, "title", f"gpubox: {_printable(spec.user)}/{_printable(spec.server)}")
    ET.SubElement(domain, "metadata").append(_metadata(spec))
    _text(domain, "memory", str(spec.memory_mib), unit="MiB")
    _text(domain, "vcpu", str(max(1, math.ceil(spec.cpus))))
    _boot(domain, spec)
    features = ET.SubElement(domain, "features")
    for feature in ("acpi", "apic"):
        ET.SubElement(features, feature)
    ET.SubElement(domain, "cpu", mode="host-passthrough" if spec.virt_type == "kvm" else "maximum")
    ET.SubElement(domain, "clock", offset="utc")
    _text(domain, "on_poweroff", "destroy")
    _text(domain, "on_reboot", "restart")
    _text(domain, "on_crash", "destroy")
    _devices(ET.SubElement(domain, "devices"), spec)
    secrets = ET.SubElement(domain, "sysinfo", type="fwcfg")
    for name, volume in (("gpubox.environment", spec.names.environment),):
        # A file: its text would be on QEMU's command line, which every account of the host may read.
        ET.SubElement(secrets, "entry", name=f"{_CREDENTIAL}{name}", file=f"{spec.pool_path}/{volume}")
    hostname = ET.SubElement(secrets, "entry", name=f"{_CREDENTIAL}system.hostname")
    hostname.text = spec.names.domain
    return ET.tostring(domain, encoding="unicode")


def _boot(domain: ET.Element, spec: DomainSpec) -> None:
    system = ET.SubElement(domain, "os", {"firmware": "efi"} if spec.uefi and not spec.kernel else {})
    _text(system, "type", "hvm", arch="x86_64", machine="q35")
    if spec.kernel:
        _text(system, "kernel", f"{spec.pool_path}/{spec.kernel}")
        _text(system, "initrd", f"{spec.pool_path}/{spec.initrd}")
        _text(system, "cmdline", f"root={spec.root} ro console=ttyS0 quiet panic=5")
        return
    if spec.uefi:
        # The disk's GRUB is signed by nobody.
        firmware = ET.SubElement(system, "firmware")
        for feature in ("enrolled-keys", "secure-boot"):
            ET.SubElement(firmware, "feature", enabled="no", name=feature)
    ET.SubElement(system, "boot", dev="hd")


def _devices(devices: ET.Element, spec: DomainSpec) -> None:
    for volume, target in ((spec.names.disk, "vda"), (spec.names.home, "vdb")):
        disk = ET.SubElement(devices, "disk", type="volume", device="disk")
        ET.SubElement(disk, "driver", name="qemu", type="qcow2", discard="unmap")
        ET.SubElement(disk, "source", pool=spec.pool, volume=volume)
        ET.SubElement(disk, "target", dev=target, bus="virtio")
    link = ET.SubElement(devices, "interface", type="network")
    ET.SubElement(link, "mac", address=spec.names.mac)
    ET.SubElement(link, "source", network=spec.network)
    ET.SubElement(link, "model", type="virtio")
    ET.SubElement(link, "port", isolated="yes")
    filters = ET.SubElement(link, "filterref", filter=spec.filter)
    ET.SubElement(filters, "parameter", name="IP", value=spec.address)
    serial = ET.SubElement(devices, "serial", type="file")
    ET.SubElement(serial, "source", path=f"{spec.pool_path}/{spec.names.console}")
    ET.SubElement(serial, "target", port="0")
    # The guest agent: it holds the disk's files still for the moment in which a save begins.
    agent = ET.SubElement(devices, "channel", type="unix")
    ET.SubElement(agent, "target", type="virtio", name="org.qemu.guest_agent.0")
    _text(ET.SubElement(devices, "rng", model="virtio"), "backend", "/dev/urandom", model="random")
    ET.SubElement(devices, "controller", type="usb", model="none")
    # A card's memory access goes past QEMU: what the guest has must be there, and stay where it is.
    ET.SubElement(devices, "memballoon", model="none")
    managed = "yes" if spec.is_taken_from_driver else "no"
    for address in spec.devices:
        device = ET.SubElement(devices, "hostdev", mode="subsystem", type="pci", managed=managed)
        ET.SubElement(device, "source").append(address.element())
    if spec.vgpu:
        device = ET.SubElement(devices, "hostdev", mode="subsystem", type="mdev", model="vfio-pci")
        ET.SubElement(ET.SubElement(device, "source"), "address", uuid=str(spec.vgpu))


# --- metadata: how a domain is found again ----------------------------------------------------------


def _metadata(spec: DomainSpec) -> ET.Element:
    gpus = [
        {"uuid": gpu.uuid, "model": gpu.model, "memory_mib": gpu.memory_mib, "index": gpu.index}
        for gpu in spec.gpus
    ]
    facts = {
        "hub": spec.hub_id,
        "user": spec.user,
        "server": spec.server,
        "lease": spec.lease_id,
        "machine": spec.machine,
        "gpus": gpus,
        "has_part": spec.part is not None,
        "disk": asdict(spec.disk),
    }
    # JSON, which can say any character of a name; XML cannot.
    element = ET.Element(_TAG)
    element.text = json.dumps(facts)
    return element


def facts_of(xml: str, hub_id: str) -> dict[str, object] | None:
    """What the domain was made for; None where it is none of that hub's."""
    element = ET.fromstring(xml).find(f"metadata/{_TAG}")  # noqa: S314  # libvirt's own word
    if element is None:
        return None
    facts: dict[str, object] = json.loads(element.text or "{}")
    return facts if facts.get("hub") == hub_id else None


def box_of(name: str, facts: Mapping[str, object], *, running: bool) -> Box:
    """The domain as the hub compares it with its leases."""
    return Box(
        id=name,
        name=f"the virtual machine {name}",
        user=str(facts["user"]),
        server=str(facts["server"]),
        machine=str(facts["machine"]),
        running=running,
        gpus=tuple(gpu.uuid for gpu in gpus_of(facts)),
    )


def gpus_of(facts: Mapping[str, object]) -> tuple[GPU, ...]:
    """The cards that the domain was given, as the driver told them before."""
    gpus = facts.get("gpus")
    return tuple(GPU(**gpu) for gpu in gpus) if isinstance(gpus, list) else ()


def cards_of(facts: Mapping[str, object]) -> tuple[GPU, ...]:
    """Those of them that it has whole, which the host's driver does not know for so long."""
    return () if facts.get("has_part") else gpus_of(facts)


def server_of(facts: Mapping[str, object]) -> str:
    """Whose the domain with those facts is: ``ada``, or ``ada/server``."""
    return f"{facts['user']}/{facts['server']}" if facts["server"] else str(facts["user"])


def disk_of(facts: Mapping[str, object]) -> DiskFacts:
    """What is known of the disk of the domain with those facts."""
    told = facts.get("disk")
    return DiskFacts(**told) if isinstance(told, dict) else DiskFacts()


def kept_of(facts: Mapping[str, object], volume: Volume, newest: Collection[str]) -> KeptMachine:
    """A machine that is switched off; ``newest`` are the golden disks that there are no newer ones of."""
    disk = disk_of(facts)
    base = PurePosixPath(volume.backing).name.removesuffix(".qcow2")
    return KeptMachine(
        id=disk.id,
        user=str(facts["user"]),
        server=str(facts["server"]),
        machine=str(facts["machine"]),
        image=disk.template or base,
        since=volume.changed_at,
        created_at=disk.made_at,
        size_bytes=volume.size_bytes,
        is_old=not disk.template and base not in newest,
        engine="libvirt",
    )


# --- network and filter -----------------------------------------------------------------------------


def network_xml(name: str, subnet: ipaddress.IPv4Network) -> str:
    """A network behind this host's address in which every machine has an address of its own, for ever."""
    network = ET.Element("network")
    _text(network, "name", name)
    ET.SubElement(network, "forward", mode="nat")
    ET.SubElement(network, "bridge", name=name[:15], stp="off", delay="0")
    ET.SubElement(network, "port", isolated="yes")
    gateway = ET.SubElement(network, "ip", address=str(subnet[1]), prefix=str(subnet.prefixlen))
    ET.SubElement(gateway, "dhcp")  # no range: who has no entry gets no address
    return ET.tostring(network, encoding="unicode")


def host_xml(mac: str, name: str, address: str) -> str:
    """The fixed lease of one machine."""
    return ET.tostring(ET.Element("host", mac=mac, name=name, ip=address), encoding="unicode")


@dataclass(frozen=True)
class Leases:
    """The network's fixed addresses by card, and what is left to give."""

    subnet: ipaddress.IPv4Network
    addresses: Mapping[str, str]

    @classmethod
    def read(cls, xml: str) -> Leases:
        """From the network's own XML. Raises ValueError where it has no address for machines."""
        found = ET.fromstring(xml).find("ip")  # noqa: S314
        if found is None or found.get("address") is None:
            raise ValueError("it has no IPv4 address")
        prefix = found.get("prefix") or found.get("netmask")
        subnet = ipaddress.IPv4Network(f"{found.get('address')}/{prefix}", strict=False)
        hosts = found.findall("dhcp/host")
        return cls(subnet, {host.get("mac", "").lower(): host.get("ip", "") for host in hosts})

    @property
    def gateway(self) -> str:
        """The host's own address in it."""
        return str(self.subnet[1])

    def free(self) -> str:
        """An address that nobody has. Raises ValueError where all are given away."""
        taken = {self.gateway, *self.addresses.values()}
        for address in self.subnet.hosts():
            if str(address) not in taken:
                return str(address)
        raise ValueError("all its addresses are given away")


def filter_xml(
    name: str, subnet: ipaddress.IPv4Network, own: Iterable[str], open_ports: Iterable[tuple[str, int]]
) -> str:
    """The filter on every machine's link: out to the world, in from this host's hub, and nothing else here.

    ``own`` are further addresses of the host, ``open_ports`` what of it machines may reach: the hub.
    """
    gateway = str(subnet[1])
    filter_ = ET.Element("filter", name=name, chain="root")
    ET.SubElement(filter_, "filterref", filter="clean-traffic")  # libvirt's: no false MAC, IP or ARP; no IPv6

    def rule(action: str, direction: str, priority: int, protocol: str, **match: str) -> None:
        element = ET.SubElement(filter_, "rule", action=action, direction=direction, priority=str(priority))
        ET.SubElement(element, protocol, match)

    def port(number: int) -> dict[str, str]:
        return {"dstportstart": str(number), "dstportend": str(number)}

    rule("accept", "out", 100, "udp", **port(67))  # DHCP, to everybody
    for protocol in ("udp", "tcp"):
        rule("accept", "out", 100, protocol, dstipaddr=gateway, **port(53))
    for host, number in sorted(set(open_ports)):
        rule("accept", "out", 100, "tcp", dstipaddr=host, **port(number))
    rule("accept", "in", 100, "tcp", srcipaddr=gateway, **port(PORT))
    # The neighbours, too: by way of the host one could reach them past the bridge's own wall.
    for closed in (str(subnet), _LINK_LOCAL, *(f"{host}/32" for host in sorted(set(own)))):
        network = ipaddress.IPv4Network(closed)
        for protocol in ("all",):
            rule("drop", "out", 200, protocol, dstipaddr=str(network[0]), dstipmask=str(network.prefixlen))
    rule("accept", "out", 300, "all")
    rule("drop", "in", 300, "all")
    return ET.tostring(filter_, encoding="unicode")


# --- volumes ------------------------------------------------------------------------------------------


def volume_xml(name: str, capacity_bytes: int, *, kind: str = "qcow2", backing: str = "") -> str:
    """A volume that libvirt alone may read; with ``backing``, a path, it holds what differs from that."""
    volume = ET.Element("volume")
    _text(volume, "name", name)
    _text(volume, "capacity", str(capacity_bytes))
    if kind == "qcow2":
        _text(volume, "allocation", "0")
    target = ET.SubElement(volume, "target")
    ET.SubElement(target, "format", type=kind)
    _text(ET.SubElement(target, "permissions"), "mode", "0600")
    if backing:
        below = ET.SubElement(volume, "backingStore")
        _text(below, "path", backing)
        ET.SubElement(below, "format", type="qcow2")
    return ET.tostring(volume, encoding="unicode")


def backup_xml(path: str) -> str:
    """A copy of the system's disk into that file (https://libvirt.org/formatbackup.html)."""
    backup = ET.Element("domainbackup", mode="push")
    disks = ET.SubElement(backup, "disks")
    system = ET.SubElement(disks, "disk", name="vda", type="file", backup="yes")
    ET.SubElement(system, "target", file=path)
    ET.SubElement(system, "driver", type="qcow2")
    ET.SubElement(disks, "disk", name="vdb", backup="no")
    return ET.tostring(backup, encoding="unicode")


def pool_xml(name: str, path: str) -> str:
    """A folder of the host as a pool."""
    pool = ET.Element("pool", type="dir")
    _text(pool, "name", name)
    target = ET.SubElement(pool, "target")
    _text(target, "path", path)
    _text(ET.SubElement(target, "permissions"), "mode", "0711")
    return ET.tostring(pool, encoding="unicode")


# --- what goes in and comes out -------------------------------------------------------------------------

_ESCAPED = re.compile(r'([\\"$`])')


def environment_file(environment: Mapping[str, str]) -> bytes:
    """The environment as systemd reads it (systemd.exec(5), EnvironmentFile=)."""
    escaped = {name: _ESCAPED.sub(r"\\\1", value) for name, value in environment.items()}
    lines = [f'{name}="{value}"\n' for name, value in escaped.items()]
    return "".join(lines).encode(errors="surrogateescape")


_MARK = re.compile(r"gpubox: (disk|driver|server)\b *([^\r\n]*)")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1bc|[\x00-\x08\x0b-\x1f\x7f]")


def marks(console: str) -> dict[str, str]:
    """How far a guest has come, by what it says on its console: ``disk``, ``driver``, ``server``."""
    return {found[1]: found[2].strip() for found in _MARK.finditer(console)}


def last_lines(console: str, count: int = 3) -> str:
    """The last lines of a console that say anything, without what moves a terminal's cursor."""
    lines = [line.strip() for line in _CONTROL.sub("", console.replace("\r", "\n")).split("\n")]
    return "\n".join([line for line in lines if line][-count:])


def _text(parent: ET.Element, name: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, name, attributes).text = text


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
