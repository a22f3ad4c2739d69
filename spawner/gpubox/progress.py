"""The story of one start, as the waiting page tells it: every watcher reads it from the beginning."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from .outlook import Place

Event = dict[str, Any]


class StartStory:
    """Events of one start in order, for any number of pages at once.

    An event is JupyterHub's progress event (``progress`` in percent, ``message`` as plain text)
    with ``phase`` and, while waiting, ``place``, ``waiting`` and ``estimate_seconds`` beside it.
    ``timed`` is told of each phase that has ended, and its seconds.
    """

    def __init__(self, timed: Callable[[str, float], None] = lambda phase, seconds: None) -> None:
        self._timed = timed
        self._phase_since = time.monotonic()
        self._events: list[Event] = []
        self._news = asyncio.Event()

    def tell(self, phase: str, progress: int, message: str, **details: Any) -> None:
        """Add an event, unless it says just what the last one said."""
        event: Event = {"phase": phase, "progress": progress, "message": message, **details}
        if self._events and self._events[-1] == event:
            return
        if self._events and self._events[-1]["phase"] != phase:
            self._timed(self._events[-1]["phase"], time.monotonic() - self._phase_since)
        if not self._events or self._events[-1]["phase"] != phase:
            self._phase_since = time.monotonic()
        # A new place in line replaces the old one: a page opened later need not read them all.
        if self._events and phase == "waiting" and self._events[-1]["phase"] == "waiting":
            self._events.pop()
        self._events.append(event)
        self._news.set()
        self._news = asyncio.Event()

    @property
    def latest(self) -> Event | None:
        """The last event; None before the first."""
        return dict(self._events[-1]) if self._events else None

    async def events(self) -> AsyncIterator[Event]:
        """Every event so far, then each new one; without end (JupyterHub stops listening)."""
        seen: Event | None = None
        while True:
            news = self._news
            start = self._events.index(seen) + 1 if seen in self._events else 0
            if seen is not None and seen not in self._events:
                start = len(self._events) - 1
            for event in self._events[start:]:
                seen = event
                yield dict(event)
            await news.wait()


def ordinal(number: int) -> str:
    """``1st``, ``2nd``, ``3rd``, ``11th``."""
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


def about(seconds: float) -> str:
    """A wait in words that promise no more than is known: ``about 14 minutes``."""
    if seconds < 90:
        return "about a minute"
    if seconds < 90 * 60:
        return f"about {round(seconds / 60)} minutes"
    if seconds < 36 * 3600:
        return f"about {round(seconds / 3600)} hours"
    return f"about {round(seconds / 86400)} days"


def waiting_message(place: Place) -> str:
    """The sentence for someone in line: place, and an estimate where one can be made."""
    if place.blocked:
        return f"{ordinal(place.position)} in line. {place.blocked}"
    if place.estimate_seconds is None:
        return f"{ordinal(place.position)} in line; nobody has set an end, so no time can be told"
    if place.basis == "time limits":
        return f"{ordinal(place.position)} in line, at most {about(place.estimate_seconds)[6:]}"
    return f"{ordinal(place.position)} in line, {about(place.estimate_seconds)}"
