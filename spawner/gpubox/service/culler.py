"""The culler: jupyterhub-idle-culler, run in the service's loop, with ours as its arbiter.

Who is idle is decided by ``idle``; that it is told first, and kept track of, is here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from jupyterhub_idle_culler import cull_idle

from .activities import Activities
from .idle import Keep, Limits, Record, Rule, Stop, Warn, decide
from .live import Live, State
from .notices import Notices, Wanted
from .sampling import Sampling
from .settings import GPUService
from .store import Activity, Notice

log = logging.getLogger(__name__)
KIND = "idle"


@dataclass(frozen=True)
class Countdown:
    """A notice under way: it ends at that moment of the monotonic clock, however the wall clock is set."""

    notice: Notice
    rule: Rule
    until: float


class Culler:
    """Looks at all servers every ``cull_seconds``, and at one whenever it shows life.

    ``hub`` are the API's URL and the service's token (JUPYTERHUB_API_URL, JUPYTERHUB_API_TOKEN).
    """

    def __init__(
        self,
        live: Live,
        activities: Activities,
        sampling: Sampling,
        notices: Notices,
        options: GPUService,
        hub: tuple[str, str],
    ) -> None:
        self._live, self._activities, self._sampling = live, activities, sampling
        self._notices, self._options, self._hub = notices, options, hub
        self._warned: dict[int, Countdown] = {}
        self._closing: set[asyncio.Task[None]] = set()
        activities.on_life = self._on_life

    async def open(self) -> None:
        """Take over the countdowns that another process began, once the notices are known.

        One that ended while nobody was there to take a "keep" stops nobody: it begins anew.
        """
        now = time.time()
        for notice in self._notices.open():
            if notice.kind != KIND or notice.due_at is None:
                continue
            if notice.due_at <= now:
                await self._notices.close(notice.id)
                continue
            _, number, rule, _ = notice.subject.split()
            self._count_down(int(number), notice, "gpu" if rule == "gpu" else "machine", now)
            if rule == "gpu":
                # It was so when that was said; what its GPU does from now on is seen again.
                self._sampling.clocks.believe(int(number), 366 * 86400.0, time.monotonic())

    def _count_down(self, lease: int, notice: Notice, rule: Rule, now: float) -> None:
        due_at = notice.due_at or now
        self._warned[lease] = Countdown(notice, rule, time.monotonic() + due_at - now)

    async def run(self) -> None:
        """Look at all servers again and again."""
        url, token = self._hub
        while True:
            if self._live.hub_answers:
                self._forget()
                try:
                    await cull_idle(url, token, 0, log, cull_arbiter=self._arbiter)
                except Exception as error:
                    log.warning("Idle machines could not be looked for (%r); trying again.", error)
            await asyncio.sleep(self._options.cull_seconds)

    def _forget(self) -> None:
        held = {lease["id"] for lease in self._live.state["leases"]}
        for lease in self._warned.keys() - held:
            del self._warned[lease]

    async def _arbiter(self, *, inactive: timedelta | None, server: Mapping[str, Any], **rest: Any) -> bool:
        """Whether the server of the hub's model is to be stopped now."""
        number = ((server.get("state") or {}).get("gpubox") or {}).get("lease")
        try:
            lease = self._live.lease(-1 if number is None else number)
        except KeyError:
            return False  # another spawner's, or on its way out
        if lease["server"] != server["name"] or lease["granted_at"] is None:
            return False
        active_at = None if inactive is None else time.time() - inactive.total_seconds()
        return await self._look(lease, active_at)

    async def _look(self, lease: State, hub_active_at: float | None) -> bool:
        now = time.time()
        record = self.record(lease, hub_active_at, now)
        told = decide(record, self._limits(lease), now, self._options.warn_seconds)
        match told:
            case Keep():
                await self._close(lease["id"])
            case Warn(rule=rule):
                countdown = self._warned.get(lease["id"])
                if countdown is None or countdown.rule != rule:
                    await self._close(lease["id"])
                    await self._warn(lease, told, now)
            case Stop(sentence=sentence):
                log.warning("Stopping a machine of %s: %s", lease["user"], sentence)
                return True
        return False

    def record(self, lease: State, hub_active_at: float | None, now: float) -> Record:
        """What is known of a lease's machine now."""
        number = lease["id"]
        warned = self._warned.get(number)
        lost = {gpu["uuid"] for gpu in self._live.state["gpus"] if gpu["state"] == "lost"}
        return Record(
            title=lease["title"],
            since=max(lease["granted_at"], self._activities.ready_since(number)),
            activity=self._activities.of(number) or Activity(number),
            hub_active_at=hub_active_at,
            gpu_idle_for=self._sampling.clocks.idle_seconds(number, time.monotonic()),
            is_gpu_lost=not lost.isdisjoint(lease["gpus"]),
            warned=None if warned is None else (warned.rule, now + warned.until - time.monotonic()),
        )

    def _limits(self, lease: State) -> Limits:
        for machine in self._live.state["machines"]:
            if machine["name"] == lease["machine"]:
                return Limits(machine["idle_seconds"], machine["gpu_idle_seconds"])
        return Limits(None, None)  # a type that the config no longer has

    async def _warn(self, lease: State, told: Warn, now: float) -> None:
        log.info("%s's machine (lease %d) is idle; its user is told.", lease["user"], lease["id"])
        notice = await self._notices.tell(
            Wanted(
                user=lease["user"],
                server=lease["server"],
                kind=KIND,
                subject=f"{KIND} {lease['id']} {told.rule} {told.due_at:.3f}",
                sentence=told.sentence,
                due_at=told.due_at,
            ),
            now,
        )
        if notice is not None:
            self._count_down(lease["id"], notice, told.rule, now)

    async def _close(self, lease: int) -> None:
        countdown = self._warned.pop(lease, None)
        if countdown is not None:
            await self._notices.close(countdown.notice.id)

    def _on_life(self, number: int) -> None:
        """A countdown ends as soon as its machine is used or kept."""
        if number not in self._warned:
            return
        task = asyncio.ensure_future(self._look_again(number))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _look_again(self, number: int) -> None:
        try:
            # With no word of the hub's: only what boxes and users say can end a countdown here.
            lease = self._live.lease(number)
            now = time.time()
            record = self.record(lease, None, now)
            if isinstance(decide(record, self._limits(lease), now, self._options.warn_seconds), Keep):
                await self._close(number)
        except KeyError:
            pass  # it has ended
        except Exception:
            log.exception("The notice of a machine that is used again could not be closed.")
