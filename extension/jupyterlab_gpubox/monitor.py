"""The monitor: what one Jupyter server has once. It joins sampler, processes, box, history and activity.

Lives on the server's event loop; whatever blocks (reading /proc, encoding a day of figures) runs in
a thread. Nothing here knows HTTP: that is ``routes``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from . import activity, wire
from .box import Box
from .hub_link import HubLink
from .owners import Owners
from .procfs import Procfs
from .records import LINKS, Owner, ProcessList, Snapshot
from .sampler import Change, Sampler

log = logging.getLogger(__name__)
Listener = Callable[[str], None]
_PATIENCE_SECONDS = 3.0


class Monitor:
    """All that routes, /metrics and activity ask.

    ``known`` tells, on the event loop, which pids are kernels and terminals; ``activity_percent`` is
    the utilisation from which a GPU works, None where work is not to count as activity;
    ``mark_active`` is told each time that it does.
    """

    def __init__(
        self,
        sampler: Sampler,
        *,
        box: Box | None,
        known: Callable[[], Awaitable[Mapping[int, Owner]]],
        activity_percent: float | None,
        mark_active: Callable[[datetime], None],
    ) -> None:
        self.sampler = sampler
        self.box = box
        self._known = known
        self._pids: Mapping[int, Owner] = {}
        self._owners = Owners(lambda: self._pids)
        self._procfs = Procfs()
        self._activity_percent = activity_percent
        self._mark_active = mark_active
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: set[Listener] = set()
        self._processes = ProcessList(time=0.0)
        self._cpu_ticks: Mapping[int, int] = {}
        self._ticked = asyncio.Event()
        self._look_again = 0.0  # time.monotonic()
        self._looking: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] | None = None
        # The line to the hub's service, where this is one of its boxes.
        self.link: HubLink | None = None

    # --- there and away --------------------------------------------------------------------------

    def start(self) -> None:
        """Listen to the sampler; called on the event loop, and may be called again.

        The driver is opened now only where its work counts as activity, else with the first question.
        """
        if self._unsubscribe is not None:
            return
        self._loop = asyncio.get_running_loop()
        self._unsubscribe = self.sampler.subscribe(self._from_sampler)
        if self._activity_percent is not None:
            self.sampler.ask(0)

    async def stop(self) -> None:
        """Let go of the driver and of all who listen."""
        if self._unsubscribe is not None:
            self._unsubscribe()
        if self._looking is not None:
            self._looking.cancel()
        self._listeners.clear()
        if self.link is not None:
            await self.link.stop()
        await asyncio.to_thread(self.sampler.stop)

    # --- questions -------------------------------------------------------------------------------

    async def gpus(self, *, links: bool = False) -> dict[str, Any]:
        """All that GET /gpus says; waits until the driver has answered, for a while."""
        self.start()
        with self.sampler.watch(links=links):
            await asyncio.to_thread(self.sampler.ask, _PATIENCE_SECONDS)
            if links:
                await self._until(has_links)
            return self._gpus(self.snapshot())

    async def _until(self, fits: Callable[[Snapshot], bool]) -> None:
        """Wait for a snapshot that fits, but not for ever."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while not fits(self.snapshot()):
                    await self._ticked.wait()

    async def processes(self) -> dict[str, Any]:
        """All that GET /processes says, read anew."""
        await self.gpus()
        await self._look_at_processes(self.snapshot())
        return wire.processes(self._processes)

    async def history(self, which: str) -> str:
        """The JSON of GET /history. Raises `NoSuchRange`."""
        self.start()
        ours = {gpu.id for gpu in self.snapshot().gpus}
        return await asyncio.to_thread(
            lambda: json.dumps(wire.history(self.sampler.history.rows(which), ours))
        )

    def snapshot(self) -> Snapshot:
        """What is known now of the GPUs that are this server's."""
        return self._ours(self.sampler.snapshot())

    def scraped(self) -> Snapshot:
        """What is known now, for a scraper: its next visit finds figures, should there be none yet."""
        self.start()
        return self._ours(self.sampler.ask(0))

    def box_now(self) -> dict[str, Any]:
        """All that GET /box says."""
        return wire.box(self.box, time.time(), None if self.link is None else self.link.lease)

    def _ours(self, snapshot: Snapshot) -> Snapshot:
        return snapshot if self.box is None else wire.only(snapshot, self.box.gpus)

    def _gpus(self, snapshot: Snapshot) -> dict[str, Any]:
        is_shared = self.box is not None and self.box.is_shared
        return wire.gpus(snapshot, intervals=self.sampler.intervals, is_shared=is_shared)

    # --- the stream ------------------------------------------------------------------------------

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` with every frame from now on, as text; returns what ends it."""
        self.start()
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    def greeting(self) -> list[str]:
        """The frames that a new listener gets first."""
        frames = [_frame("gpus", self._gpus(self.snapshot()))]
        if self._processes.time:
            frames.append(_frame("processes", wire.processes(self._processes)))
        if self.link is not None:
            frames += [_frame(kind, told) for kind, told in self.link.frames()]
            # A page that was away may still show what was closed meanwhile.
            frames.append(_frame("open", {"notices": list(self.link.notices)}))
        return frames

    def tell(self, kind: str, told: dict[str, Any]) -> None:
        """Send every page a frame of that kind."""
        self._tell(_frame(kind, told))

    def _from_sampler(self, snapshot: Snapshot, change: Change) -> None:
        """In the sampler's thread: hand over to the loop, which may have been closed meanwhile."""
        try:
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._spread, self._ours(snapshot), change)
        except RuntimeError:
            pass

    def _spread(self, snapshot: Snapshot, change: Change) -> None:
        self._ticked.set()
        self._ticked.clear()
        if self._listeners:
            if Change.GPUS in change:
                self._tell(_frame("gpus", self._gpus(snapshot)))
            if Change.TICK in change:
                self._tell(_frame("tick", wire.tick(snapshot)))
        is_wanted = self._listeners or self._activity_percent is not None
        is_due = Change.PROCESSES in change or time.monotonic() >= self._look_again
        if is_wanted and is_due and (self._looking is None or self._looking.done()):
            # Owners change without the driver's list: a terminal is closed, a notebook renamed.
            self._look_again = time.monotonic() + self.sampler.intervals.process_seconds
            self._looking = asyncio.ensure_future(self._look_at_processes(snapshot))

    def _tell(self, frame: str) -> None:
        for listener in list(self._listeners):
            listener(frame)

    # --- processes and activity ------------------------------------------------------------------

    async def _look_at_processes(self, snapshot: Snapshot) -> None:
        self._pids = await self._known()
        before, self._processes = self._processes, await asyncio.to_thread(self._list, snapshot)
        if (before.processes, before.others, before.message) != (
            self._processes.processes,
            self._processes.others,
            self._processes.message,
        ):
            self._tell(_frame("processes", wire.processes(self._processes)))
        if self._activity_percent is not None:
            busy = await asyncio.to_thread(self._busy)
            if activity.works(snapshot, self._processes, self._activity_percent, busy):
                self._mark_active(datetime.now(UTC))

    def _list(self, snapshot: Snapshot) -> ProcessList:
        return self._owners.processes(snapshot.uses, snapshot.gpus)

    def _busy(self) -> set[int]:
        """The pids of our processes on GPUs that have used the CPU since the last look."""
        before, stats = (
            self._cpu_ticks,
            {one.pid: self._procfs.stat(one.pid) for one in self._processes.processes},
        )
        self._cpu_ticks = {pid: stat.cpu_ticks for pid, stat in stats.items() if stat}
        return {pid for pid, spent in self._cpu_ticks.items() if spent > before.get(pid, spent)}


def has_links(snapshot: Snapshot) -> bool:
    """Whether there are link counters of any GPU, or no GPU that could have some."""
    return not snapshot.gpus or any(name in gpu.figures for gpu in snapshot.gpus for name in LINKS)


def _frame(kind: str, told: dict[str, Any]) -> str:
    return json.dumps({"type": kind, **told}, separators=(",", ":"))
