"""What GPUs do, put down: pure bookkeeping over readings, with no driver, database or clock of its own.

Lengths are by the monotonic clock, quarters of an hour by the wall clock: one that is set back or forward
moves what is measured, and makes no more of it and no less.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..db import USE_SECONDS
from .store import Use

Verdict = Literal["busy", "idle", "unknown"]


@dataclass(frozen=True)
class Moment:
    """A point in time by both clocks."""

    wall: float
    monotonic: float


@dataclass(frozen=True)
class Doing:
    """What a GPU was seen to do. ``utilisation`` is from 0 to 1, None where it is not told."""

    gpu: str
    leases: tuple[int, ...]
    utilisation: float | None
    # What each lease's own box reports of its GPU work.
    reports: Mapping[int, Verdict]


def report(gpu_at: float | None, reported_at: float | None, now: float, fresh_seconds: float) -> Verdict:
    """What a box's report says of its GPUs now."""
    if gpu_at is not None and now - gpu_at <= fresh_seconds:
        return "busy"
    if reported_at is not None and now - reported_at <= fresh_seconds:
        return "idle"
    return "unknown"


def works_for(doing: Doing, lease: int, busy_from: float) -> Verdict:
    """Whether the GPU works for that lease.

    An idle card works for nobody. A busy one works for who holds it alone; of several only their boxes know.
    """
    if doing.utilisation is None:
        return doing.reports.get(lease, "unknown")
    if doing.utilisation < busy_from:
        return "idle"
    return "busy" if doing.leases == (lease,) else doing.reports.get(lease, "unknown")


def is_seen_at_work(doing: Doing, lease: int, busy_from: float) -> bool:
    """Whether the reading itself, with no box's word, shows that the GPU works for that lease."""
    return doing.utilisation is not None and doing.utilisation >= busy_from and doing.leases == (lease,)


def of_all(verdicts: Sequence[Verdict]) -> Verdict:
    """What several GPUs do together: one that works is enough, and for idle each must be known to be."""
    if "busy" in verdicts:
        return "busy"
    return "idle" if verdicts and set(verdicts) == {"idle"} else "unknown"


class Meter:
    """Sums of use until they are written. A gap longer than ``longest_gap`` is time that nobody measured."""

    def __init__(self, longest_gap: float, busy_from: float) -> None:
        self._longest_gap = longest_gap
        self._busy_from = busy_from
        self._last: dict[str, float] = {}
        self._sums: dict[tuple[int, str, int], list[float]] = {}

    def take(self, doings: Sequence[Doing], now: Moment) -> None:
        """Count the time since the last reading of each GPU as what it does now."""
        for doing in doings:
            seconds = now.monotonic - self._last.get(doing.gpu, -math.inf)
            self._last[doing.gpu] = now.monotonic
            if not 0 < seconds <= self._longest_gap:
                continue
            for lease in doing.leases or (0,):
                share = self._share(doing, lease)
                if share is not None:
                    self._add(doing, lease, share, now.wall - seconds, now.wall)

    def _share(self, doing: Doing, lease: int) -> tuple[bool, float] | None:
        """Whether it is idle, and how much it is used; None where nobody can tell."""
        if doing.utilisation is not None:
            return doing.utilisation < self._busy_from, doing.utilisation
        # A MIG slice: its box says whether it works, nobody says how much.
        said = doing.reports.get(lease, "unknown")
        return None if said == "unknown" else (said == "idle", 0.0 if said == "idle" else 1.0)

    def _add(self, doing: Doing, lease: int, share: tuple[bool, float], begin: float, end: float) -> None:
        is_idle, utilisation = share
        for quarter, seconds in quarters(begin, end):
            sums = self._sums.setdefault((quarter, doing.gpu, lease), [0.0, 0.0, 0.0])
            sums[0] += seconds
            sums[1] += seconds if is_idle else 0.0
            sums[2] += seconds * utilisation

    def unwritten(self) -> list[Use]:
        """What has been summed up since `written`."""
        return [Use(*key, *sums) for key, sums in self._sums.items()]

    def written(self, uses: Sequence[Use]) -> None:
        """These are in the database: what has been added meanwhile stays."""
        for use in uses:
            key = (use.begin, use.gpu_uuid, use.lease_id)
            left = [
                sums - done
                for sums, done in zip(
                    self._sums[key],
                    (use.measured_seconds, use.idle_seconds, use.utilised_seconds),
                    strict=True,
                )
            ]
            if left[0] > 0:
                self._sums[key] = left
            else:
                del self._sums[key]


def quarters(begin: float, end: float) -> Iterator[tuple[int, float]]:
    """The quarters of an hour of a span of time, each with its seconds."""
    while begin < end:
        quarter = math.floor(begin / USE_SECONDS) * USE_SECONDS
        until = min(end, quarter + USE_SECONDS)
        yield quarter, until - begin
        begin = until


class IdleClocks:
    """For how long something has been seen idle without a break: GPUs, and leases by number.

    What nobody could see for longer than ``longest_gap`` begins anew.
    """

    def __init__(self, longest_gap: float) -> None:
        self._longest_gap = longest_gap
        self._since: dict[Hashable, float] = {}
        self._seen: dict[Hashable, float] = {}

    def take(self, key: Hashable, verdict: Verdict, now: float) -> None:
        """It was seen ``busy`` or ``idle`` at that moment of the monotonic clock, or could not be seen."""
        if now - self._seen.get(key, -math.inf) > self._longest_gap:
            self._since.pop(key, None)
        if verdict == "unknown":
            return
        self._seen[key] = now
        if verdict == "busy":
            self._since[key] = now
        else:
            self._since.setdefault(key, now)

    def idle_seconds(self, key: Hashable, now: float) -> float | None:
        """For how long it has been idle; None where that is not known."""
        if now - self._seen.get(key, -math.inf) > self._longest_gap or key not in self._since:
            return None
        return now - self._since[key]

    def believe(self, key: Hashable, seconds: float, now: float) -> None:
        """It was known to be idle for so long when another process watched it."""
        self._since[key], self._seen[key] = now - seconds, now

    def keep(self, keys: set[Hashable]) -> None:
        """Forget all others."""
        for known in (self._since, self._seen):
            for key in known.keys() - keys:
                del known[key]
