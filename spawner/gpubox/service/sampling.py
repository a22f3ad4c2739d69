"""The GPUs' figures, read by the panel's own sampler: for the pages, the books and the culler.

The sampler reads on threads of its own, and a driver that hangs keeps one of them, never the event loop. What
is made of a reading is ``meter``'s.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jupyterlab_gpubox.records import GPU, Snapshot
from jupyterlab_gpubox.sampler import Change, Intervals, Sampler

from .activities import Activities
from .live import Figures, Live, State
from .meter import Doing, IdleClocks, Meter, Moment, Verdict, is_seen_at_work, of_all, report, works_for
from .store import Store

log = logging.getLogger(__name__)

_WRITE_SAMPLES = 12  # about once a minute
_GAP_SAMPLES = 3
# A box reports once a minute; two reports may be missed for one that is late.
REPORT_FRESH_SECONDS = 120.0
# Steps in which figures are told: a sensor's noise is no news for a hundred pages.
_STEPS = {
    "utilisation_percent": ("utilisation_percent", 1),
    "memory_used_mib": ("memory_used_mib", 32),
    "temperature_c": ("temperature_celsius", 1),
    "power_watts": ("power_watts", 5),
}


def figures(snapshot: Snapshot) -> Figures:
    """A snapshot as the pages are told it."""
    return {
        gpu.id: {name: _rounded(_fresh(gpu, figure), step) for name, (figure, step) in _STEPS.items()}
        for gpu in snapshot.gpus
    }


def _fresh(gpu: GPU, figure: str) -> float | None:
    value = gpu.figures.get(figure)
    if gpu.state != "ok" or figure in gpu.stale or not isinstance(value, int | float):
        return None
    return float(value)


def _rounded(value: float | None, step: int) -> float | None:
    return None if value is None else float(round(value / step) * step)


def doings(snapshot: Snapshot, state: State, reports: Mapping[int, Verdict]) -> list[Doing]:
    """What each GPU that can be read does, and for whom. One that is lost or stale does not say."""
    holders = {gpu["uuid"]: tuple(one["lease"] for one in gpu["holders"]) for gpu in state["gpus"]}
    return [
        Doing(gpu.id, leases, None if percent is None else percent / 100, reports)
        for gpu in snapshot.gpus
        if (leases := holders.get(gpu.id)) is not None
        and gpu.state == "ok"
        and "utilisation_percent" not in gpu.stale
        for percent in (_fresh(gpu, "utilisation_percent"),)
    ]


class Sampling:
    """Reads all GPUs of this machine for as long as `run` lasts."""

    def __init__(
        self,
        live: Live,
        activities: Activities,
        store: Store,
        *,
        sample_seconds: float,
        busy_percent: float,
        sampler: Sampler | None = None,
    ) -> None:
        self._live, self._activities, self._store = live, activities, store
        self._busy_from = busy_percent / 100
        self._write_seconds = _WRITE_SAMPLES * sample_seconds
        longest_gap = _GAP_SAMPLES * sample_seconds
        self._meter = Meter(longest_gap, self._busy_from)
        self.clocks = IdleClocks(longest_gap)
        self._sampler = sampler or Sampler(
            Intervals(
                core_seconds=sample_seconds,
                process_seconds=3600,  # who runs what is the boxes' to tell
                health_seconds=max(30.0, sample_seconds),
                idle_seconds=max(10.0, sample_seconds),
            )
        )
        self._read_at = 0.0

    async def run(self) -> None:
        """Sample, and write down what was seen; what is left is written at the end."""
        loop = asyncio.get_running_loop()
        end = self._sampler.subscribe(_handed_over(loop, self._take))
        watch = self._sampler.watch()
        try:
            while True:
                await asyncio.sleep(self._write_seconds)
                await self._write()
        finally:
            end()
            watch.close()
            await asyncio.shield(self._write())

    async def close(self) -> None:
        """Let go of the drivers."""
        await asyncio.to_thread(self._sampler.stop)

    def _take(self, snapshot: Snapshot, monotonic: float) -> None:
        """One reading, on the event loop."""
        self._live.set_figures(figures(snapshot))
        if not self._live.hub_answers:
            return  # nobody knows who holds what: that time is not measured
        now = Moment(time.time(), monotonic)
        seen = doings(snapshot, self._live.state, self._reports(now.wall))
        self._meter.take(seen, now)
        self._take_idle(seen, now)

    def _reports(self, now: float) -> dict[int, Verdict]:
        return {
            lease["id"]: report(known.gpu_at, known.reported_at, now, REPORT_FRESH_SECONDS)
            for lease in self._live.state["leases"]
            if (known := self._activities.of(lease["id"])) is not None
        }

    def _take_idle(self, seen: Iterable[Doing], now: Moment) -> None:
        by_gpu = {doing.gpu: doing for doing in seen}
        held = [lease for lease in self._live.state["leases"] if lease["gpus"]]
        for lease in held:
            number = lease["id"]
            its = [by_gpu.get(uuid) for uuid in lease["gpus"]]
            verdict = of_all([self._verdict(doing, number) for doing in its])
            self.clocks.take(number, verdict, now.monotonic)
            # What its box reports is known already, and must not keep itself alive here.
            if any(doing and is_seen_at_work(doing, number, self._busy_from) for doing in its):
                self._activities.gpu_worked(number, now.wall)
        for doing in by_gpu.values():
            if doing.leases:
                of_gpu = of_all([works_for(doing, lease, self._busy_from) for lease in doing.leases])
                self.clocks.take(doing.gpu, of_gpu, now.monotonic)
        self.clocks.keep({lease["id"] for lease in held} | {uuid for lease in held for uuid in lease["gpus"]})

    def _verdict(self, doing: Doing | None, lease: int) -> Verdict:
        return "unknown" if doing is None else works_for(doing, lease, self._busy_from)

    async def _write(self) -> None:
        uses = self._meter.unwritten()
        try:
            await self._store.run(self._store.add_use, uses)
        except Exception:
            log.exception("What the GPUs did could not be written down; it is kept, and tried again.")
        else:
            self._meter.written(uses)


def _handed_over(
    loop: asyncio.AbstractEventLoop, take: Callable[[Snapshot, float], None]
) -> Callable[[Snapshot, Change], Any]:
    """``take`` as the sampler's thread may call it."""

    def hand_over(snapshot: Snapshot, change: Change) -> None:
        if Change.TICK not in change:
            return
        try:
            loop.call_soon_threadsafe(take, snapshot, time.monotonic())
        except RuntimeError:
            pass  # the loop was closed meanwhile

    return hand_over
