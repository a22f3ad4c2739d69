"""Signs of life of machines: what their boxes report, what their GPUs show, and their users' "keep".

The newest of each kind is kept in memory and in the table ``activity``. What follows from it is ``culler``'s.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from .api import LeaseHandler
from .handlers import APIHandler, Refusal
from .live import Live, State
from .store import Activity, Store

log = logging.getLogger(__name__)

KINDS = ("kernel_at", "terminal_at", "desktop_at", "gpu_at")
_WRITE_SECONDS = 10.0


class Activities:
    """What is known of every open lease. ``on_life`` is called with a lease that showed some."""

    def __init__(self, store: Store, live: Live) -> None:
        self._store = store
        self._live = live
        self._known: dict[int, Activity] = {}
        self._ready_since: dict[int, float] = {}
        self._unwritten: set[int] = set()
        self._gone: set[int] = set()
        self.on_life: Callable[[int], None] = lambda lease: None
        live.on_state(self._on_state)

    async def open(self) -> None:
        """Know what was known before this process."""
        self._known = await self._store.run(self._store.activities)

    def of(self, lease: int) -> Activity | None:
        """What a lease has shown; None where nothing is known."""
        return self._known.get(lease)

    def ready_since(self, lease: int) -> float:
        """When it was first seen ready; 0 where it was so before this process."""
        return self._ready_since.get(lease, 0.0)

    def report(self, lease: int, told: Mapping[str, float | None], now: float) -> None:
        """A box reports. Times in the future are taken for now: clocks differ a little."""
        known = self._known.get(lease) or Activity(lease)
        newest: dict[str, Any] = {kind: _newest(getattr(known, kind), told.get(kind), now) for kind in KINDS}
        self._put(replace(known, reported_at=now, **newest))
        self.on_life(lease)

    async def keep(self, lease: int, now: float) -> None:
        """Its user says that they still need it."""
        self._put(replace(self._known.get(lease) or Activity(lease), kept_at=now))
        await self.write()
        self.on_life(lease)

    def gpu_worked(self, lease: int, now: float) -> None:
        """A GPU that it holds was seen to work."""
        self._put(replace(self._known.get(lease) or Activity(lease), gpu_at=now))

    def _put(self, activity: Activity) -> None:
        self._known[activity.lease_id] = activity
        self._unwritten.add(activity.lease_id)

    def _on_state(self, before: State, after: State) -> None:
        open_leases = {lease["id"]: lease for lease in after["leases"]}
        self._gone |= self._known.keys() - open_leases.keys()
        self._known = {number: one for number, one in self._known.items() if number in open_leases}
        self._ready_since = {number: at for number, at in self._ready_since.items() if number in open_leases}
        was = {lease["id"]: lease["is_ready"] for lease in before["leases"]}
        for number, lease in open_leases.items():
            known = self._known.get(number)
            has_reported = known is not None and known.reported_at is not None
            # After a restart of the hub a machine that has long run is ready once more.
            if lease["is_ready"] and was.get(number) is False and not has_reported:
                self._ready_since[number] = time.time()

    async def run(self) -> None:
        """Write down what is new, every few seconds and at the end."""
        try:
            while True:
                await asyncio.sleep(_WRITE_SECONDS)
                await self.write()
        finally:
            await asyncio.shield(self.write())

    async def write(self) -> None:
        """Write down what is new."""
        numbers, self._unwritten = self._unwritten, set()
        gone, self._gone = self._gone, set()
        told = [self._known[number] for number in numbers if number in self._known]
        if not told and not gone:
            return
        try:
            await self._store.run(self._store.write_activities, told, gone)
        except Exception:
            log.exception("Signs of life could not be written down; trying again.")
            self._unwritten |= numbers
            self._gone |= gone


def _newest(known: float | None, told: float | None, now: float) -> float | None:
    if told is None:
        return known
    # One that was known before and lies in the future is of a clock that has been set back since.
    return max(min(told, now), min(known or 0.0, now))


class ActivityHandler(APIHandler):
    """POST api/box/activity: the report of a machine's own server."""

    async def post(self) -> None:
        number = (int, float)
        told = self.fields(server=str, kernel_at=number, terminal_at=number, desktop_at=number, gpu_at=number)
        server = told.pop("server")
        if server is None:
            raise Refusal(400, "server: expected the server's name; empty for the default one.")
        for kind, at in told.items():
            # JSON as Python reads it knows NaN and infinity, too.
            if at is not None and not 0 <= at < 1e11:
                raise Refusal(400, f"{kind}: expected Unix seconds.")
        lease = held(self.service.live, self.viewer.name, server)
        if lease is None:
            raise Refusal(404, "No machine of yours of that name runs now.")
        self.service.rounds.activities.report(lease["id"], told, time.time())
        self.answer({})


class KeepHandler(LeaseHandler):
    """POST api/leases/{id}/keep"""

    async def post(self, lease_id: str) -> None:
        self.fields()
        lease = self.lease(lease_id)
        if not self.viewer.owns(lease):
            raise Refusal(403, "That machine is not yours.")
        if lease["granted_at"] is None:
            raise Refusal(409, "That one still waits; nobody takes it away.")
        await self.service.rounds.activities.keep(lease["id"], time.time())
        self.answer({})


def held(live: Live, user: str, server: str) -> dict[str, Any] | None:
    """The lease that a user's server holds; None where it holds none."""
    for lease in live.state["leases"]:
        if user and (lease["user"], lease["server"]) == (user, server) and lease["granted_at"] is not None:
            return dict(lease)
    return None


ROUTES: list[tuple[str, type[APIHandler]]] = [
    (r"api/box/activity", ActivityHandler),
    (r"api/leases/(\d{1,15})/keep", KeepHandler),
]
