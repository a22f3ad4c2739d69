"""What a hub does unasked: look at the GPUs, compare leases with what runs, stop what is over its time.

What is to be repaired is decided in ``reconcile``, who is over time in ``pool``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from .engines import Box, EngineError
from .reconcile import AdoptBox, CloseLease, Repair, StopBox, decide

if TYPE_CHECKING:
    from .hub import GPUHub
    from .spawner import GPUSpawner


class Upkeep:
    """The rounds of one hub."""

    def __init__(self, hub: GPUHub) -> None:
        self._hub = hub
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin; the rounds end with the event loop."""
        for rounds in (self._refresh_rounds(), self._reconcile_rounds()):
            self._tasks.add(asyncio.get_running_loop().create_task(rounds))

    async def _refresh_rounds(self) -> None:
        while True:
            await asyncio.sleep(self._hub.refresh_seconds)
            try:
                await self.refresh()
            except Exception:
                self._hub.log.exception("The GPUs could not be looked at; trying again.")

    async def refresh(self) -> None:
        """Look at the GPUs and tell the pool; a driver that does not answer changes nothing."""
        hub = self._hub
        before = hub.inventory
        hub.inventory = await asyncio.to_thread(hub.look)
        if before != hub.inventory:
            hub.warn_of_inventory()
        if hub.inventory.answered:
            await hub.change(hub.pool.refresh, hub.inventory.gpus)

    async def _reconcile_rounds(self) -> None:
        # JupyterHub's own check of the servers that ran before decides first who claims what.
        await self._hub.app._start_future
        while True:
            try:
                await self.reconcile()
                await self._stop_over_time()
                await self._hub.change(self._hub.pool.expire_places)
            except EngineError as error:
                self._hub.log.warning(
                    "Leases could not be compared with what runs (%s); nothing was changed,"
                    " trying again in %.0f s.",
                    error,
                    self._hub.reconcile_seconds,
                )
            except Exception:
                self._hub.log.exception("A round of reconciliation failed; the next one tries again.")
            await asyncio.sleep(self._hub.reconcile_seconds)

    async def reconcile(self) -> None:
        """Compare leases with what the engine says runs, and repair both ways."""
        # A second look at once: the lease of an orphan that was stopped can now be closed.
        if await self._reconcile_once():
            await self._reconcile_once()

    async def _reconcile_once(self) -> bool:
        hub = self._hub
        engines = [engine.for_reconciliation(hub.config) for engine in hub.engines]
        # What a spawn does between these looks is not judged: it must be absent from the busy servers
        # both before and after, and its lease be none that came meanwhile.
        busy = self.busy_servers()
        before = {lease.id for lease in await hub.ask(hub.pool.held)}
        # Of all engines, or of none: what a silent one runs would pass for gone.
        found = {engine: await engine.boxes(hub.pool.hub_id) for engine in engines}
        boxes = [box for listed in found.values() for box in listed]
        leases = await hub.ask(hub.pool.held)
        busy |= self.busy_servers()
        busy |= {(lease.user, lease.server) for lease in leases if lease.id not in before}
        repairs = decide(leases, boxes, busy, self.claimed_servers())
        for repair in repairs:
            hub.log.warning("Reconciling: %s", repair.reason)
            try:
                await self._do(repair, found)
            except Exception as error:
                hub.log.error("That could not be done (%s); the next round tries again.", error)
        for engine, listed in found.items():
            await engine.look_after(listed)
        return bool(repairs)

    async def _do(self, repair: Repair, found: Mapping[GPUSpawner, Collection[Box]]) -> None:
        match repair:
            case StopBox(box=box):
                (engine,) = (engine for engine, boxes in found.items() if box in boxes)
                await engine.stop_box(box)
            case CloseLease(lease=lease):
                await self._hub.release(lease.id, repair.reason)
            case AdoptBox(box=box):
                await self._hub.ask(self._hub.pool.adopt, box.user, box.server, box.machine, box.gpus)

    async def _stop_over_time(self) -> None:
        hub = self._hub
        await hub.ask(hub.pool.stop_over_budget)
        for lease in await hub.ask(hub.pool.over_time):
            for key, spawner in hub.spawners():
                if key == (lease.user, lease.server) and spawner.ready:
                    hub.log.warning("Stopping %s: its time is over.", spawner._log_name)
                    await hub.stop_server(spawner)

    def busy_servers(self) -> set[tuple[str, str]]:
        """Servers that this process is starting or stopping right now."""
        return {key for key, spawner in self._hub.spawners() if spawner.pending or spawner.is_settling}

    def claimed_servers(self) -> set[tuple[str, str]]:
        """Servers that the hub knows as running or on their way."""
        return {key for key, spawner in self._hub.spawners() if spawner.active}
