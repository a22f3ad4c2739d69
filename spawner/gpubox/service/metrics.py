"""The hub in Prometheus's format, for those with the scope `read:metrics`.

What is known of the state is told at once; what takes a look at the whole ledger is read in a thread and kept
for a minute.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any

import sqlalchemy as sa
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from .. import __version__, books
from .. import db as tables
from ..budget import Budgets, Spent
from ..control.client import NoHub
from ..timings import BOUNDS, Histogram
from .handlers import APIHandler, Refusal
from .live import Figures, Live, State
from .meter import IdleClocks

_KEEP_SECONDS = 60.0
_DAY = 86400.0
_lease = tables.lease.c
_BOUND_WORDS = (*map(str, BOUNDS), "+Inf")


class Metrics:
    """What is told, and what has to be counted for it while the service runs."""

    def __init__(self, live: Live, ledger: sa.Engine, clocks: IdleClocks, budgets: Budgets) -> None:
        self._live, self._ledger, self._clocks, self._budgets = live, ledger, clocks, budgets
        self._waits: dict[str, Histogram] = {}
        self._counted: set[int] = set()
        self._since = time.time() - _DAY
        self._sums: dict[str, dict[str, float]] = {}
        self._spent: list[Spent] = []
        self._read_at = -_KEEP_SECONDS
        self._reading = asyncio.Lock()

    async def open(self) -> None:
        """Count the waits of the last day, and from now on those of whoever is served."""
        for number, machine, waited in await asyncio.to_thread(self._read_waits):
            self._count(number, machine, waited)
        self._live.on_state(self._on_state)

    def _read_waits(self) -> list[tuple[int, str, float]]:
        waited = _lease.granted_at - _lease.requested_at
        query = sa.select(_lease.id, _lease.machine, waited).where(_lease.granted_at >= self._since)
        with self._ledger.connect() as connection:
            return [(row[0], row[1], row[2]) for row in connection.execute(query)]

    def _count(self, number: int, machine: str, waited: float) -> None:
        self._counted.add(number)
        self._waits.setdefault(machine, Histogram()).add(max(0.0, waited))

    def _on_state(self, before: State, after: State) -> None:
        for lease in after["leases"]:
            granted_at = lease["granted_at"]
            if granted_at is not None and granted_at >= self._since and lease["id"] not in self._counted:
                self._count(lease["id"], lease["machine"], granted_at - lease["requested_at"])
        self._counted &= {lease["id"] for lease in after["leases"]}

    async def text(self) -> bytes:
        """All of it, in Prometheus's text format."""
        await self._read()
        try:
            timings = await self._live.hub.timings()
        except NoHub:
            timings = {}
        families = [
            InfoMetricFamily("gpubox_build", "The version of gpubox.", {"version": __version__}),
            *_histograms("gpubox_wait_seconds", "From the request to the grant.", "machine", self._waits),
            *_phases(timings),
            *_sums(self._sums),
            _budget(self._spent),
        ]
        # What a hub that does not answer was last seen to hold is no figure of now.
        if self._live.hub_answers:
            families += _of_state(self._live.state)
            families += _of_gpus(self._live.state, self._live.figures, self._clocks)
        registry = CollectorRegistry()
        registry.register(_Told(families))
        return generate_latest(registry)

    async def _read(self) -> None:
        async with self._reading:
            if time.monotonic() - self._read_at < _KEEP_SECONDS:
                return
            now = time.time()
            bill = await asyncio.to_thread(books.usage, self._ledger, books.Period(0.0, now), now, "machine")
            self._spent = await asyncio.to_thread(self._budgets.all, now)
            for row in bill.rows:
                told = {
                    "gpubox_gpu_hours": row.gpu_hours,
                    "gpubox_idle_gpu_hours": row.idle_gpu_hours,
                    "gpubox_cost": row.cost,
                }
                before = self._sums.get(row.name, {})
                # A clock that is set back takes nothing away from a counter.
                self._sums[row.name] = {name: max(one, before.get(name, 0.0)) for name, one in told.items()}
            self._read_at = time.monotonic()


