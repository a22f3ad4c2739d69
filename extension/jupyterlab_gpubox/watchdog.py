"""Calls that may hang: one thread makes them all, and a call that hangs keeps its thread to itself.

A driver in trouble can hold a call for 45 seconds, and nothing ends it. So whoever needs the driver's
answers never calls it: `Lanes` does, and says what has not come back.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Job = Callable[[], object]
Key = TypeVar("Key", bound=Hashable)


@dataclass(eq=False)
class _Lane(Generic[Key]):
    """One thread's work: what it does now, since when, and what comes next."""

    queue: deque[tuple[Key, Job]] = field(default_factory=deque)
    now: Key | None = None
    since: float = 0.0
    thread: threading.Thread | None = None

    @property
    def is_busy(self) -> bool:
        return self.now is not None or bool(self.queue)


class Lanes(Generic[Key]):
    """Makes calls by key, one after another on a shared thread.

    A call that takes longer than ``patience_seconds`` is left behind with its thread, and a new thread
    makes the others. From then on that key has a lane of its own, for which nobody waits, until one of
    its calls is quick again: never more than one thread for a key that hangs.
    """

    def __init__(self, name: str, patience_seconds: float) -> None:
        self._name = name
        self._patience = patience_seconds
        self._changed = threading.Condition()
        self._shared: _Lane[Key] = _Lane()
        self._own: dict[Key, _Lane[Key]] = {}
        self._done: dict[Key, object] = {}
        self._is_stopped = False

    def submit(self, jobs: Mapping[Key, Job]) -> None:
        """Has these calls made, after those that wait. A key whose last call is not over is left out."""
        with self._changed:
            if self._is_stopped:
                return
            pending = self._waiting() | self._under_way()
            for key, job in jobs.items():
                if key not in pending:
                    self._add(self._own.get(key, self._shared), key, job)
            self._changed.notify_all()

    def results(self, wait_seconds: float = 0.0) -> dict[Key, object]:
        """What has come back since last asked, by key: what the call returned, or the exception it raised.

        Waits at most so long for the calls on the shared thread, and never for one that hangs.
        """
        with self._changed:
            deadline = time.monotonic() + wait_seconds
            while self._shared.is_busy and not self._is_stopped:
                now = time.monotonic()
                lane = self._shared
                overdue = self._patience + (now if lane.now is None else lane.since)
                if lane.now is not None and now >= overdue:
                    self._leave_behind(lane, lane.now)
                elif now >= deadline:
                    break
                else:
                    self._changed.wait(min(overdue, deadline) - now)
            done, self._done = self._done, {}
            return done

    @property
    def hung(self) -> frozenset[Key]:
        """The keys whose call takes too long now."""
        with self._changed:
            late = time.monotonic() - self._patience
            own = self._own.items()
            return frozenset(key for key, lane in own if lane.now is not None and lane.since <= late)

    @property
    def pending(self) -> frozenset[Key]:
        """The keys whose call waits, is under way, or has a result that nobody has taken yet."""
        with self._changed:
            return self._waiting() | self._under_way() | self._done.keys()

    def stop(self) -> None:
        """Makes no further call; whoever waits for results goes on. A call under way ends in its time."""
        with self._changed:
            self._is_stopped = True
            for lane in self._lanes():
                lane.queue.clear()
            self._changed.notify_all()

    def drain(self, wait_seconds: float) -> bool:
        """After `stop`: waits for the shared thread. Whether no call at all is under way."""
        thread = self._shared.thread
        if thread:
            thread.join(wait_seconds)
        with self._changed:
            return not self._under_way()

    # --- lanes -----------------------------------------------------------------------------------

    def _lanes(self) -> tuple[_Lane[Key], ...]:
        return (self._shared, *self._own.values())

    def _waiting(self) -> frozenset[Key]:
        return frozenset(key for lane in self._lanes() for key, _ in lane.queue)

    def _under_way(self) -> frozenset[Key]:
        return frozenset(lane.now for lane in self._lanes() if lane.now is not None)

    def _add(self, lane: _Lane[Key], key: Key, job: Job) -> None:
        lane.queue.append((key, job))
        if lane.thread is None:
            lane.thread = threading.Thread(target=self._work, args=[lane], name=self._name, daemon=True)
            lane.thread.start()

    def _leave_behind(self, lane: _Lane[Key], key: Key) -> None:
        self._shared = _Lane()
        for waiting, job in lane.queue:
            self._add(self._shared, waiting, job)
        lane.queue.clear()
        self._own[key] = lane

    def _work(self, lane: _Lane[Key]) -> None:
        while True:
            with self._changed:
                while not lane.queue and not self._is_stopped:
                    self._changed.wait()
                if self._is_stopped:
                    return
                key, job = lane.queue.popleft()
                lane.now, lane.since = key, time.monotonic()
            outcome = _outcome(job)
            with self._changed:
                was_quick = time.monotonic() - lane.since <= self._patience
                lane.now = None
                self._done[key] = outcome
                if not lane.queue:
                    self._changed.notify_all()
                if lane is not self._shared and was_quick:
                    del self._own[key]
                    return


def _outcome(job: Job) -> object:
    try:
        return job()
    except Exception as error:
        return error
