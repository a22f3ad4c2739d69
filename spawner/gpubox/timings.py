"""How long the phases of starts took: counts for a Prometheus histogram, in the hub's process."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 14400.0, 86400.0)


class Histogram:
    """Counts of seconds by upper bound; the last count is of all that is longer."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds


class Timings:
    """A histogram a phase."""

    def __init__(self) -> None:
        self._phases: dict[str, Histogram] = {}

    def add(self, phase: str, seconds: float) -> None:
        """A phase of some start has ended."""
        self._phases.setdefault(phase, Histogram()).add(seconds)

    def as_dict(self) -> dict[str, Any]:
        """As JSON: by phase, the ``counts`` and the ``sum`` of seconds."""
        return {phase: {"counts": one.counts, "sum": one.sum} for phase, one in self._phases.items()}
