"""All that virtual machines ask of libvirt beside their volumes. Every call blocks: use threads.

What libvirt refuses is an `EngineError` with its own words. What is asked for is made of pure functions in
``domain`` and ``passthrough``.
"""

from __future__ import annotations

import ipaddress
import logging
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import libvirt

from . import EngineError, domain, passthrough, vgpu
from .domain import DomainSpec, Leases, Names
from .volumes import Volumes, in_words

log = logging.getLogger(__name__)
_LOOK_SECONDS = 0.2
_AGENT_SECONDS = 10


class Guests(Volumes):
    """The machines of one hub at one libvirt. Safe to use from several threads."""

    def __init__(
        self, uri: str, hub_id: str, *, pool: str, pool_path: str, network: str, subnet: str
    ) -> None:
        super().__init__(uri, pool=pool, pool_path=pool_path)
        self._hub_id = hub_id
        self.network, self.subnet = network, ipaddress.IPv4Network(subnet)
        self.filter = f"gpubox-{hub_id}"
        self._leasing, self._filtering, self._parting = (threading.Lock() for _ in range(3))

    # --- the network ---------------------------------------------------------------------------------

    @in_words
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

    @in_words
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

    @in_words
    def start(self, spec: DomainSpec) -> None:
        """Define the domain as it is to be now, and start it.

        Raises `CannotPass` where the card has no such part left.
        """
        if spec.part is None:
            self._start(spec)
            return
        with self._parting:  # what one start finds free is no other's, and no left vGPU
            if spec.part.vgpu:
                self._start_with_vgpu(spec, spec.part)
            else:
                function = vgpu.choose_function(
                    self._parents(), self.devices(), spec.part.card, self._functions_in_use()
                )
                stays = function.driver == "nvidia"  # which hands on what it has made of it
                self._start(replace(spec, devices=(function.address,), is_taken_from_driver=not stays))

    def _start(self, spec: DomainSpec) -> None:
        made = self._libvirt.defineXML(domain.domain_xml(spec))
        made.create()

    @in_words
    def is_active(self, name: str) -> bool:
        """Whether the domain runs (or is paused, or on its way down)."""
        found = self._domain(name)
        return found is not None and bool(found.isActive())

    @in_words
    def shut_down(self, name: str) -> None:
        """Press the power button; nothing happens where it does not run."""
        self._tell(name, lambda found: found.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN))

    @in_words
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

    @in_words
    def copy_disk(self, name: str, volume: str, tell: Callable[[str], None]) -> None:
        """Copy the system's disk of a running machine into a new volume, as it is at one moment.

        The machine goes on; for that moment its files are held still where its guest agent answers. Whatever
        goes wrong, no volume is left.
        """
        found = self._domain(name)
        if found is None or not found.isActive():
            raise EngineError("The machine does not run any more.")
        capacity = self._pool().storageVolLookupByName(f"{name}{domain.DISK}").info()[1]
        made = self._pool().createXML(domain.volume_xml(volume, capacity), 0)
        try:
            with _held_still(found):
                flags = libvirt.VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL
                found.backupBegin(domain.backup_xml(made.path()), None, flags)
            _follow_backup(found, tell)
        except BaseException:
            self.remove_volume(volume)
            raise

    @in_words
    def settle(self) -> None:
        """End what a hub that was killed has begun with machines: copies of disks, and files held still."""
        for one in self._libvirt.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
            if domain.facts_of(one.XMLDesc(0), self._hub_id) is None:
                continue
            if _job(one)[0] == libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP:
                one.abortJob()
            with suppress(libvirt.libvirtError):  # no agent answers: nothing is held
                one.fsThaw(None)

    @in_words
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

    @in_words
    def forget(self, names: Names) -> None:
        """Remove the domain and its disk; the home stays."""
        found = self._domain(names.domain)
        if found is not None:
            self.power_off(names.domain)
            self._remove_vgpus({names.id})
            found.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
        self._give_address_back(names)
        for volume in (names.disk, names.environment, names.console):
            self.remove_volume(volume)

    # --- the host ------------------------------------------------------------------------------------

    @in_words
    def has_kvm(self) -> bool:
        """Whether the host's processor can run machines by itself."""
        xml = self._libvirt.getCapabilities()
        return "<domain type='kvm'" in xml

    @in_words
    def devices(self) -> list[passthrough.Device]:
        """The PCI devices of the host."""
        listed = self._libvirt.listAllDevices(libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_PCI_DEV)
        found = (passthrough.read_device(one.XMLDesc(0)) for one in listed)
        return [device for device in found if device is not None]

    # --- parts of cards ------------------------------------------------------------------------------

    def _parents(self) -> list[vgpu.Parent]:
        listed = self._libvirt.listAllDevices(libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_PCI_DEV)
        return [one for device in listed if (one := vgpu.read_parent(device.XMLDesc(0))) is not None]

    def _start_with_vgpu(self, spec: DomainSpec, part: vgpu.Part) -> None:
        self._remove_vgpus({spec.names.id})
        parent, kind = vgpu.choose(self._parents(), part.card, part.vgpu)
        made = self._libvirt.nodeDeviceCreateXML(vgpu.vgpu_xml(parent.node, kind.id, spec.names.id), 0)
        try:
            self._start(replace(spec, vgpu=spec.names.id))
        except BaseException:
            made.destroy()
            raise

    def _functions_in_use(self) -> set[passthrough.Address]:
        active = self._libvirt.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
        return {address for one in active for address in vgpu.addresses_in(one.XMLDesc(0))}

    @in_words
    def remove_left_vgpus(self) -> None:
        """Remove the vGPUs of this hub's machines that do not run; a vGPU is called as its machine is."""
        with self._parting:
            mine = [one for one in self._libvirt.listAllDomains(0) if self._is_mine(one)]
            self._remove_vgpus({uuid.UUID(one.UUIDString()) for one in mine if not one.isActive()})

    def _is_mine(self, found: Any) -> bool:
        return domain.facts_of(found.XMLDesc(0), self._hub_id) is not None

    def _remove_vgpus(self, ids: Collection[uuid.UUID]) -> None:
        if not ids:
            return
        for device in self._libvirt.listAllDevices(libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_MDEV):
            found = vgpu.read_vgpu(device.XMLDesc(0))
            if found is not None and found.id in ids:
                device.destroy()


