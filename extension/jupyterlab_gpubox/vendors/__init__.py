"""GPU vendors: what each one's module does for the sampler, and the list of them.

A module says how its GPUs are read, and nothing else: when they are, on which thread, and what becomes of
a call that hangs is the sampler's (``survey``, ``watchdog``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Flag, auto
from typing import Protocol

from ..records import COLUMNS, GPU, HEALTH, LINKS, Driver, Use, Value, Vendor

UNLISTED = "The driver no longer lists this GPU: restart the machine."

Figures = Mapping[str, Value]


class Tier(Flag):
    """What is read together, at an interval of its own."""

    CORE = auto()
    PROCESSES = auto()
    HEALTH = auto()
    LINKS = auto()


FIGURES = {Tier.CORE: COLUMNS, Tier.HEALTH: HEALTH, Tier.LINKS: LINKS}


class NoDriver(Exception):
    """There is no driver of this vendor on this machine."""


class DriverTrouble(Exception):
    """The driver is there and cannot be asked; the message is a sentence that says what to do."""


class GPULost(Exception):
    """The GPU is lost or needs a reset; the message is a sentence that says what to do."""


@dataclass(frozen=True)
class Reading:
    """What a card answered in one go.

    ``gpus`` are the card itself or its MIG slices, ``figures`` what was read of them by `GPU.id`: a figure
    that there is none of is None, one that could not be read now is absent. ``uses`` is None where
    processes were not asked for or could not be listed. ``card`` is the card's own id.
    """

    card: str
    gpus: tuple[GPU, ...]
    figures: Mapping[str, Figures] = field(default_factory=dict)
    uses: tuple[Use, ...] | None = None


class Card(Protocol):
    """A place in the driver's list of cards. All of its calls may hang."""

    @property
    def gpus(self) -> tuple[GPU, ...]:
        """Who is known to be here, without asking; before the first answer, a name made up."""

    def read(self, tiers: Tier) -> Reading:
        """Reads these tiers; with `Tier.HEALTH` also looks anew who is here.

        Raises `GPULost` or `DriverTrouble`.
        """


class VendorModule(Protocol):
    """A vendor's driver. Calls may hang; none is made while another one of `open` or `close` runs."""

    vendor: Vendor

    def open(self) -> Driver:
        """Opens the driver, anew where it was open. Raises `NoDriver` or `DriverTrouble`."""

    def close(self) -> None:
        """Closes it, so that GPUs may sleep; may be called again. Never raises."""

    def cards(self) -> Sequence[Card]:
        """The places in the driver's list, the same objects until it is opened anew.

        Raises `DriverTrouble`.
        """

    def errors(self) -> Mapping[str, int]:
        """The last error code (an Xid) by card id, of those since it was last asked; listens from now on."""

    def stop_listening(self) -> None:
        """Lets go of what `errors` holds. Never raises."""


def all_vendors() -> tuple[VendorModule, ...]:
    """A module of each vendor."""
    from .amd import AMD
    from .nvidia import NVIDIA

    return (NVIDIA(), AMD())
