"""Who has failed to log in too often, and how many may be at the door at once. Plain arithmetic, no
network."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

_MOST_REMEMBERED = 10_000


class Failures:
    """Failures by address or by name, each for as long as it counts."""

    def __init__(self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._failed: dict[str, deque[float]] = {}

    def add(self, who: str) -> None:
        """One more."""
        failed = self._failed.pop(who, None) or deque(maxlen=self._most)
        failed.append(self._clock())
        self._failed[who] = failed
        if len(self._failed) > _MOST_REMEMBERED:
            del self._failed[next(iter(self._failed))]  # whose last failure is the longest ago

    def are_too_many(self, who: str) -> bool:
        """Whether there were as many as there may be."""
        failed = self._failed.get(who)
        if failed is None:
            return False
        while failed and failed[0] <= self._clock() - self._seconds:
            failed.popleft()
        if not failed:
            del self._failed[who]
        return len(failed) >= self._most


class Door:
    """Connections of which nobody knows yet who they are."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._most_of_one = max(1, most // 5)
        self._waiting: dict[str, int] = {}

    def enter(self, address: str) -> bool:
        """Whether one more from there may wait; if so it does, until `leave`."""
        here = self._waiting.get(address, 0)
        if here >= self._most_of_one or sum(self._waiting.values()) >= self._most:
            return False
        self._waiting[address] = here + 1
        return True

    def leave(self, address: str) -> None:
        """One that waited is known now, or has gone."""
        self._waiting[address] -= 1
        if not self._waiting[address]:
            del self._waiting[address]
