"""The sampler: one thread that reads the GPUs, however many watch, and none when nobody has asked for long.

What is read when is ``schedule``'s, how a look is made is ``survey``'s, and what is known of the past is
``history``'s.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

from .history import History
from .records import Driver, Snapshot
from .schedule import Intervals, Schedule
from .state import Change, changes, columns_now, news
from .survey import Survey
from .vendors import VendorModule, all_vendors

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Change", "Intervals", "Sampler", "Watch"]

log = logging.getLogger(__name__)
Callback = Callable[[Snapshot, Change], None]


class Watch:
    """While one is open, the GPUs are read at the core interval; with ``links``, their link counters, too."""

    def __init__(self, sampler: Sampler, *, links: bool) -> None:
        self._sampler = sampler
        self._links = links

    @property
    def links(self) -> bool:
        """Whether link counters are asked for: may be changed at any time."""
        return self._links

    @links.setter
    def links(self, wanted: bool) -> None:
        self._links = wanted

    def close(self) -> None:
        """Ends it; may be called again."""
        self._sampler._forget(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Sampler:
    """Reads the GPUs from the first question on. Every method may be called from any thread.

    While nobody watches it reads at a slow tick, and later closes the drivers: `watch` and `ask` wake it.
    """

    def __init__(
        self, intervals: Intervals | None = None, vendors: Sequence[VendorModule] | None = None
    ) -> None:
        self.intervals = intervals or Intervals()
        self.history = History(self.intervals.core_seconds)
        modules = all_vendors() if vendors is None else vendors
        self._survey = Survey(modules, self.intervals.patience_seconds, self.intervals.retry_seconds)
        self._schedule = Schedule(self.intervals)
        self._changed = threading.Condition()
        self._watches: set[Watch] = set()
        self._callbacks: list[Callback] = []
        self._thread: threading.Thread | None = None
        self._is_stopped = False
        self._asked_at = self._read_at = self._watched_at = -math.inf
        self._is_asleep = True
        self._was_watched = False
        self._told: dict[str, str] = {}
        self._snapshot = Snapshot(time.time(), tuple(Driver(module.vendor, "asleep") for module in modules))

    def watch(self, links: bool = False) -> Watch:
        """Somebody watches, until they close what they get."""
        watch = Watch(self, links=links)
        with self._changed:
            self._watches.add(watch)
            self._wake()
        return watch

    def ask(self, timeout_seconds: float = 5.0) -> Snapshot:
        """The figures of now: waits for a tick where the last one is not of this moment, as when asleep.

        For a question without a watch; whoever asks counts as a watcher for ``idle_seconds``. Blocks no
        longer than the timeout, and then gives what there is: call it in a thread.
        """
        with self._changed:
            self._asked_at = time.monotonic()
            recent = self._asked_at - 2 * self.intervals.core_seconds
            self._wake()
            self._changed.wait_for(lambda: self._read_at > recent or self._is_stopped, timeout_seconds)
            return self._snapshot

    def snapshot(self) -> Snapshot:
        """The newest figures. Does not wait and wakes nobody: see `ask`."""
        return self._snapshot

    def subscribe(self, callback: Callback) -> Callable[[], None]:
        """Has this called after each tick, in the sampler's thread; what it returns ends that."""
        with self._changed:
            self._callbacks.append(callback)

        def unsubscribe() -> None:
            with self._changed, suppress(ValueError):
                self._callbacks.remove(callback)

        return unsubscribe

    def stop(self) -> None:
        """Ends sampling for good: threads end and drivers are closed, but for a call that hangs."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        self._survey.interrupt()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join(3.0)  # more than `Survey.stop` takes, but the driver's own close may hang

    # --- who watches -----------------------------------------------------------------------------

    def _forget(self, watch: Watch) -> None:
        with self._changed:
            self._watches.discard(watch)

    def _wake(self) -> None:
        if self._thread is None and not self._is_stopped:
            self._thread = threading.Thread(target=self._run, name="gpubox-sampler", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _is_watched(self, now: float) -> bool:
        return bool(self._watches) or now - self._asked_at < self.intervals.idle_seconds

    # --- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        while self._wait_for_tick():
            try:
                self._tick()
            except Exception:
                log.exception("The GPUs could not be read: it is tried again at the next tick.")
        self._survey.stop()

    def _wait_for_tick(self) -> bool:
        """Waits until one is due. False: there is none any more."""
        with self._changed:
            while not self._is_stopped:
                now = time.monotonic()
                self._note_watchers(now)
                wait_seconds = None if self._is_asleep else self._schedule.wait_seconds(now)
                if wait_seconds == 0:
                    return True
                self._changed.wait(wait_seconds)
            return False

    def _note_watchers(self, now: float) -> None:
        is_watched = self._is_watched(now)
        if is_watched and self._is_asleep:
            self._schedule.restart()
            self._is_asleep = False
        elif is_watched and not self._was_watched:
            self._schedule.hurry(now)
        self._was_watched = is_watched
        if is_watched:
            self._watched_at = now

    def _tick(self) -> None:
        now = time.monotonic()
        with self._changed:
            is_watched = self._was_watched
            links = any(watch.links for watch in self._watches)
        is_forgotten = now - self._watched_at >= self.intervals.close_after_seconds
        tiers = self._schedule.take(now, is_watched=is_watched)
        if not is_watched and is_forgotten and self._survey.close():
            with self._changed:
                self._is_asleep = True
            self._publish(self._survey.snapshot(), -math.inf)
            return
        snapshot = self._survey.look(tiers, is_watched=is_watched, links=links)
        rows = ((gpu.id, columns_now(gpu)) for gpu in snapshot.gpus)
        self.history.add(snapshot.time, {gpu: row for gpu, row in rows if row.count(None) < len(row)})
        self._publish(snapshot, now)

    def _publish(self, snapshot: Snapshot, read_at: float) -> None:
        change = changes(self._snapshot, snapshot)
        lines, self._told = news(self._told, snapshot)
        for line in lines:
            log.log(line.level, line.text)
        with self._changed:
            self._snapshot, self._read_at = snapshot, read_at
            callbacks = tuple(self._callbacks)
            self._changed.notify_all()
        for callback in callbacks:
            try:
                callback(snapshot, change if read_at > -math.inf else change & ~Change.TICK)
            except Exception:
                log.exception("What was to be told of the GPUs could not be.")
