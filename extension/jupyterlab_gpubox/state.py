"""What is known of the GPUs between two readings, and how a reading changes it: pure functions.

A `Place` is what is known of one place in a driver's list. `gpus_of` makes the records of a snapshot from
all places, `changes` and `news` say what is new in it. Times are of the monotonic clock.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Flag, auto
from typing import NamedTuple

from .records import COLUMNS, GPU, HEALTH, LINKS, Driver, GPUState, Snapshot, Use, Value
from .vendors import FIGURES, UNLISTED, Reading, Tier

_TIER_OF = {name: tier for tier, names in FIGURES.items() for name in names}
_TITLES = {"nvidia": "NVIDIA", "amd": "AMD"}


class Change(Flag):
    """What is new in a snapshot. GPUS: a GPU, its state, a driver or a figure of `records.HEALTH`."""

    TICK = auto()
    GPUS = auto()
    PROCESSES = auto()
    LINKS = auto()


class Seen(NamedTuple):
    """A figure's last value and when it was read."""

    value: Value
    at: float


@dataclass(frozen=True)
class Place:
    """What is known of a place in a driver's list: the card there, or its slices.

    ``card`` is its own id, empty before it first answered. ``tried`` is when each tier was last to be
    read, whether or not that went well.
    """

    card: str = ""
    gpus: tuple[GPU, ...] = ()
    seen: Mapping[str, Mapping[str, Seen]] = field(default_factory=dict)
    tried: Mapping[Tier, float] = field(default_factory=dict)
    uses: tuple[Use, ...] = ()
    state: GPUState = "ok"
    message: str = ""


def answered(place: Place, reading: Reading, tiers: Tier, now: float) -> Place:
    """The place after its card has answered. Figures of GPUs that are no longer here are forgotten."""
    seen = {
        gpu.id: {
            **place.seen.get(gpu.id, {}),
            **{name: Seen(value, now) for name, value in reading.figures.get(gpu.id, {}).items()},
        }
        for gpu in reading.gpus
    }
    uses = place.uses if reading.uses is None else reading.uses
    here = {gpu.id for gpu in reading.gpus}
    return Place(
        reading.card,
        reading.gpus,
        seen,
        _tried(place, tiers, now),
        tuple(use for use in uses if use.gpu in here),
    )


def unanswered(
    place: Place, tiers: Tier, now: float, state: GPUState | None = None, message: str = ""
) -> Place:
    """The place after its card was not read: what is known grows old. With a state, that is its state now."""
    known = replace(place, tried=_tried(place, tiers, now))
    return replace(known, state=state, message=message) if state else known


def with_links(place: Place, reading: Reading, now: float) -> Place:
    """The place after its link counters were read, on their own: who is here is told by the other tiers."""
    seen = {
        gpu: {
            **figures,
            **{name: Seen(value, now) for name, value in reading.figures.get(gpu, {}).items()},
        }
        for gpu, figures in place.seen.items()
    }
    return replace(place, seen=seen, tried=_tried(place, Tier.LINKS, now))


def without_links(place: Place) -> Place:
    """The place after nobody asks for link counters any more."""
    seen = {
        gpu: {name: value for name, value in figures.items() if name not in LINKS}
        for gpu, figures in place.seen.items()
    }
    return replace(place, seen=seen)


def _tried(place: Place, tiers: Tier, now: float) -> dict[Tier, float]:
    return {**place.tried, **{tier: now for tier in FIGURES if tier in tiers}}


# --- a snapshot --------------------------------------------------------------------------------------


def gpus_of(
    places: Iterable[Place], gone: Iterable[Place], xids: Mapping[str, int], now: float
) -> tuple[GPU, ...]:
    """All GPUs, in the drivers' order. Those ``gone`` from the driver's list are lost."""
    gpus: dict[str, GPU] = {}
    for place in places:
        for gpu in place.gpus:
            gpus.setdefault(gpu.id, _gpu_now(place, gpu, xids, now))
    for place in gone:
        for gpu in place.gpus:
            lost = replace(place, state="lost", message=UNLISTED, tried=dict.fromkeys(FIGURES, now))
            gpus.setdefault(gpu.id, _gpu_now(lost, gpu, xids, now))
    return tuple(sorted(gpus.values(), key=lambda gpu: (gpu.vendor == "amd", gpu.index)))


