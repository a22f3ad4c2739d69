"""All that virtual machines ask of libvirt. Every call blocks: use threads.

What libvirt refuses is an `EngineError` with its own words. What is asked for is made of pure functions in
``domain`` and ``passthrough``.
"""

from __future__ import annotations

import io
import ipaddress
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import libvirt

from . import EngineError, domain, passthrough
from .domain import DomainSpec, Leases, Names

P = ParamSpec("P")
T = TypeVar("T")

_CHUNK = 2**20
# Written last, so that a disk that is still being copied is none; it says what the disk holds, in words.
READY = ".ready"
# libvirt prints what it raises; here it is raised alone.
libvirt.registerErrorHandler(lambda context, error: None, None)


@cache
def _watch_connections() -> None:
    """Let libvirt send and hear signs of life, which takes a thread; to be called before a connection."""
    libvirt.virEventRegisterDefaultImpl()

    def run() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    threading.Thread(target=run, name="gpubox-libvirt-events", daemon=True).start()


class NoTemplate(EngineError):
    """The pool has no disk to start from."""


@dataclass(frozen=True)
class Template:
    """A golden disk in the pool, and the kernel beside it (empty where there is none)."""

    volume: str
    path: str
    capacity_bytes: int
    kernel: str = ""
    initrd: str = ""
    contents: str = ""


def _in_words(method: Callable[P, T]) -> Callable[P, T]:
    @wraps(method)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except libvirt.libvirtError as error:
            raise EngineError(f"libvirt: {error.get_error_message() or error}") from error

    return called


