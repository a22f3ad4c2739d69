"""How fast the pool decides: a day of 10,000 users on 1,000 GPUs, on a database file as `make run` has it.

Everyone asks about once in the day for one of six machine types, works for minutes or hours, and
some leave the line before they are served. Prints the seconds that the day took, the mean and the
worst decision (a request, a release, a cancel, with all that it leads to), and what the waiting
page's question costs with the longest line. Exit status 1 where a limit is missed.
Run by `make bench`.
"""

from __future__ import annotations

import heapq
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gpubox.db import open_database
from gpubox.inventory import GPU
from gpubox.ledger import Lease
from gpubox.machines import MachineType, parse_machine_types
from gpubox.pool import GPUPool

USERS = 10_000
GPUS = 1_000
DAY_SECONDS = 86_400.0
LIMIT_SECONDS = 60.0
LIMIT_MEAN_MS = 1.0

MACHINES = parse_machine_types(
    [
        {"name": "h100", "title": "1x H100", "gpu": "H100", "time_limit": "12h"},
        {"name": "h100x2", "title": "2x H100", "gpu": "H100", "count": 2},
        {"name": "h100x8", "title": "8x H100", "gpu": "H100", "count": 8, "time_limit": "1d"},
        {"name": "quarter", "title": "1/4 of an H100", "gpu": "H100", "sharing": "shared: 4"},
        {"name": "a100", "title": "1x A100", "gpu": "A100"},
        {"name": "cpu", "title": "CPU"},
    ]
)
HOW_OFTEN = (40, 10, 2, 15, 28, 5)
MEAN_SECONDS = 3 * 3600.0


def the_gpus() -> list[GPU]:
    """Machines of eight, each wholly connected; a third of them A100s."""
    gpus = []
    for number in range(GPUS):
        first = number // 8 * 8
        links = {f"GPU-{other}": 100 for other in range(first, first + 8) if other != number}
        model = "NVIDIA A100-SXM4-80GB" if number < GPUS // 3 // 8 * 8 else "NVIDIA H100 80GB HBM3"
        gpus.append(GPU(f"GPU-{number}", model, 81559, number, links=links))
    return gpus


class Day:
    """Events in the order of a simulated clock, and how long each decision really took."""

    def __init__(self, database: Path) -> None:
        self.now = 1_000_000_000.0
        self.pool = GPUPool(open_database(f"sqlite:///{database}"), MACHINES, clock=lambda: self.now)
        self.pool.refresh(the_gpus())
        self.dice = random.Random(1)
        self.seconds: list[float] = []
        self.longest_line = 0
        self.worst_question = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    def at(self, moment: float, event: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (moment, self._number, event))

    def run(self) -> None:
        for user in range(USERS):
            kind = self.dice.choices(MACHINES, HOW_OFTEN)[0]
            arrival = self.now + self.dice.uniform(0, DAY_SECONDS)
            self.at(arrival, lambda user=user, kind=kind: self.arrive(f"user-{user}", kind))  # type: ignore[misc]
        while self._events:
            self.now, _, event = heapq.heappop(self._events)
            event()

    def decide(self, question: Callable[[], tuple[Lease, ...]]) -> None:
        begun = time.perf_counter()
        served = question()
        self.seconds.append(time.perf_counter() - begun)
        for lease in served:
            self.begin_work(lease)

    def arrive(self, user: str, kind: MachineType) -> None:
        asked: list[Lease] = []

        def ask() -> tuple[Lease, ...]:
            asked.append(self.pool.request(user, "", kind))
            return self.pool.served()

        self.decide(ask)
        (lease,) = asked
        if lease.is_held:
            self.begin_work(lease)
        elif self.dice.random() < 0.2:
            leaves = self.now + self.dice.uniform(60, 3600)
            self.at(leaves, lambda: self.decide(lambda: self.pool.cancel(lease.id, "left")))
        self.ask_for_place(lease)

    def ask_for_place(self, lease: Lease) -> None:
        waiting = len(self.pool.waiting())
        if waiting > self.longest_line:
            self.longest_line = waiting
            begun = time.perf_counter()
            self.pool.place(lease.id)
            self.worst_question = max(self.worst_question, time.perf_counter() - begun)

    def begin_work(self, lease: Lease) -> None:
        ends = self.now + self.dice.expovariate(1 / MEAN_SECONDS)
        self.at(ends, lambda: self.decide(lambda: self.pool.release(lease.id, "stopped")))


def main() -> int:
    """Run the day; 1 where a limit was missed."""
    with tempfile.TemporaryDirectory() as directory:
        day = Day(Path(directory) / "gpubox.sqlite")
        begun = time.perf_counter()
        day.run()
        total = time.perf_counter() - begun
        assert not day.pool.open_leases(), "somebody was never served"
    mean_ms = sum(day.seconds) / len(day.seconds) * 1000
    print(f"{USERS} users, {GPUS} GPUs, a day: {total:.1f} s (limit {LIMIT_SECONDS:.0f} s)")
    print(f"{len(day.seconds)} decisions: mean {mean_ms:.2f} ms (limit {LIMIT_MEAN_MS:.0f} ms),", end=" ")
    print(f"worst {max(day.seconds) * 1000:.0f} ms")
    print(f"a place in the longest line ({day.longest_line} waiting): {day.worst_question * 1000:.0f} ms")
    return int(total > LIMIT_SECONDS or mean_ms > LIMIT_MEAN_MS)


if __name__ == "__main__":
    sys.exit(main())
