"""A look at all GPUs of all vendors: what is asked of whom, and what is made of what comes back.

One thread holds a `Survey`; the drivers' calls are made by ``watchdog``, what is known is kept by ``state``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from .records import Driver, Snapshot, Vendor
from .state import Place, answered, gpus_of, list_uses, unanswered, with_links, without_links
from .vendors import Card, DriverTrouble, GPULost, NoDriver, Reading, Tier, VendorModule
from .watchdog import Job, Lanes

_ALL = Tier.CORE | Tier.PROCESSES | Tier.HEALTH
_HUNG = "A call to the driver has not come back: if that lasts, look at `dmesg` on the machine."
_DRAIN_SECONDS = 1.0  # the longest that a healthy call takes, and more
_TITLES = {"nvidia": "NVIDIA", "amd": "AMD"}

# What a call is about: a card by its place in its vendor's list, the driver as a whole, its error events.
_Key = tuple[Vendor, int | Literal["driver", "errors"]]


@dataclass
class _Side:
    """One vendor's side of things."""

    module: VendorModule
    driver: Driver
    is_open: bool = False
    is_listening: bool = False
    tried_at: float = -math.inf
    cards: tuple[Card, ...] = ()


@dataclass(frozen=True)
class _Listed:
    """A driver has told who it is and what cards it has."""

    driver: Driver
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class _Read:
    """A card has answered, all that was asked."""

    tiers: Tier
    reading: Reading