class Guests:
    """The machines of one hub at one libvirt. Safe to use from several threads."""

    def __init__(
        self, uri: str, hub_id: str, *, pool: str, pool_path: str, network: str, subnet: str
    ) -> None:
        self._uri, self._hub_id = uri, hub_id
        self.pool, self.pool_path = pool, pool_path
        self.network, self.subnet = network, ipaddress.IPv4Network(subnet)
        self.filter = f"gpubox-{hub_id}"
        self._connecting, self._leasing, self._filtering = (threading.Lock() for _ in range(3))
        self._connection: Any = None

    @property
    def _libvirt(self) -> Any:
        """A connection that works: one that broke (libvirtd was restarted) is made anew."""
        with self._connecting:
            if self._connection is None or not self._connection.isAlive():
                _watch_connections()
                try:
                    self._connection = libvirt.open(self._uri)
                except libvirt.libvirtError as error:
                    self._connection = None
                    raise EngineError(
                        f"libvirt does not answer at {self._uri}: {error.get_error_message()}"
                    ) from error
                # Notices a peer that is gone where a call would wait for ever.
                self._connection.setKeepAlive(5, 3)
            return self._connection

    # --- pool and templates ------------------------------------------------------------------------

    @_in_words
    def _pool(self) -> Any:
        try:
            pool = self._libvirt.storagePoolLookupByName(self.pool)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_POOL:
                raise
            pool = self._libvirt.storagePoolDefineXML(domain.pool_xml(self.pool, self.pool_path))
            pool.build()
            pool.setAutostart(True)
        if not pool.isActive():
            pool.create()
        return pool

    @_in_words
    def template(self, name: str) -> Template:
        """The newest golden disk of that name that is whole. Raises `NoTemplate`."""
        pool = self._pool()
        names = set(pool.listVolumes())
        stems = _stems(name, names)
        if not stems:
            raise NoTemplate(f"The pool {self.pool!r} of libvirt has no disk {name!r}.")
        volume = pool.storageVolLookupByName(f"{stems[-1]}.qcow2")
        beside = [f"{stems[-1]}.{kind}" for kind in ("vmlinuz", "initrd")]
        kernel, initrd = (one if one in names else "" for one in beside)
        contents = self._read(f"{stems[-1]}{READY}").decode(errors="replace").strip()
        return Template(volume.name(), volume.path(), volume.info()[1], kernel, initrd, contents)

    @_in_words
    def add_template(
        self, stem: str, files: Mapping[str, Path], contents: str, tell: Callable[[str], None]
    ) -> None:
        """Copy a golden disk and its kernel into the pool, as ``STEM.KIND``; it counts once all is there."""
        pool = self._pool()
        made = []
        try:
            for kind, file in files.items():
                size = file.stat().st_size
                tell(f"copying {kind}, {size / 1e9:.1f} GB")
                made.append(pool.createXML(domain.volume_xml(f"{stem}.{kind}", size, kind="raw"), 0))
                with file.open("rb") as source:
                    self._send(made[-1], source.read, size)
            pool.refresh(0)  # libvirt looks what each is
            self.write(f"{stem}{READY}", contents.encode())
        except BaseException:
            for volume in made:
                volume.delete(0)
            raise

    def _send(self, volume: Any, read: Callable[[int], bytes], size: int) -> None:
        stream = self._libvirt.newStream(0)
        volume.upload(stream, 0, size)
        while chunk := read(_CHUNK):
            while chunk:
                chunk = chunk[stream.send(chunk) :]
        stream.finish()

    @_in_words
    def remove_unused(self, name: str) -> list[str]:
        """Remove older golden disks of that name that no machine's disk is based on; which those were."""
        volumes = {one.name(): one for one in self._pool().listAllVolumes(0)}
        below = {_backing_path(one.XMLDesc(0)) for one in volumes.values()}
        stems = _stems(name, volumes)
        old = [
            stem
            for stem in stems[:-1]
            if (disk := volumes.get(f"{stem}.qcow2")) is None or disk.path() not in below
        ]
        for volume in [one for one in volumes if one.rpartition(".")[0] in old]:
            self.remove_volume(volume)
        return old

    @_in_words
    def remove_volume(self, volume: str) -> None:
        """Remove a volume; one that is gone already is no error."""
        if (found := self._volume(volume)) is not None:
            found.delete(0)

    def _volume(self, name: str) -> Any:
        try:
            return self._pool().storageVolLookupByName(name)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
                raise
            return None

    # --- a machine's volumes -----------------------------------------------------------------------

    @_in_words
    def ensure_disk(self, names: Names, template: Template, capacity_bytes: int) -> bool:
        """The system's disk, over the template where there was none; whether it was made now."""
        return self._ensure(names.disk, max(capacity_bytes, template.capacity_bytes), template.path)

    @_in_words
    def ensure_home(self, names: Names, capacity_bytes: int) -> bool:
        """The volume of the home; a larger one than before grows it."""
        return self._ensure(names.home, capacity_bytes)

    def _ensure(self, name: str, capacity_bytes: int, backing: str = "") -> bool:
        volume = self._volume(name)
        if volume is None:
            self._pool().createXML(domain.volume_xml(name, capacity_bytes, backing=backing), 0)
            return True
        if volume.info()[1] < capacity_bytes:
            volume.resize(capacity_bytes, 0)
        return False

    @_in_words
    def based_on(self, names: Names) -> str:
        """The path of what the machine's disk is based on; empty where it has no disk."""
        volume = self._volume(names.disk)
        return _backing_path(volume.XMLDesc(0)) if volume is not None else ""

    @_in_words
    def write(self, name: str, content: bytes) -> None:
        """A volume with that content in place of the old one."""
        self.remove_volume(name)
        content = content or b"\n"
        made = self._pool().createXML(domain.volume_xml(name, len(content), kind="raw"), 0)
        self._send(made, io.BytesIO(content).read, len(content))

    @_in_words
    def console(self, names: Names) -> str:
        """What the guest has said on its console since its start."""
        return self._read(names.console).decode(errors="replace")

    def _read(self, name: str) -> bytes:
        volume = self._volume(name)
        if volume is None:
            return b""
        stream = self._libvirt.newStream(0)
        volume.download(stream, 0, 0)
        parts = []
        while part := stream.recv(_CHUNK):
            parts.append(part)
        stream.finish()
        return b"".join(parts)

    # --- the network ---------------------------------------------------------------------------------

    @_in_words
    def ensure_address(self, names: Names) -> tuple[str, str]:
        """The machine's own address, and the host's, on the network of machines, which is made first."""
        with self._leasing:
            network = self._ensure_network()
            try:
                leases = Leases.read(network.XMLDesc(0))
                address = leases.addresses.get(names.mac) or leases.free()
            except ValueError as error:
                raise EngineError(f"The network {self.network!r} has no address left: {error}.") from error
            if names.mac not in leases.addresses:
                self._change(network, libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, names, address)
            return address, leases.gateway

    def _give_address_back(self, names: Names) -> None:
        with self._leasing:
            network = self._ensure_network()
            address = Leases.read(network.XMLDesc(0)).addresses.get(names.mac)
            if address is not None:
                self._change(network, libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE, names, address)

    def _change(self, network: Any, command: int, names: Names, address: str) -> None:
        network.update(
            command,
            libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST,
            -1,
            domain.host_xml(names.mac, names.domain, address),
            libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE | libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG,
        )

    def _ensure_network(self) -> Any:
        try:
            network = self._libvirt.networkLookupByName(self.network)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_NETWORK:
                raise
            network = self._libvirt.networkDefineXML(domain.network_xml(self.network, self.subnet))
            network.setAutostart(True)
        if not network.isActive():
            network.create()
        return network

    @_in_words
    def ensure_filter(self, own: Iterable[str], open_ports: Iterable[tuple[str, int]]) -> None:
        """What machines may reach; it takes effect for those that run, too."""
        with self._filtering:
            found = self._libvirt.listAllNWFilters(0)
            before = next((one for one in found if one.name() == self.filter), None)
            subnet = Leases.read(self._ensure_network().XMLDesc(0)).subnet
            xml = domain.filter_xml(self.filter, subnet, own, open_ports)
            if before is not None:  # of one name and id it is changed, not made
                xml = xml.replace(">", f"><uuid>{before.UUIDString()}</uuid>", 1)
            self._libvirt.nwfilterDefineXML(xml)

    # --- domains -------------------------------------------------------------------------------------

    def _domain(self, name: str) -> Any:
        try:
            return self._libvirt.lookupByName(name)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
            return None

    @_in_words
    def start(self, spec: DomainSpec) -> None:
        """Define the domain as it is to be now, and start it."""
        made = self._libvirt.defineXML(domain.domain_xml(spec))
        made.create()

    @_in_words
    def is_active(self, name: str) -> bool:
        """Whether the domain runs (or is paused, or on its way down)."""
        found = self._domain(name)
        return found is not None and bool(found.isActive())

    @_in_words
    def shut_down(self, name: str) -> None:
        """Press the power button; nothing happens where it does not run."""
        self._tell(name, lambda found: found.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN))

    @_in_words
    def power_off(self, name: str) -> None:
        """Pull the plug; nothing happens where it does not run."""
        self._tell(name, lambda found: found.destroy())

    def _tell(self, name: str, what: Callable[[Any], Any]) -> None:
        found = self._domain(name)
        if found is None or not found.isActive():
            return
        try:
            what(found)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:  # it has just ended
                raise

    @_in_words
    def all(self) -> list[tuple[str, dict[str, object], bool]]:
        """Name and facts of every domain of this hub, and whether it is active."""
        found = []
        for one in self._libvirt.listAllDomains(0):
            try:
                xml, active = one.XMLDesc(0), bool(one.isActive())
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                    continue  # removed meanwhile
                raise
            if (facts := domain.facts_of(xml, self._hub_id)) is not None:
                found.append((one.name(), facts, active))
        return found

    @_in_words
    def forget(self, names: Names) -> None:
        """Remove the domain and its disk; the home stays."""
        found = self._domain(names.domain)
        if found is not None:
            self.power_off(names.domain)
            found.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
        self._give_address_back(names)
        for volume in (names.disk, names.environment, names.console):
            self.remove_volume(volume)

    # --- the host ------------------------------------------------------------------------------------

    @_in_words
    def has_kvm(self) -> bool:
        """Whether the host's processor can run machines by itself."""
        xml = self._libvirt.getCapabilities()
        return "<domain type='kvm'" in xml

    @_in_words
    def devices(self) -> list[passthrough.Device]:
        """The PCI devices of the host."""
        listed = self._libvirt.listAllDevices(libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_PCI_DEV)
        found = (passthrough.read_device(one.XMLDesc(0)) for one in listed)
        return [device for device in found if device is not None]


def _stems(name: str, volumes: Iterable[str]) -> list[str]:
    """How the volumes of the golden disks of that name begin, oldest first."""
    whole = [one.removesuffix(READY) for one in volumes if one.endswith(READY)]
    return sorted(stem for stem in whole if stem.startswith(f"{name}-"))


def _backing_path(xml: str) -> str:
    return (ET.fromstring(xml).findtext("backingStore/path") or "").strip()  # noqa: S314
