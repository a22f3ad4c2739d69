"""What one hub process has once: its options, the pool on its thread, the GPUs that there are.

Spawners ask here for a lease and give it back; decisions are in ``pool``, what goes on unasked in
``upkeep``, and how a server runs is in ``engines``.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
from jupyterhub.app import JupyterHub
from traitlets import Bool, Dict, Float, Integer, List, Unicode, default
from traitlets.config import Config, SingletonConfigurable

from . import paths
from .control.desk import Desk
from .control.server import serve
from .db import claim, open_database
from .engines import EngineError, spawner_of
from .inventory import GPU, Inventory, nvidia
from .inventory.xid import XidWatch
from .ledger import Lease
from .machine_templates.library import TemplateLibrary
from .machine_templates.store import TemplateStore
from .machines import (
    MachineType,
    MachineTypeError,
    default_machine_types,
    parse_duration,
    parse_machine_types,
)
from .pool import GPUPool
from .rules import parse_rules
from .service.settings import SERVICE, GPUService
from .ssh.settings import GPUSSH, SSH_SERVICE
from .timings import Timings
from .upkeep import Upkeep

if TYPE_CHECKING:
    from .spawner import GPUSpawner

T = TypeVar("T")


class GPUHub(SingletonConfigurable):
    """The pool of one hub, its refresh and its reconciliation."""

    database_url = Unicode(
        help="""Where leases, the queue and the bill are kept: an SQLAlchemy URL.

        Default: SQLite, ``gpubox.sqlite`` in the state directory. For PostgreSQL
        (``pip install gpubox[postgres]``)::

            c.GPUHub.database_url = "postgresql+psycopg://gpubox@db.example.org/gpubox"
        """,
    ).tag(config=True)

    patience = Float(
        1800,
        min=0,
        help="""Seconds after which nobody who came later is served before a waiting person.

        Until then small machines may start on GPUs that a larger one cannot use yet. A smaller
        value favours large machines, a larger one keeps more GPUs busy. Example::

            c.GPUHub.patience = 600
        """,
    ).tag(config=True)

    keep_place = Float(
        3600,
        min=0,
        help="""Seconds for which a place in line is kept after a restart of the hub.

        A person who comes back within this time has the old place. Example::

            c.GPUHub.keep_place = 7200
        """,
    ).tag(config=True)

    fairness_half_life = Float(
        86400,
        min=1,
        help="""Seconds after which GPU time used counts half when the next in line is chosen.

        A day by default: who used little lately goes first. For a week::

            c.GPUHub.fairness_half_life = 7 * 86400
        """,
    ).tag(config=True)

    rules = List(
        Dict(),
        help="""Quotas and budgets, one dict each: what one person, or a group together, may have.

        Fields: ``users`` and ``groups`` (whom it is for; everybody without them), ``together`` (True counts
        all of them as one), ``gpus``, ``servers`` and ``waiting`` (how many GPUs, machines and places in
        line at once), ``session`` (the longest time), ``templates`` (how
        much room one's templates may take, "50G"), ``kept`` (the same of machines that are kept when they
        stop: with more, no new one is made), ``budget`` (``{"gpu_hours": 100}`` or ``{"cost": 50}``)
        ``per`` ("week" or "month") with ``at_limit`` ("refuse" new starts, or "stop" what runs, too), and
        ``words`` (a sentence of your own, shown with a refusal). Of several that concern somebody the most
        specific counts: by user, by group, everybody's. A wrong entry stops the hub at start. Example::

            c.GPUHub.rules = [
                {"gpus": 2, "servers": 4, "session": "1d"},
                {"groups": ["students"], "gpus": 1, "session": "8h", "words": "Ask Dr. Ada for more."},
                {"groups": ["lab-b"], "together": True, "budget": {"gpu_hours": 500}, "per": "month"},
            ]
        """,
    ).tag(config=True)

    idle = Unicode(
        "",
        help="""For how long a machine may do nothing before it is stopped, after a notice; empty for ever.

        Nothing is: no kernel busy, no GPU work, no terminal output, no desktop input. A machine type's
        ``idle`` comes before it. Example::

            c.GPUHub.idle = "4h"
        """,
    ).tag(config=True)

    gpu_idle = Unicode(
        "",
        help="""For how long a machine's GPUs may do nothing, though kernels sit open, before it is stopped.

        After a notice; empty for ever. A machine type's ``gpu_idle`` comes before it. Example::

            c.GPUHub.gpu_idle = "1h"
        """,
    ).tag(config=True)

    boots_at_once = Integer(
        help="""How many servers may boot side by side; others that have their GPU wait a moment.

        Booting is processor work: more at once makes every one of them slower. Default: the
        number of CPU cores. Example::

            c.GPUHub.boots_at_once = 8
        """,
    ).tag(config=True)

    refresh_seconds = Float(
        10,
        min=0.1,
        help="""Seconds between two looks at the GPUs, to see a lost one. Example::

            c.GPUHub.refresh_seconds = 30
        """,
    ).tag(config=True)

    reconcile_seconds = Float(
        60,
        min=0.1,
        help="""Seconds between two comparisons of leases with what really runs. Example::

            c.GPUHub.reconcile_seconds = 30
        """,
    ).tag(config=True)

    watch_xid = Bool(
        False,
        help="""Listen for Xid errors, and hand out no GPU that had one which asks for a reset.

        Keeps the driver open all the time, which keeps a laptop's GPU awake. Such a GPU is handed
        out again once the driver has dropped and listed it anew, or after a restart of the hub.
        Example::

            c.GPUHub.watch_xid = True
        """,
    ).tag(config=True)

    @default("database_url")
    def _database_url_default(self) -> str:
        return f"sqlite:///{paths.state_dir() / 'gpubox.sqlite'}"

    @default("boots_at_once")
    def _boots_at_once_default(self) -> int:
        return os.cpu_count() or 1

    # --- set-up ------------------------------------------------------------------------------

    pool: GPUPool
    inventory: Inventory
    lent: dict[str, GPU]
    """Cards that are in virtual machines, where the driver of this host does not see them."""
    machines: tuple[MachineType, ...]

    def open(self, spawner_class: type[GPUSpawner]) -> None:
        """Read the machine types, look at the GPUs once and open the ledger.

        Blocks (called once, before the hub serves). Raises `MachineTypeError` and
        `gpubox.db.DatabaseError` with a sentence for the admin.
        """
        entries: list[dict[str, Any]] = configured(spawner_class, self.config, "machines", [])
        self._xids = XidWatch()
        if self.watch_xid:
            self._xids.start()
        self.lent: dict[str, GPU] = {}
        self.inventory = self.look()
        self.machines = parse_machine_types(entries) or default_machine_types(
            self.inventory.gpus,
            host_cpus=os.cpu_count() or 1,
            host_memory_mib=psutil.virtual_memory().total // 2**20,
        )
        self.parsed_rules = parse_rules(self.rules)
        self._idle = self._duration("idle"), self._duration("gpu_idle")
        self.spawner_class = spawner_class
        named = dict.fromkeys(machine.engine for machine in self.machines if machine.engine)
        self._engines = {"": spawner_class, **{engine: spawner_of(engine) for engine in named}}
        self.service_options = GPUService(config=self.config)
        self.ssh_options = GPUSSH(config=self.config)
        database = open_database(self.database_url, paths.hub_id())
        self._claim = claim(database)
        self._database = database
        self.pool = GPUPool(
            database,
            self.machines,
            patience_seconds=self.patience,
            half_life_seconds=self.fairness_half_life,
            keep_place_seconds=self.keep_place,
            rules=self.parsed_rules,
        )
        if self.inventory.answered:
            self.pool.refresh(self.inventory.gpus)
        # The pool is confined to this one thread: its database calls never block the event loop.
        self._pool_thread = ThreadPoolExecutor(1, thread_name_prefix="gpubox-pool")
        self.boot_slots = asyncio.Semaphore(self.boots_at_once)
        self._grants: dict[int, asyncio.Future[Lease]] = {}
        self._changed = asyncio.Event()
        self.timings = Timings()
        self.desk = Desk(self)
        self.warn_of_inventory()

    def warn_of_inventory(self) -> None:
        """Log what the driver said, once a change of it."""
        for sentence in filter(None, (self.inventory.problem, *self.inventory.silent)):
            self.log.warning("%s", sentence)
        found = ", ".join(f"{gpu.index}: {gpu.model}" for gpu in self.inventory.gpus)
        self.log.info("GPUs: %s", found or "none found; CPU machines work")

    def machine(self, name: str) -> MachineType | None:
        """The machine type of that name, looked up by value."""
        return next((machine for machine in self.machines if machine.name == name), None)

    @property
    def engines(self) -> tuple[type[GPUSpawner], ...]:
        """The classes of servers of this hub: of its own engine, and of those that machine types name."""
        return tuple(self._engines.values())

    def engine_of(self, machine: MachineType | None) -> type[GPUSpawner]:
        """The class of servers of a machine type."""
        return self._engines[machine.engine if machine else ""]

    # --- the pool, from the event loop -----------------------------------------------------------

    async def ask(self, function: Callable[..., T], *args: Any) -> T:
        """Call one of the pool's methods on the pool's thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool_thread, function, *args)

    async def change(self, function: Callable[..., tuple[Lease, ...] | None], *args: Any) -> None:
        """Call one of the pool's methods that may free something, and tell those who were served by it."""
        # Shielded: a cancelled caller must not lose the news of who was served.
        await asyncio.shield(self._change_and_tell(function, *args))

    async def _change_and_tell(self, function: Callable[..., tuple[Lease, ...] | None], *args: Any) -> None:
        for lease in await self.ask(function, *args) or ():
            grant = self._grants.pop(lease.id, None)
            if grant is not None and not grant.done():
                grant.set_result(lease)
        self.tell_watchers()

    def tell_watchers(self) -> None:
        """Something changed that those who watch are told at once; called on the event loop."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def request(
        self,
        user: str,
        server: str,
        machine: MachineType,
        groups: Iterable[str],
        session_seconds: float | None = None,
    ) -> Lease:
        """A lease, or a ticket in the line: see `GPUPool.request` for what it raises."""
        return await asyncio.shield(self._request(user, server, machine, tuple(groups), session_seconds))

    async def _request(self, user: str, *what: Any) -> Lease:
        lease = await self.ask(self.pool.request, user, *what)
        if lease.is_waiting:
            # Asking again for the ticket closes the gap in which it may have been served.
            self._grants[lease.id] = asyncio.get_running_loop().create_future()
            lease = await self.ask(self.pool.lease, lease.id)
            if not lease.is_waiting:
                self._grants.pop(lease.id, None)
        await self._change_and_tell(self.pool.served)
        return lease

    def granted(self, lease: Lease) -> asyncio.Future[Lease]:
        """Done when the ticket has been served."""
        return self._grants[lease.id]

    async def line_moved(self, timeout: float) -> None:
        """Return when the line has moved, or after ``timeout`` seconds: estimates grow old."""
        try:
            await asyncio.wait_for(self._changed.wait(), timeout)
        except TimeoutError:
            pass

    async def open_lease(self, user: str, server: str) -> Lease | None:
        """What that server holds or waits for now, by the ledger."""
        for lease in await self.ask(self.pool.open_leases):
            if (lease.user, lease.server) == (user, server):
                return lease
        return None

    async def leave_line(self, lease_id: int, reason: str) -> None:
        """Give up a place in line; nothing happens where it has ended already."""
        grant = self._grants.pop(lease_id, None)
        if grant is not None:
            grant.cancel()
        await self.change(self.pool.cancel, lease_id, reason)

    async def release(self, lease_id: int, reason: str) -> None:
        """Close a lease whose server has been confirmed as not running, and serve the next."""
        await self.change(self.pool.release, lease_id, reason)

    # --- the service and the command line --------------------------------------------------------

    @property
    def currency(self) -> str:
        """The sign or code before prices."""
        return str(configured(self.spawner_class, self.config, "currency", "$"))

    def idle_limits(self, machine: MachineType) -> tuple[float | None, float | None]:
        """After how many idle seconds a machine of the type is stopped, and after how many of an idle GPU.

        None is never.
        """
        idle = self._idle[0] if machine.idle_seconds is None else machine.idle_seconds
        gpu_idle = self._idle[1] if machine.gpu_idle_seconds is None else machine.gpu_idle_seconds
        return idle or None, (gpu_idle or None) if machine.count else None

    def _duration(self, name: str) -> int | None:
        text = getattr(self, name)
        try:
            return parse_duration(text) if text else None
        except ValueError as error:
            raise ValueError(
                f"c.GPUHub.{name} = {text!r}: expected a time of a minute or more, such as '4h', or ''."
            ) from error

    @property
    def service_url(self) -> str:
        """Where boxes reach the service; empty where this hub runs none."""
        service = self.app._service_map.get(SERVICE)
        return f"{service.url}{service.prefix}" if service is not None and service.url else ""

    @property
    def has_ssh(self) -> bool:
        """Whether the SSH gateway runs beside this hub."""
        return SSH_SERVICE in self.app._service_map

    def service_settings(self) -> dict[str, Any]:
        """What the service is configured with, as JSON takes it."""
        announcement = self.app.template_vars.get("announcement")
        return {
            "options": self.service_options.as_dict(),
            "ssh": self.ssh_options.as_dict(),
            "rules": [dict(rule) for rule in self.rules],
            "database_url": self.database_url,
            # Its pages look as the hub's do.
            "template_paths": list(self.app.template_paths),
            "announcement": announcement if isinstance(announcement, str) else "",
        }

    # --- the hub that serves ---------------------------------------------------------------------

    def start_rounds(self, app: JupyterHub) -> None:
        """Open the control socket and begin the upkeep; both last as long as the hub does."""
        self.app = app
        storages = {
            name: storage
            for name, engine in self._engines.items()
            if (storage := engine.template_storage(self.config, self.pool.hub_id)) is not None
        }
        self.templates = TemplateLibrary(self, TemplateStore(self._database), storages)
        self._sweeping = asyncio.ensure_future(self.templates.open())
        self._control = serve(self.desk)
        if SERVICE not in app._service_map:
            self.log.warning(
                "This hub runs without its pages, auto-shutdown and notices: add services with"
                " c.JupyterHub.services.append(...) after configure(c), which brings them."
            )
        self._upkeep = Upkeep(self)
        self._upkeep.start()

    def look(self) -> Inventory:
        """What the driver lists, with what it reported of Xid errors since."""
        found = nvidia.discover()
        listed = {gpu.parent or gpu.uuid for gpu in found.gpus}
        for uuid in self._xids.fatal():
            if found.answered and uuid not in listed:
                self._xids.clear(uuid)  # a GPU that comes back from that has been reset
        away = tuple(gpu for uuid, gpu in dict(self.lent).items() if uuid not in listed)
        if away and found.answered:
            found = replace(found, gpus=(*found.gpus, *away))
        return nvidia.with_problems(found, self._xids.fatal())

    async def look_again(self) -> None:
        """Look at the GPUs now, so that the pool knows what is not there before it hands that out."""
        await self._upkeep.refresh()

    def spawners(self) -> list[tuple[tuple[str, str], GPUSpawner]]:
        """All servers that this process knows, by user and server name."""
        return [
            ((user.name, name), spawner)
            for user in list(self.app.users.values())
            for name, spawner in list(user.spawners.items())
        ]

    async def stop_server(self, spawner: GPUSpawner) -> None:
        """Stop a running server as its user would."""
        await self.app.proxy.delete_user(spawner.user, spawner.name)
        await spawner.user.stop(spawner.name)


def configured(cls: type, config: Config, trait: str, default: T) -> T:
    """What the admin configured for ``cls.trait``, read with no instance, as traitlets would."""
    value = default
    for section in cls.section_names():  # type: ignore[attr-defined]
        if section in config and trait in config[section]:
            value = config[section][trait]
    return value


def hub_for(spawner_class: type[GPUSpawner], config: Config) -> GPUHub:
    """The process's `GPUHub`, opened on first use, with its rounds running."""
    if not GPUHub.initialized():
        hub = GPUHub(config=config)
        hub.open(spawner_class)
        # Only a hub that could be opened becomes the instance.
        GPUHub._instance = hub  # type: ignore[assignment]
        hub.start_rounds(JupyterHub.instance())
    return GPUHub.instance()


def open_with(app: JupyterHub) -> None:
    """Open the pool when the hub that is loading its config is set up, before it serves.

    A wrong machine type then stops the hub at start, and reconciliation runs though nobody has
    logged in yet; a hub whose config does not call this opens the pool with its first spawner.
    JupyterHub has no start-up hook. It replaces its ``tornado_settings`` trait once, just before
    it makes the spawners of servers that ran before: that is the moment.
    """

    def opened(change: dict[str, Any]) -> None:
        if "spawner_class" not in change["new"]:
            return  # the admin's own value, from the config file
        app.unobserve(opened, "tornado_settings")
        logging.getLogger("gpubox").parent = app.log  # one log, in one form
        spawner_class = change["new"]["spawner_class"]
        if not hasattr(spawner_class, "for_reconciliation"):
            return
        try:
            hub_for(spawner_class, app.config)
        except (MachineTypeError, EngineError, OSError, ValueError) as error:
            app.log.critical("%s", error)
            app.exit(1)

    app.observe(opened, "tornado_settings")