class Survey:
    """Looks at GPUs on demand and lets go of their drivers. Every method returns in bounded time."""

    def __init__(
        self, vendors: Sequence[VendorModule], patience_seconds: float, retry_seconds: float
    ) -> None:
        self._sides = {module.vendor: _Side(module, Driver(module.vendor, "asleep")) for module in vendors}
        self._lanes: Lanes[_Key] = Lanes("gpubox-driver", patience_seconds)
        self._link_lanes: Lanes[_Key] = Lanes("gpubox-links", patience_seconds)
        self._patience_seconds = patience_seconds
        self._retry_seconds = retry_seconds
        self._places: dict[_Key, Place] = {}
        self._gone: dict[str, Place] = {}  # by card: those that the driver lists no more
        self._lost_tried_at: dict[_Key, float] = {}
        self._xids: dict[str, int] = {}

    def look(self, tiers: Tier, *, is_watched: bool, links: bool) -> Snapshot:
        """Reads these tiers of all GPUs, and link counters if asked for, as far as drivers answer in time."""
        self._call(self._list_jobs(tiers))
        self._note_hung_drivers()
        done = self._call(self._read_jobs(tiers) | self._listen_jobs(is_watched))
        self._grow_old(tiers, done)
        here = {place.card for place in self._places.values()}  # some at another place than before
        self._gone = {card: place for card, place in self._gone.items() if card not in here}
        self._look_at_links(links)
        return self.snapshot()

    def snapshot(self) -> Snapshot:
        """What is known now, without asking."""
        places = self._places.values()
        return Snapshot(
            time.time(),
            tuple(side.driver for side in self._sides.values()),
            gpus_of(places, self._gone.values(), self._xids, time.monotonic()),
            tuple(list_uses(places)),
        )

    def close(self) -> bool:
        """Lets go of all drivers so that GPUs may sleep; False where a call to one is still under way."""
        if self._lanes.pending or self._link_lanes.pending:
            return False
        self._call({(vendor, "driver"): side.module.close for vendor, side in self._sides.items()})
        for side in self._sides.values():
            self._closed(side, replace(side.driver, state="asleep", message=""))
            side.tried_at = -math.inf
        self._gone.clear()
        return True

    def interrupt(self) -> None:
        """Ends a look that is under way; no other one begins. From any thread."""
        self._lanes.stop()
        self._link_lanes.stop()

    def stop(self) -> None:
        """Ends the threads within 2 s, and closes the drivers unless a call to one hangs."""
        self.interrupt()
        if self._lanes.drain(_DRAIN_SECONDS) and self._link_lanes.drain(_DRAIN_SECONDS):
            for side in self._sides.values():
                side.module.close()

    # --- drivers ---------------------------------------------------------------------------------

    def _list_jobs(self, tiers: Tier) -> dict[_Key, Job]:
        jobs: dict[_Key, Job] = {}
        now = time.monotonic()
        for vendor, side in self._sides.items():
            is_free = not any(key[0] == vendor for key in self._lanes.pending | self._link_lanes.pending)
            must_open = not side.is_open and now - side.tried_at >= self._retry_seconds
            # Some GPUs come back only to who opens the driver anew. Never under a call that hangs.
            is_due = side.is_open and Tier.HEALTH in tiers
            if is_free and (must_open or (is_due and self._misses_gpus(vendor))):
                side.tried_at = now
                side.is_open = False  # until it says so: it may hang
                jobs[vendor, "driver"] = partial(_open, side.module)
            elif is_due:
                jobs[vendor, "driver"] = partial(_list, side.module, side.driver)
        return jobs

    def _misses_gpus(self, vendor: Vendor) -> bool:
        return any(gpu.vendor == vendor for place in self._gone.values() for gpu in place.gpus) or any(
            place.state == "lost" for key, place in self._places.items() if key[0] == vendor
        )

    def _note_hung_drivers(self) -> None:
        for vendor, side in self._sides.items():
            if (vendor, "driver") in self._lanes.hung:
                message = f"The {_TITLES[vendor]} driver does not answer. {_HUNG}"
                side.driver = replace(side.driver, state="trouble", message=message)

    def _listed(self, side: _Side, listed: _Listed) -> None:
        vendor = side.module.vendor
        if not side.is_open or listed.cards[:1] != side.cards[:1]:  # opened, perhaps anew
            self._lost_tried_at.clear()
        side.is_open = True
        side.driver = replace(listed.driver, state="ok" if listed.cards else "none", message="")
        side.cards = listed.cards
        listed_keys: set[_Key] = {(vendor, number) for number in range(len(listed.cards))}
        for key in [key for key in self._places if key[0] == vendor and key not in listed_keys]:
            unlisted = self._places.pop(key)
            if unlisted.card:
                self._gone[unlisted.card] = unlisted
        for number, card in enumerate(listed.cards):
            self._places.setdefault((vendor, number), Place(gpus=card.gpus))

    def _closed(self, side: _Side, driver: Driver) -> None:
        side.is_open = side.is_listening = False
        side.driver = driver

    def _listen_jobs(self, is_watched: bool) -> dict[_Key, Job]:
        jobs: dict[_Key, Job] = {}
        for vendor, side in self._sides.items():
            if side.is_open and is_watched:
                jobs[vendor, "errors"] = side.module.errors
            elif side.is_open and side.is_listening:
                jobs[vendor, "errors"] = side.module.stop_listening
            side.is_listening = side.is_open and is_watched
        return jobs

    # --- cards -----------------------------------------------------------------------------------

    def _read_jobs(self, tiers: Tier) -> dict[_Key, Job]:
        jobs: dict[_Key, Job] = {}
        now = time.monotonic()
        hung = self._link_lanes.hung
        for vendor, side in self._sides.items():
            for number, card in enumerate(side.cards if side.is_open else ()):
                key: _Key = (vendor, number)
                place = self._places[key]
                if key in hung or now - self._lost_tried_at.get(key, -math.inf) < self._retry_seconds:
                    continue
                wanted = tiers if place.card and place.state == "ok" else _ALL
                jobs[key] = partial(_read, card, wanted)
        return jobs

    def _grow_old(self, tiers: Tier, done: Mapping[_Key, object]) -> None:
        """What was to be read and was not is old now, and whose call hangs is stale."""
        now = time.monotonic()
        hung = self._lanes.hung | self._link_lanes.hung
        pending = self._lanes.pending
        for key, place in self._places.items():
            if key in hung:
                self._places[key] = unanswered(place, tiers, now, "stale", _HUNG)
            elif key not in done and key not in pending:
                self._places[key] = unanswered(place, tiers, now)

    def _look_at_links(self, wanted: bool) -> None:
        if not wanted:
            self._link_lanes.results()
            self._places = {key: without_links(place) for key, place in self._places.items()}
            return
        now = time.monotonic()
        for key, outcome in self._link_lanes.results().items():
            place = self._places.get(key)
            if place and isinstance(outcome, _Read):
                self._places[key] = with_links(place, outcome.reading, now)
        for key in self._link_lanes.hung & self._places.keys():
            self._places[key] = unanswered(self._places[key], Tier.LINKS, now)
        self._link_lanes.submit(
            {
                (vendor, number): partial(_read, card, Tier.LINKS)
                for vendor, side in self._sides.items()
                for number, card in enumerate(side.cards if side.is_open else ())
                if self._places[vendor, number].card and self._places[vendor, number].state == "ok"
            }
        )

    # --- calls and what comes back ---------------------------------------------------------------

    def _call(self, jobs: Mapping[_Key, Job]) -> dict[_Key, object]:
        self._lanes.submit(jobs)
        # Two may be found to hang in one look; what waits behind them is read in the next one.
        done = self._lanes.results(2 * self._patience_seconds if jobs else 0)
        for key, outcome in done.items():
            self._take(key, outcome)
        return done

    def _take(self, key: _Key, outcome: object) -> None:
        side = self._sides[key[0]]
        if isinstance(outcome, _Listed):
            self._listed(side, outcome)
        elif isinstance(outcome, DriverTrouble):
            self._closed(side, replace(side.driver, state="trouble", message=str(outcome)))
        elif isinstance(outcome, NoDriver):
            self._listed(side, _Listed(Driver(key[0], "none"), ()))
            self._closed(side, side.driver)
        elif key[1] == "errors":
            if isinstance(outcome, Mapping):
                self._xids |= outcome
        elif key in self._places:
            self._take_reading(key, outcome)
        elif isinstance(outcome, Exception):
            message = f"The {_TITLES[key[0]]} driver fails: {outcome!r}."
            self._closed(side, replace(side.driver, state="trouble", message=message))

    def _take_reading(self, key: _Key, outcome: object) -> None:
        now = time.monotonic()
        place = self._places[key]
        self._lost_tried_at.pop(key, None)
        if isinstance(outcome, _Read):
            if place.card and place.card != outcome.reading.card:
                self._gone[place.card] = place
            self._places[key] = answered(place, outcome.reading, outcome.tiers, now)
        elif isinstance(outcome, GPULost):
            self._lost_tried_at[key] = now
            if not place.card:  # it may at least have told who it is
                place = replace(place, gpus=self._sides[key[0]].cards[int(key[1])].gpus)
            self._places[key] = unanswered(place, _ALL, now, "lost", str(outcome))
        elif isinstance(outcome, Exception):
            self._places[key] = unanswered(place, _ALL, now, "stale", f"It cannot be read: {outcome!r}.")


def _open(module: VendorModule) -> _Listed:
    driver = module.open()
    return _list(module, driver)


def _list(module: VendorModule, driver: Driver) -> _Listed:
    return _Listed(driver, tuple(module.cards()))


def _read(card: Card, tiers: Tier) -> _Read:
    return _Read(tiers, card.read(tiers))