class _Told(Collector):
    """Families that are made already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _histograms(name: str, words: str, label: str, found: Mapping[str, Histogram]) -> Iterator[Metric]:
    family = HistogramMetricFamily(name, words, labels=[label])
    for value, histogram in sorted(found.items()):
        sums = list(accumulate(histogram.counts))
        buckets = list(zip(_BOUND_WORDS, map(float, sums), strict=True))
        family.add_metric([value], buckets, histogram.sum)
    yield family


def _phases(timings: Mapping[str, Any]) -> Iterator[Metric]:
    found: dict[str, Histogram] = {}
    for phase, told in timings.items():
        found[phase] = histogram = Histogram()
        histogram.counts, histogram.sum = told["counts"], told["sum"]
    words = "Phases of starts: waiting, leased, creating, starting."
    yield from _histograms("gpubox_spawn_phase_seconds", words, "phase", found)


_HELP = {
    "gpubox_gpu_hours": "GPU-hours of all leases ever.",
    "gpubox_idle_gpu_hours": "How many of them the GPU was seen to do nothing.",
    "gpubox_cost": "What all leases ever cost, in the hub's currency.",
}


def _sums(sums: Mapping[str, Mapping[str, float]]) -> Iterator[Metric]:
    for name, words in _HELP.items():
        family = CounterMetricFamily(name, words, labels=["machine"])
        for machine, row in sorted(sums.items()):
            family.add_metric([machine], row[name])
        yield family


def _budget(found: Iterable[Spent]) -> Metric:
    family = GaugeMetricFamily(
        "gpubox_budget_used_ratio", "What is used of each budget in its term.", labels=["rule", "who"]
    )
    for spent in found:
        family.add_metric([str(spent.rule.number), spent.who], spent.share)
    return family


def _of_state(state: State) -> Iterator[Metric]:
    gpus = GaugeMetricFamily("gpubox_gpus", "GPUs and MIG slices.", labels=["model", "state"])
    for key, number in sorted(Counter((gpu["model"], gpu["state"]) for gpu in state["gpus"]).items()):
        gpus.add_metric(key, number)
    machines = GaugeMetricFamily("gpubox_machines", "Machines of each type.", labels=["machine", "kind"])
    held = GaugeMetricFamily("gpubox_leases_held", "Machines that are held.", labels=["machine"])
    waiting = GaugeMetricFamily("gpubox_tickets_waiting", "Places in line.", labels=["machine"])
    holds = Counter(lease["machine"] for lease in state["leases"] if lease["granted_at"] is not None)
    waits = Counter(lease["machine"] for lease in state["leases"] if lease["granted_at"] is None)
    for machine in state["machines"]:
        for kind in ("total", "free", "in_use", "waiting"):
            if machine[kind] is not None:  # CPU machines have no number of their own
                machines.add_metric([machine["name"], kind], machine[kind])
    for name in sorted({machine["name"] for machine in state["machines"]} | holds.keys() | waits.keys()):
        held.add_metric([name], holds[name])
        waiting.add_metric([name], waits[name])
    yield from (gpus, machines, held, waiting)


def _of_gpus(state: State, figures: Figures, clocks: IdleClocks) -> Iterator[Metric]:
    labels = ["gpu", "model"]
    leased = GaugeMetricFamily("gpubox_gpu_leased", "1 while somebody holds it.", labels=labels)
    lost = GaugeMetricFamily("gpubox_gpu_lost", "1 while it is lost.", labels=labels)
    used = GaugeMetricFamily("gpubox_gpu_utilisation_ratio", "Its utilisation, 0 to 1.", labels=labels)
    idle = GaugeMetricFamily(
        "gpubox_gpu_idle_seconds", "For how long it has done nothing though it is held.", labels=labels
    )
    now = time.monotonic()
    for gpu in state["gpus"]:
        key = [gpu["uuid"], gpu["model"]]
        leased.add_metric(key, float(bool(gpu["holders"])))
        lost.add_metric(key, float(gpu["state"] == "lost"))
        percent = figures.get(gpu["uuid"], {}).get("utilisation_percent")
        if percent is not None:
            used.add_metric(key, percent / 100)
        idle_seconds = clocks.idle_seconds(gpu["uuid"], now)
        if gpu["holders"] and idle_seconds is not None:
            idle.add_metric(key, idle_seconds)
    yield from (leased, lost, used, idle)


class MetricsHandler(APIHandler):
    """GET metrics"""

    async def get(self) -> None:
        if not self.viewer.may_scrape:
            raise Refusal(403, "Metrics take a token with the scope read:metrics.")
        told = await self.service.rounds.metrics.text()
        self.set_header("Content-Type", CONTENT_TYPE_LATEST)
        self.finish(told)


ROUTES: list[tuple[str, type[APIHandler]]] = [(r"metrics", MetricsHandler)]
