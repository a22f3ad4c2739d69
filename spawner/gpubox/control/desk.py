"""The hub's front desk: what others may ask of it, on its event loop. Each method is a wish of ``server``."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import asdict
from datetime import UTC
from typing import TYPE_CHECKING, Any

from jupyterhub import orm

from ..engines import EngineError
from ..ledger import Lease
from ..refusal import PoolRefusal
from . import state
from .feed import StateFeed
from .templates import TemplateDesk

if TYPE_CHECKING:
    from ..hub import GPUHub
    from ..spawner import GPUSpawner

log = logging.getLogger(__name__)

# JupyterHub gives a cancelled spawn as long before it stops what was started (apihandlers/users.py).
_CANCEL_SECONDS = 30.0
_REACH_SECONDS = 60
_REACH_NOTE = "opens an SSH connection"


class Desk:
    """State for those who watch, and wishes of admins and users that the service has checked."""

    def __init__(self, hub: GPUHub) -> None:
        self._hub = hub
        self.templates = TemplateDesk(hub)
        self.feed = StateFeed(self._read, hub.line_moved)

    async def _read(self) -> state.State:
        hub = self._hub
        ready = {key for key, spawner in hub.spawners() if spawner.ready}
        found = await hub.ask(
            lambda: state.read(
                hub.pool, hub.machines, idle_limits=hub.idle_limits, ready=ready, currency=hub.currency
            )
        )
        return {**found, "templates": hub.templates.news()}

    async def settings(self) -> dict[str, Any]:
        """What the service is configured with."""
        return self._hub.service_settings()

    async def timings(self) -> dict[str, Any]:
        """How long the phases of starts took, since this hub's process began."""
        return self._hub.timings.as_dict()

    async def drain(self, gpu: str, reason: str) -> None:
        """Hand the GPU out no more. Raises KeyError with a sentence for an unknown one."""
        await self._with_gpu(self._hub.pool.drain, gpu, reason)
        log.warning("GPU %s is drained: %s", gpu, reason)

    async def undrain(self, gpu: str) -> None:
        """Hand the GPU out again. Raises KeyError with a sentence for an unknown one."""
        await self._with_gpu(self._hub.pool.undrain, gpu)
        log.warning("GPU %s serves again.", gpu)

    async def _with_gpu(self, method: Any, gpu: str, *arguments: str) -> None:
        try:
            await self._hub.change(method, gpu, *arguments)
        except KeyError as error:
            raise KeyError(f"There is no GPU {gpu!r} here.") from error

    async def move(self, lease: int, to: str) -> None:
        """Move a ticket ``first``, ``last`` or back to its ``fair`` place. Raises KeyError, PoolRefusal."""
        await self._open(lease)
        await self._hub.change(self._hub.pool.move, lease, to)

    async def extend(self, lease: int, seconds: float) -> dict[str, Any]:
        """Let a lease end later. Raises KeyError, PoolRefusal with a sentence."""
        await self._open(lease)
        ends_at = await self._hub.ask(self._hub.pool.extend, lease, seconds)
        await self._hub.change(self._hub.pool.served)
        return {"ends_at": ends_at}

    async def end(self, lease: int, reason: str) -> None:
        """Stop the lease's server, or take the ticket out of the line; returns when that is done.

        Raises KeyError with a sentence where it has ended already, PoolRefusal where the engine cannot
        stop the server now.
        """
        found = await self._open(lease)
        spawner = dict(self._hub.spawners()).get((found.user, found.server))
        log.warning("Ending lease %d of %s (%s).", lease, found.user, reason)
        if spawner is not None and spawner.pending == "spawn":
            await _cancel(spawner)
        elif spawner is not None and spawner.active:
            await _stop(self._hub, spawner)
        if found.is_waiting:
            await self._hub.leave_line(lease, reason)  # a place that nobody came back for
        elif (await self._hub.ask(self._hub.pool.lease, lease)).released_at is None:
            raise PoolRefusal(
                f"{found.user}'s machine could not be stopped: the engine does not confirm it. Its GPU stays"
                " taken until it does; the hub tries again every minute.",
                "engine",
            )

    # --- machines that are kept --------------------------------------------------------------------

    async def kept(self) -> dict[str, Any]:
        """The stopped machines that wait for their next start. Raises PoolRefusal where the engine fails."""
        hub = self._hub
        try:
            found = [
                machine
                for engine in hub.engines
                for machine in await engine.for_reconciliation(hub.config).kept_machines(hub.pool.hub_id)
            ]
        except EngineError as error:
            raise PoolRefusal(str(error), "engine") from error
        return {"machines": [asdict(machine) for machine in found]}

    async def remove_kept(self, user: str, server: str) -> None:
        """Delete what is kept of a server for good. Raises KeyError, PoolRefusal with a sentence."""
        hub = self._hub
        words = f"{user}/{server}" if server else user
        spawner = dict(hub.spawners()).get((user, server))
        is_removed = False
        try:
            for engine in (one.for_reconciliation(hub.config) for one in hub.engines):
                for machine in await engine.kept_machines(hub.pool.hub_id):
                    if (machine.user, machine.server) != (user, server):
                        continue
                    if spawner is not None and (spawner.active or spawner.is_settling):
                        raise PoolRefusal(f"{words} is being started: end it first.", "in_use")
                    await engine.remove_kept(machine)
                    log.warning("What was kept of %s is deleted.", words)
                    is_removed = True
        except EngineError as error:
            raise PoolRefusal(str(error), "engine") from error
        if not is_removed:
            raise KeyError(f"Nothing is kept of {words}.")

    # --- for the SSH gateway -----------------------------------------------------------------------

    async def account(self, user: str) -> dict[str, Any]:
        """Since when there is that user, the names of their servers beside the first, and which are on their
        way.

        Raises KeyError.
        """
        found = orm.User.find(self._hub.app.db, user)
        if found is None:
            raise KeyError(f"There is no user {user!r} here.")
        names = sorted(spawner.name for spawner in found._orm_spawners if spawner.name)
        starting = [name for (who, name), spawner in self._hub.spawners() if who == user and spawner.pending]
        since = found.created.replace(tzinfo=UTC).timestamp()
        return {"created_at": since, "servers": names, "starting": starting}

    async def reach(self, user: str, server: str) -> dict[str, Any]:
        """Where a running server answers, and a token of its user's that opens it alone, for a minute.

        The address is the server's own: the hub's proxy ends with the hub, connections need not. Raises
        PoolRefusal where it does not run.
        """
        spawner = dict(self._hub.spawners()).get((user, server))
        if spawner is None or not spawner.ready:
            raise PoolRefusal("That machine does not run.", "stopped")
        token = spawner.user.new_api_token(
            note=_REACH_NOTE,
            expires_in=_REACH_SECONDS,
            scopes=[f"access:servers!server={user}/{server}"],
        )
        made = orm.APIToken.find(self._hub.app.db, token)
        return {"url": spawner.server.url, "token": token, "token_id": made.id}

    async def revoke(self, token_id: int) -> None:
        """Take a token of `reach` back; one that has expired is gone."""
        database = self._hub.app.db
        found = database.get(orm.APIToken, token_id)
        if found is not None and found.note == _REACH_NOTE:
            database.delete(found)
            database.commit()

    async def _open(self, lease_id: int) -> Lease:
        try:
            found = await self._hub.ask(self._hub.pool.lease, lease_id)
        except KeyError as error:
            raise KeyError(f"There is no lease {lease_id}.") from error
        if found.released_at is not None:
            raise KeyError("That machine or place in line has been given back already.")
        return found


async def _cancel(spawner: GPUSpawner) -> None:
    """Cancel a start, as JupyterHub's own API does; it ends with `run_post_stop_hook`."""
    spawning = spawner._spawn_future
    if spawning is not None:
        spawning.cancel()
        await asyncio.wait({asyncio.ensure_future(_ended(spawner))}, timeout=_CANCEL_SECONDS)


async def _ended(spawner: GPUSpawner) -> None:
    # JupyterHub tells of the end of a start or stop by these flags alone.
    while spawner.pending or spawner.is_settling:  # noqa: ASYNC110
        await asyncio.sleep(0.05)


async def _stop(hub: GPUHub, spawner: GPUSpawner) -> None:
    if spawner.pending == "stop":
        await _ended(spawner)
        return
    try:
        await hub.stop_server(spawner)
    except EngineError as error:
        sentence = f"The machine could not be stopped: {error} Try again in a minute."
        raise PoolRefusal(sentence, "engine") from error
