"""How long a wait may take: from time limits and from how long machines ran before, or not at all."""

from __future__ import annotations

import heapq
import itertools
import math
import statistics
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass

# Fewer than this tell nothing; more than this are long past.
_FEWEST_PAST = 3
_MOST_PAST = 200
# What ended sooner was a mistake or a failed start, not work.
_SHORTEST_WORK_SECONDS = 60

BY_LIMIT = "time limits"
BY_PAST = "past machines"


class History:
    """How long machines of each type ran, the last ones."""

    def __init__(self) -> None:
        self._lengths: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_MOST_PAST))

    def ended(self, machine: str, seconds: float) -> None:
        """A machine of that type ran for ``seconds``."""
        if seconds >= _SHORTEST_WORK_SECONDS:
            self._lengths[machine].append(seconds)

    def remaining(self, machine: str, elapsed: float, limit: float | None) -> tuple[float, str]:
        """Seconds that a machine which has run for ``elapsed`` will go on, and what tells so.

        Infinite, and "", where nothing tells. A time limit alone tells the longest it can take.
        """
        most = max(0.0, limit - elapsed) if limit is not None else math.inf
        past = self._lengths.get(machine, ())
        longer = [length for length in past if length > elapsed]
        if len(past) >= _FEWEST_PAST and longer:
            usual = statistics.median(longer) - elapsed
            return (usual, BY_PAST) if usual <= most else (most, BY_LIMIT)
        return most, BY_LIMIT if limit is not None else ""


@dataclass(frozen=True)
class Holding:
    """GPUs (as a share: 0.25 for a quarter) that come free at a moment, and what tells so."""

    until: float
    share: float
    basis: str


@dataclass(frozen=True)
class Wish:
    """A ticket in line: the share it needs, and how long its machine will run."""

    share: float
    length: float


class Estimates:
    """When each of a line will be served, if things go as they usually do."""

    def __init__(
        self, now: float, idle: float, holdings: Iterable[Holding], line: Iterable[Wish]
    ) -> None:
        self._starts: list[tuple[float, str]] = []
        number = itertools.count()  # heaps must never compare holdings
        coming = [(one.until, next(number), one) for one in holdings]
        heapq.heapify(coming)
        moment, basis = now, BY_PAST
        for wish in line:
            while idle < wish.share - 1e-9 and coming and coming[0][0] < math.inf:
                until, _, freed = heapq.heappop(coming)
                moment, idle = max(moment, until), idle + freed.share
                basis = BY_LIMIT if freed.basis == BY_LIMIT else basis
            if idle < wish.share - 1e-9:
                return
            idle -= wish.share
            self._starts.append((moment, basis))
            after = Holding(moment + wish.length, wish.share, basis)
            heapq.heappush(coming, (after.until, next(number), after))

    def of(self, position: int, now: float) -> tuple[float | None, str]:
        """Seconds until the one at that place (1 is next) is served, and the basis; None if unknown."""
        if position > len(self._starts):
            return None, ""
        moment, basis = self._starts[position - 1]
        return max(0.0, moment - now), basis
