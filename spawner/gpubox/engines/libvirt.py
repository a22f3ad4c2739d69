"""Servers in virtual machines of their own, by libvirt: own kernel, own root, the card itself.

A machine is as its user left it: its disk holds what differs from the template, its home is a volume of its
own. What a domain gets is in ``domain``, which devices make up a card in ``passthrough``, the calls in
``guests``, and how a domain is a server in ``libvirtspawner``.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import shlex
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psutil

from ..inventory import GPU, nvidia
from ..machines import MachineType, parse_size_mib
from ..rules import rule_for
from ..spawner import GPUSpawner, refusal
from . import Box, EngineError, KeptMachine, domain
from .domain import DiskFacts, DomainSpec, Names
from .libvirtspawner import LOOK_SECONDS, LibvirtSpawner
from .passthrough import Address, CannotPass, plan
from .vgpu import Part

if TYPE_CHECKING:
    from jupyterhub.spawner import SpawnException
    from traitlets.config import Config

    from .disks import TemplateDisks
    from .volumes import Template, Volume

# The system's partition of a golden disk (images/vm/make-disk).
_ROOT = "UUID=6770756f-0000-4000-8000-000000000001"
_DEFAULT_CPUS, _DEFAULT_MEMORY_MIB = 2.0, 4096


class LibvirtGPUSpawner(GPUSpawner, LibvirtSpawner):
    """A server in a virtual machine of its own, with the cards of its lease, or its part of one."""

    @classmethod
    def check_installed(cls) -> None:
        """Raise ImportError where libvirt's Python package is not here."""
        import_module(".guests", __package__)

    @classmethod
    def template_storage(cls, config: Config, hub_id: str) -> TemplateDisks:
        """Templates are disks of the same pool."""
        from .disks import TemplateDisks

        spawner = cls.for_reconciliation(config)
        assert isinstance(spawner, LibvirtGPUSpawner)
        return TemplateDisks(spawner.guests, hub_id, spawner.work_path)

    @property
    def hub_id(self) -> str:
        """Whose machines they are."""
        return self.gpuhub.pool.hub_id

    @property
    def box_id(self) -> str:
        """The domain."""
        return self.names.domain

    # --- before a start ----------------------------------------------------------------------------

    _golden: Template | None = None  # what the disk of this start is, or will be, based on
    _disk = DiskFacts()
    _resumed = False  # whether the start under way goes on with what was left

    async def image_contents(self, machine: MachineType) -> str:
        """What the newest golden disk says is in it."""
        try:
            return (await self.call(self.guests.template, machine.image or self.image)).contents
        except EngineError:  # the form is no place for it: the start says what is wrong
            return ""

    async def resume(self, machine: MachineType) -> bool:
        """Whether this start goes on with the disk that was left. Raises SpawnException where it cannot."""
        self._disk, self._resumed = DiskFacts(), False
        try:
            found = await self._find_disk()
            if found is None:
                await self._check_room()
                return False
        except EngineError as error:
            raise _silent(error) from error
        facts, volume = found
        disk = domain.disk_of(facts)
        if self.gives_up(disk.id):
            return False
        if self.is_somebody_elses(disk.made_at):
            raise refusal(
                "What is kept here was left by an earlier account of your name. Tell the admin:"
                f" gpubox kept rm {self.server_words}",
                "kept",
            )
        try:
            self._golden = await self.call(self.guests.below, volume.name)
        except EngineError as error:
            raise refusal(
                f"The disk that your machine is based on is missing ({error}). Tell the admin, or start"
                " afresh, which deletes what you left.",
                "kept",
                503,
            ) from error
        self._disk, self._resumed = disk, True
        self._started_from, self._contents = disk.template, disk.contents
        self.story.tell("disk", 5, "Your machine is as you left it")
        return True

    async def _find_disk(self) -> tuple[Mapping[str, object], Volume] | None:
        """What is known of this server's machine, and its disk; None where it has none."""
        facts = {name: facts for name, facts, _ in await self.call(self.guests.all)}.get(self.names.domain)
        volumes = {volume.name: volume for volume in await self.call(self.guests.volumes)}
        disk = volumes.get(self.names.disk)
        return None if facts is None or disk is None else (facts, disk)

    async def _check_room(self) -> None:
        """Raise SpawnException where the user's machines take as much already as a rule lets them."""
        user, groups = self.user.name, self._group_names()
        rule = rule_for(self.gpuhub.parsed_rules, user, groups, lambda rule: rule.kept_mib)
        if rule is None or rule.kept_mib is None:
            return
        kept = await self.kept_machines(self.hub_id)
        used = sum(machine.size_bytes or 0 for machine in kept if machine.user == user)
        if used >= rule.kept_mib * 2**20:
            raise refusal(
                f"Virtual machines that you keep take {used / 2**30:.1f} GiB of the {rule.kept_mib / 1024:g}"
                f" GiB that they may, so no new one is made. Start one of them afresh, or delete it."
                f" {rule.words}".strip(),
                "over_quota",
            )

    async def check_can_run(self, machine: MachineType) -> None:
        """See to it that there is a disk to start from, before anyone waits in line for a GPU."""
        from .volumes import NoTemplate

        if self._resumed:
            return
        name = machine.image or self.image
        try:
            if self._template:
                self._golden = await self.call(self.guests.template_called, self._template[1].image)
            else:
                self._golden = await self.call(self.guests.template, name)
        except NoTemplate as error:
            if self._template:
                raise refusal(
                    f"The disk of {self.template_reference} is gone from libvirt's pool. Tell the admin.",
                    "image_missing",
                    503,
                ) from error
            raise refusal(
                f"The disk {name!r} that {machine.title} starts from is missing."
                " The admin makes it with: gpubox image build vm",
                "image_missing",
                503,
            ) from error
        except EngineError as error:
            raise _silent(error) from error
        self._contents = self._golden.contents
        self._disk = DiskFacts(
            secrets.token_hex(8), time.time(), self.template_reference, self._golden.contents
        )

    # --- a start -----------------------------------------------------------------------------------

    def get_env(self) -> dict[str, str]:
        """The stock environment, and what tells the box its machine."""
        machine, lease = self.machine, self.lease
        assert machine is not None and lease is not None
        return {
            **super().get_env(),
            "GPUBOX_MACHINE": machine.name,
            "GPUBOX_GPUS": ",".join(lease.gpus),
            "GRANT_SUDO": "yes",  # a machine's user is its root
            "GPUBOX_COMMAND": shlex.join([*self.cmd, *self.get_args()]),
            **self.box_environment(),
        }

    async def prepare(self) -> DomainSpec:
        """What the machine gets from its type and lease; all that it needs is there then."""
        machine, lease, golden, guests = self.machine, self.lease, self._golden, self.guests
        assert machine is not None and lease is not None and golden is not None
        self.story.tell("disk", 35, "Preparing its disk")
        if not self._resumed:
            await self.call(guests.forget, self.names)  # what was given up, or left of a start cut short
        size = parse_size_mib((machine.engine and machine.disk) or self.disk) * 2**20
        await self.call(guests.ensure_disk, self.names, golden, size)
        await self.call(guests.ensure_home, self.names, parse_size_mib(self.home) * 2**20)
        environment = self.get_env()
        await self.call(guests.write, self.names.environment, domain.environment_file(environment))
        await self.call(guests.write, self.names.console, b"")
        address, gateway = await self.call(guests.ensure_address, self.names)
        await self.call(guests.ensure_filter, *self._walls(environment, gateway))
        has_part = bool(lease.gpus) and bool(machine.vgpu or machine.is_function)
        by_kernel = self.boot == "kernel" and bool(golden.kernel)
        return DomainSpec(
            names=self.names,
            hub_id=self.hub_id,
            user=self.user.name,
            server=self.name,
            lease_id=lease.id,
            machine=machine.name,
            cpus=machine.cpus or _DEFAULT_CPUS,
            memory_mib=machine.memory_mib or _DEFAULT_MEMORY_MIB,
            address=address,
            pool=self.pool,
            pool_path=self.pool_path,
            network=self.network,
            filter=guests.filter,
            virt_type=await self._kind(),
            gpus=self._cards(),
            devices=await self._devices() if lease.gpus and not has_part else (),
            part=Part((await self._places())[0], machine.vgpu or "") if has_part else None,
            kernel=golden.kernel if by_kernel else "",
            initrd=golden.initrd if by_kernel else "",
            root=_ROOT,
            uefi=self.boot == "uefi",
            disk=self._disk,
        )

    async def _kind(self) -> str:
        if self.virt_type != "auto":
            return str(self.virt_type)
        return "kvm" if await self.call(self.guests.has_kvm) else "qemu"

    def _walls(self, environment: dict[str, str], gateway: str) -> tuple[list[str], list[tuple[str, int]]]:
        """This host's addresses, which are closed to machines, and what of it is open: hub and service."""
        urls = [environment.get("JUPYTERHUB_API_URL", ""), self.gpuhub.service_url]
        ends = [(part.hostname, part.port or 80) for part in map(urlsplit, urls) if _is_ipv4(part.hostname)]
        if self.host_may_be_reached:
            ends += [(gateway, port) for port in (111, 2049)]
            return [], [(str(host), port) for host, port in ends]
        links = psutil.net_if_addrs().values()
        own = [one.address for link in links for one in link if _is_ipv4(one.address)]
        return own, [(str(host), port) for host, port in ends]

    # --- cards ---------------------------------------------------------------------------------------

    def _cards(self) -> tuple[GPU, ...]:
        assert self.lease is not None
        known = {gpu.uuid: gpu for gpu in self.gpuhub.inventory.gpus}
        return tuple(replace(known.get(uuid, GPU(uuid, "GPU")), links={}) for uuid in self.lease.gpus)

    async def _used(self) -> tuple[nvidia.Place, ...]:
        """Where the lease's cards are, and who uses them."""
        assert self.lease is not None
        used = await asyncio.to_thread(nvidia.places, self.lease.gpus)
        if missing := set(self.lease.gpus) - {place.uuid for place in used}:
            await self._take_back(missing)
            raise refusal(
                f"The host's driver does not list {', '.join(sorted(missing))}, which cannot go into your"
                " machine so. Try again, or tell the admin to run: gpubox doctor",
                "gpu_not_attached",
                503,
            )
        return used

    async def _places(self) -> list[Address]:
        """Where the cards are that the lease has a part of, whoever else uses them."""
        return [Address.parse(place.bus_id) for place in await self._used()]

    async def _devices(self) -> tuple[Address, ...]:
        """The devices of the lease's cards; none that a program of the host still uses."""
        used = await self._used()
        for place in used:
            if place.programs:
                raise refusal(
                    f"The GPU at {place.bus_id} cannot go into your machine: a program of the host uses it"
                    f" ({', '.join(place.programs)}). The admin ends it, then start again.",
                    "gpu_in_use",
                    503,
                )
        try:
            cards = [Address.parse(place.bus_id) for place in used]
            devices = plan(await self.call(self.guests.devices), cards)
        except (CannotPass, ValueError) as error:
            raise refusal(f"{error} gpubox doctor tells more.", "gpu_not_attached", 503) from error
        # The host's driver is about to lose them: that is no loss.
        self.gpuhub.lent.update({gpu.uuid: gpu for gpu in self._cards()})
        return devices

    async def until_booted(self) -> None:
        """Tell how far the guest has come; it says so on its console."""
        self.story.tell("boot", 45, "Its system boots")
        wanted = len(self.lease.gpus) if self.lease else 0
        # A little less than JupyterHub's limit, whose message would be empty.
        deadline = time.monotonic() + self.start_timeout - 2
        while True:
            told = domain.marks(await self.call(self.guests.console, self.names))
            if "driver" in told and wanted and not told["driver"].startswith(f"{wanted} of"):
                raise refusal(
                    f"Your machine's driver sees {told['driver']} GPUs, so it was stopped."
                    " Tell the admin to run: gpubox doctor",
                    "gpu_not_attached",
                    503,
                )
            if "driver" in told:
                self.story.tell("driver", 52, f"Its driver sees {told['driver']} GPUs")
            if "server" in told or not await self.call(self.guests.is_active, self.names.domain):
                return
            if time.monotonic() > deadline:
                words = await self.last_words()
                raise refusal(
                    f"Your machine did not boot within {self.start_timeout} seconds. {words}".strip(),
                    "timeout",
                    504,
                )
            await asyncio.sleep(LOOK_SECONDS)

    # --- what is kept ----------------------------------------------------------------------------------

    async def has_kept(self) -> bool:
        """Whether this server has a machine, running or not."""
        return await self._find_disk() is not None

    async def kept_machine(self) -> KeptMachine | None:
        """What the next start goes on with; None where there is nothing, or libvirt does not say."""
        try:
            kept = await self.kept_machines(self.hub_id)
        except EngineError:
            return None
        mine = (self.user.name, self.name)
        found = next((machine for machine in kept if (machine.user, machine.server) == mine), None)
        return None if found is None or self.is_somebody_elses(found.created_at) else found

    async def kept_machines(self, hub_id: str) -> list[KeptMachine]:
        """All machines of the hub that are switched off: their disks are there."""
        volumes = {volume.name: volume for volume in await self.call(self.guests.volumes)}
        newest = await self.call(self.guests.newest_stems)
        return [
            domain.kept_of(facts, disk, newest)
            for name, facts, active in await self.call(self.guests.all)
            if not active and (disk := volumes.get(f"{name}{domain.DISK}")) is not None
        ]

    async def remove_kept(self, machine: KeptMachine) -> None:
        """Delete a machine and its disk; its home stays."""
        await self.call(self.guests.forget, Names.of(self.hub_id, machine.user, machine.server))

    # --- the engine's word -----------------------------------------------------------------------------

    @property
    def trouble(self) -> str:
        """Nothing: the host's driver does not know a card that is in a machine."""
        return ""

    async def confirm_stopped(self) -> bool:
        """Whether libvirt says that the machine is off.

        The pool then knows whether the host's driver has the cards back.
        """
        for name, facts, active in await self.call(self.guests.all):
            if name == self.names.domain and active:
                return False
            if name == self.names.domain:
                await self._take_back(gpu.uuid for gpu in domain.cards_of(facts))
                if facts.get("has_part"):
                    await self.call(self.guests.remove_left_vgpus)
        return True

    async def _take_back(self, uuids: Iterable[str]) -> None:
        """Cards are in no machine any more: see whether the host's driver has them."""
        if [uuid for uuid in uuids if self.gpuhub.lent.pop(uuid, None)]:
            await self.gpuhub.look_again()

    async def abandon(self) -> None:
        """Wait for calls that cannot be recalled, then switch the machine off; its disk stays."""
        if self._calls:
            await asyncio.wait(set(self._calls))
        await self.call(self.guests.power_off, self.names.domain)

    async def boxes(self, hub_id: str) -> list[Box]:
        """All domains of the hub of that id."""
        found = await self.call(self.guests.all)
        for _, facts, active in found:
            if active:
                self.gpuhub.lent.update({gpu.uuid: gpu for gpu in domain.cards_of(facts)})
        if any(facts.get("has_part") and not active for _, facts, active in found):
            await self.call(self.guests.remove_left_vgpus)  # a hub that was killed may have left some
        return [domain.box_of(name, facts, running=active) for name, facts, active in found]

    async def stop_box(self, box: Box) -> None:
        """Shut down a machine that no server claims; its disk stays."""
        await self._end(Names.of(self.hub_id, box.user, box.server))
        await self._take_back(box.gpus)

    async def last_words(self) -> str:
        """The last lines on the console."""
        try:
            lines = domain.last_lines(await self.call(self.guests.console, self.names))
        except EngineError:
            return ""
        return f"Its last words: {lines}" if lines else ""

    def explain_failure(self, error: Exception) -> str | None:
        """libvirt's error as a sentence with what to do."""
        if isinstance(error, CannotPass):
            return f"{error} Tell the admin."
        if not isinstance(error, EngineError):
            return super().explain_failure(error)
        if "No space left" in str(error):
            return "The disk of the virtual machines is full. Tell the admin: gpubox doctor"
        return f"Your machine could not be started: {error}. Tell the admin."


def _silent(error: EngineError) -> SpawnException:
    return refusal(f"{error}. Try again in a minute, or tell the admin.", "engine", 503)


def _is_ipv4(text: str | None) -> bool:
    try:
        ipaddress.IPv4Address(text or "")
    except ValueError:
        return False
    return True
