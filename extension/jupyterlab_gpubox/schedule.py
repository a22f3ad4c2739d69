"""When what is read: the intervals and what is due. Times are of the monotonic clock, which knows no jumps
and stands still while the machine is suspended."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from .vendors import Tier


@dataclass(frozen=True)
class Intervals:
    """How often GPUs are read. Raises ValueError with a sentence for seconds that cannot be.

    Core figures, processes and health while somebody watches; all of it every ``idle_seconds`` at most
    while nobody does, and not at all ``close_after_seconds`` later, since an open driver keeps a
    laptop's GPU awake (`math.inf`: never). A missing or troubled driver and lost GPUs are tried again
    every ``retry_seconds``. A call may take ``patience_seconds``.
    """

    core_seconds: float = 1
    process_seconds: float = 5
    health_seconds: float = 30
    idle_seconds: float = 10
    close_after_seconds: float = 300
    retry_seconds: float = 10
    patience_seconds: float = 2

    def __post_init__(self) -> None:
        for name in (one.name for one in fields(self)):
            seconds = getattr(self, name)
            endless = name == "close_after_seconds" and seconds == math.inf
            if not (endless or (seconds > 0 and math.isfinite(seconds))):
                raise ValueError(f"{name} is {seconds}: an interval is a number of seconds above 0.")
        if self.idle_seconds < self.core_seconds:
            raise ValueError(
                f"idle_seconds is {self.idle_seconds}, less than core_seconds ({self.core_seconds}): nobody"
                " watches then, so it cannot be read more often."
            )


class Schedule:
    """What is due: each `take` is a tick."""

    def __init__(self, intervals: Intervals) -> None:
        self._intervals = intervals
        self.restart()

    def restart(self) -> None:
        """Everything is due."""
        self._next_tick = -math.inf
        self._next = {Tier.PROCESSES: -math.inf, Tier.HEALTH: -math.inf}

    def hurry(self, now: float) -> None:
        """Somebody watches again: what was to wait for the slow tick is due when the fast one says."""
        latest = {
            Tier.PROCESSES: now + self._intervals.process_seconds,
            Tier.HEALTH: now + self._intervals.health_seconds,
        }
        self._next_tick = min(self._next_tick, now)
        self._next = {tier: min(at, latest[tier]) for tier, at in self._next.items()}

    def wait_seconds(self, now: float) -> float:
        """How long until the next tick."""
        return max(0.0, self._next_tick - now)

    def take(self, now: float, *, is_watched: bool) -> Tier:
        """The tiers of the tick that is due now; the next ones are later by their intervals."""
        core = self._intervals.core_seconds if is_watched else self._intervals.idle_seconds
        # In step with the last one, unless that is so long ago that ticks were missed.
        self._next_tick = now + core if now - self._next_tick > core else self._next_tick + core
        due = Tier.CORE
        for tier, seconds in (
            (Tier.PROCESSES, self._intervals.process_seconds),
            (Tier.HEALTH, self._intervals.health_seconds),
        ):
            if now >= self._next[tier] - self._intervals.core_seconds / 2:
                due |= tier
                self._next[tier] = now + seconds
        return due
