"""The stock spawner that libvirt lacks: a server is a domain. It knows no GPU, no lease and no machine type.

What a domain gets is in ``domain``, the calls in ``guests``; `LibvirtGPUSpawner` puts all of it together.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakValueDictionary

from jupyterhub.spawner import Spawner
from traitlets import Bool, Enum, Float, Unicode, default

from . import EngineError, domain
from .domain import DomainSpec, Names

if TYPE_CHECKING:
    from .guests import Guests

T = TypeVar("T")

_CALLS_AT_ONCE = 16
LOOK_SECONDS = 0.25
# A system whose services still start may miss the power button: it is pressed again.
_PRESS_SECONDS = 5.0


class LibvirtSpawner(Spawner):
    """A server in a virtual machine."""

    uri = Unicode(
        "qemu:///system",
        help="""The libvirt that runs the machines. Another host's, with GPUs of its own hub alone::

            c.LibvirtSpawner.uri = "qemu+ssh://gpubox@host2.example.org/system"
        """,
    ).tag(config=True)

    pool = Unicode(
        "gpubox",
        help="""libvirt's storage pool for disks, homes and templates; made where it is missing. Example::

            c.LibvirtSpawner.pool = "fast-ssd"
        """,
    ).tag(config=True)

    pool_path = Unicode(
        "/var/lib/libvirt/gpubox",
        help="""The folder of the pool, on libvirt's host. Example::

            c.LibvirtSpawner.pool_path = "/srv/machines"
        """,
    ).tag(config=True)

    network = Unicode(
        "gpubox-vm",
        help="""libvirt's network for machines, on which none reaches another; made where it is missing.

        Example::

            c.LibvirtSpawner.network = "lab-machines"
        """,
    ).tag(config=True)

    subnet = Unicode(
        "10.213.64.0/20",
        help="""The addresses of a network that is made: one for each machine there ever was. Example::

            c.LibvirtSpawner.subnet = "10.99.0.0/16"
        """,
    ).tag(config=True)

    virt_type = Enum(
        ["auto", "kvm", "qemu"],
        "auto",
        help="""What runs the machines' processors: the host's own (kvm), or a program (qemu), which is slow.

        "auto" takes KVM where libvirt offers it. Example::

            c.LibvirtSpawner.virt_type = "qemu"
        """,
    ).tag(config=True)

    boot = Enum(
        ["disk", "uefi", "kernel"],
        "disk",
        help="""How machines boot: by their disk's GRUB with BIOS or UEFI, or with the template's kernel.

        The last is faster, and a kernel that its user installs is not used. Example::

            c.LibvirtSpawner.boot = "uefi"
        """,
    ).tag(config=True)

    image = Unicode(
        "gpubox-vm",
        help="""The disk that new machines start from, as ``gpubox image build vm`` made it.

        A machine type's ``image`` comes before it. Example::

            c.LibvirtSpawner.image = "gpubox-vm"
        """,
    ).tag(config=True)

    disk = Unicode(
        "50G",
        help="""The size of a machine's disk, which takes room as it fills.

        A machine type's ``disk`` comes before it. Example::

            c.LibvirtSpawner.disk = "100G"
        """,
    ).tag(config=True)

    home = Unicode(
        "100G",
        help="""The size of a machine's home, which takes room as it fills. Example::

            c.LibvirtSpawner.home = "1T"
        """,
    ).tag(config=True)

    work_path = Unicode(
        "/var/tmp",  # noqa: S108  # where large files of no lasting use go (file-hierarchy(7))
        help="""The folder of the hub's machine in which templates of machines are made.

        It needs room for three times what is on a machine's disk. Example::

            c.LibvirtSpawner.work_path = "/scratch"
        """,
    ).tag(config=True)

    shutdown_seconds = Float(
        60,
        min=1,
        help="""For how long a machine may take to shut down before it is switched off. Example::

            c.LibvirtSpawner.shutdown_seconds = 120
        """,
    ).tag(config=True)

    host_may_be_reached = Bool(
        False,
        help="""Let machines reach all of the host, not the hub alone: for an NFS server on it. Example::

            c.LibvirtSpawner.host_may_be_reached = True
        """,
    ).tag(config=True)

    @default("cmd")
    def _default_cmd(self) -> list[str]:
        return ["gpubox-singleuser"]

    @default("ip")
    def _default_ip(self) -> str:
        return "0.0.0.0"  # noqa: S104  # in the machine

    @default("port")
    def _default_port(self) -> int:
        return domain.PORT

    # --- calls -----------------------------------------------------------------------------------

    _threads: ThreadPoolExecutor | None = None
    _endings: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
    _all_guests: dict[tuple[str, ...], Guests] = {}

    @property
    def guests(self) -> Guests:
        """libvirt, with one connection for all servers of the hub."""
        from .guests import Guests

        options = {name: getattr(self, name) for name in ("pool", "pool_path", "network", "subnet")}
        key = (self.uri, self.hub_id, *options.values())
        if key not in LibvirtSpawner._all_guests:
            LibvirtSpawner._all_guests[key] = Guests(self.uri, self.hub_id, **options)
        return LibvirtSpawner._all_guests[key]

    @property
    def hub_id(self) -> str:
        """Whose machines they are."""
        raise NotImplementedError

    @property
    def names(self) -> Names:
        """What the machine and its volumes are called."""
        return Names.of(self.hub_id, self.user.name, self.name)

    def call(self, function: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Call libvirt on a thread; a call once made is followed to its end, cancelled or not."""
        if LibvirtSpawner._threads is None:
            LibvirtSpawner._threads = ThreadPoolExecutor(_CALLS_AT_ONCE, thread_name_prefix="gpubox-libvirt")
        made = asyncio.get_running_loop().run_in_executor(LibvirtSpawner._threads, partial(function, *args))
        self._calls.add(made)
        made.add_done_callback(self._calls.discard)
        return asyncio.shield(made)

    @property
    def _calls(self) -> set[asyncio.Future[Any]]:
        # Made on first use: an object may become one of this class after it was made.
        found: set[asyncio.Future[Any]] = self.__dict__.setdefault("_libvirt_calls", set())
        return found

    # --- what JupyterHub asks of a spawner ---------------------------------------------------------

    async def start(self) -> str:
        """Start the domain, and return its address once its system is up."""
        await self._end(self.names)  # what a hub that was killed in a start has left
        spec = await self.prepare()
        await self.call(self.guests.start, spec)
        await self.until_booted()
        return f"http://{spec.address}:{self.port}"

    async def prepare(self) -> DomainSpec:
        """What the domain is to be; its volumes are there then."""
        raise NotImplementedError

    async def until_booted(self) -> None:
        """Return when the guest starts its server, or has ended."""

    async def stop(self, now: bool = False) -> None:
        """Shut the machine down; switch it off where that takes too long, or at once where it is ``now``."""
        await self._end(self.names, now=now)

    async def _end(self, names: Names, *, now: bool = False) -> None:
        # One at a time: whoever ends what is left of an earlier run must not end the next one.
        ending = LibvirtSpawner._endings.setdefault(names.domain, asyncio.Lock())
        async with ending:
            await self._end_one(names, now=now)

    async def _end_one(self, names: Names, *, now: bool) -> None:
        name = names.domain
        if not await self.call(self.guests.is_active, name):
            return
        deadline = time.monotonic() + self.shutdown_seconds
        # A system that is still booting hears no button.
        if not now and "server" in domain.marks(await self.call(self.guests.console, names)):
            pressed_at = -math.inf
            while await self.call(self.guests.is_active, name):
                if time.monotonic() - pressed_at >= _PRESS_SECONDS:
                    pressed_at = time.monotonic()
                    await self.call(self.guests.shut_down, name)
                if time.monotonic() > deadline:
                    self.log.warning("%s did not shut down in time and is switched off.", name)
                    break
                await asyncio.sleep(LOOK_SECONDS)
        await self.call(self.guests.power_off, name)

    _is_silent = False

    async def poll(self) -> int | None:
        """None while the machine runs *or libvirt does not say*; else 0."""
        try:
            active = await self.call(self.guests.is_active, self.names.domain)
        except EngineError as error:
            if not self._is_silent:
                self.log.warning("%s is taken as running: %s", self._log_name, error)
            self._is_silent = True
            return None
        self._is_silent = False
        return None if active else 0

    async def get_url(self) -> str:
        """Where the server is. A hub that was killed in the middle of its start has not written that down."""
        if not self.server.ip:
            with suppress(EngineError):
                self.server.ip, _ = await self.call(self.guests.ensure_address, self.names)
                self.server.port = self.port
        return str(self.server.url)

    async def delete_forever(self) -> None:
        """Remove the machine and its disk; its home stays."""
        await self.call(self.guests.forget, self.names)