@contextmanager
def _held_still(found: Any) -> Iterator[None]:
    """Have a guest write what it has not written yet, and write nothing for as long as the block lasts.

    Without an agent in it that answers, its disk is as a power cut would leave it: whole by its journal.
    """
    try:
        found.agentSetResponseTimeout(_AGENT_SECONDS, 0)
        found.fsFreeze(["/"], 0)
        held = True
    except libvirt.libvirtError as error:
        log.info("%s is copied as a power cut would leave it: %s", found.name(), error.get_error_message())
        held = False
    try:
        yield
    finally:
        if held:
            found.fsThaw(None)


def _follow_backup(found: Any, tell: Callable[[str], None]) -> None:
    while True:
        operation, done, total = _job(found)
        if operation != libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP:
            break
        if total:
            tell(f"Copying its disk ({100 * done // total} %)")
        time.sleep(_LOOK_SECONDS)
    ended = found.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
    if ended.get("type") != libvirt.VIR_DOMAIN_JOB_COMPLETED:
        raise EngineError(f"The disk could not be copied. {ended.get('errmsg', '')}".strip())


def _job(found: Any) -> tuple[int, int, int]:
    """What libvirt does with a domain now (a VIR_DOMAIN_JOB_OPERATION), and of how many bytes how many are
    done."""
    told = found.jobStats(0)
    if told.get("type", 0) == libvirt.VIR_DOMAIN_JOB_NONE:
        return libvirt.VIR_DOMAIN_JOB_OPERATION_UNKNOWN, 0, 0
    return told.get("operation", 0), told.get("disk_processed", 0), told.get("disk_total", 0)