def _gpu_now(place: Place, gpu: GPU, xids: Mapping[str, int], now: float) -> GPU:
    seen = place.seen.get(gpu.id, {})
    figures = {name: value for name, (value, _) in seen.items()}
    if Tier.HEALTH in place.tried:
        figures["xid"] = xids.get(gpu.parent or gpu.id)
    stale = {
        name: round(now - at, 1)
        for name, (value, at) in seen.items()
        if value is not None and at < place.tried.get(_TIER_OF[name], at)
    }
    state, message = place.state, place.message
    core = [name for name in COLUMNS if figures.get(name) is not None]
    if state == "ok" and core and all(name in stale for name in core):
        state, message = "stale", "None of its figures can be read for now."
    return replace(gpu, state=state, message=message, figures=figures, stale=stale)


def columns_now(gpu: GPU) -> tuple[float | None, ...]:
    """What the history keeps of a GPU at this tick: its columns, None where nothing new was read."""
    return tuple(None if name in gpu.stale else _number(gpu.figures.get(name)) for name in COLUMNS)


def _number(value: Value) -> float | None:
    return value if isinstance(value, int | float) else None


# --- what is new -------------------------------------------------------------------------------------


def changes(old: Snapshot, new: Snapshot) -> Change:
    """What is new since the last snapshot, besides the tick itself."""
    change = Change.TICK
    if old.drivers != new.drivers or list(map(_facts, old.gpus)) != list(map(_facts, new.gpus)):
        change |= Change.GPUS
    if _links(old) != _links(new):
        change |= Change.LINKS
    if old.uses != new.uses:
        change |= Change.PROCESSES
    return change


def _facts(gpu: GPU) -> tuple[object, ...]:
    health = tuple(gpu.figures.get(name) for name in HEALTH)
    return (replace(gpu, figures={}, stale={}), *health)


def _links(snapshot: Snapshot) -> dict[tuple[str, str], Value]:
    return {
        (gpu.id, name): gpu.figures[name] for gpu in snapshot.gpus for name in LINKS if name in gpu.figures
    }


class Line(NamedTuple):
    """A line of the log."""

    level: int
    text: str


def news(told: Mapping[str, str], snapshot: Snapshot) -> tuple[list[Line], dict[str, str]]:
    """The log's lines for what has changed since it was last ``told``, and what is told now.

    A driver that sleeps because nobody watches is no news, and what befalls GPUs while their driver is
    in trouble is the driver's.
    """
    lines: list[Line] = []
    now = dict(told)
    for driver in snapshot.drivers:
        if driver.state != "asleep":
            now[driver.vendor] = driver.state + driver.message
            if told.get(driver.vendor) != now[driver.vendor]:
                # A machine without a vendor's GPUs is nothing to tell, unless it had some.
                quiet = driver.state == "none" and driver.vendor not in told
                lines.append(_driver_line(driver, logging.DEBUG if quiet else logging.INFO))
    in_order = {driver.vendor for driver in snapshot.drivers if driver.state == "ok"}
    for gpu in snapshot.gpus:
        if gpu.vendor in in_order:
            now[gpu.id] = gpu.state + gpu.message
            if told.get(gpu.id, "ok") != now[gpu.id]:
                lines.append(_gpu_line(gpu))
    return lines, now


def _driver_line(driver: Driver, level: int) -> Line:
    title = _TITLES[driver.vendor]
    if driver.state == "trouble":
        return Line(logging.WARNING, driver.message)
    if driver.state == "none":
        return Line(level, f"There is no {title} GPU here.")
    return Line(level, f"The {title} driver {driver.version or ''} answers.".replace("  ", " "))


def _gpu_line(gpu: GPU) -> Line:
    who = f"GPU {gpu.index} ({gpu.name}, {gpu.id})"
    if gpu.state == "ok":
        return Line(logging.INFO, f"{who} answers again.")
    return Line(logging.WARNING, f"{who} is {gpu.state}: {gpu.message}")


def list_uses(places: Iterable[Place]) -> Iterator[Use]:
    """All processes' uses of GPUs."""
    for place in places:
        yield from place.uses
