"""What is told of GPUs: plain records, units in their names. docs/panel-api.md is the same as JSON.

How they are read is in ``vendors``, when in ``sampler``, how they are sent in ``routes``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

# Read every core tick, kept in the history, sent with every tick: the order of a tick's values.
COLUMNS = (
    "utilisation_percent",
    "memory_used_mib",
    "memory_utilisation_percent",
    "power_watts",
    "temperature_celsius",
    "clock_sm_mhz",
)
# Read at the health interval.
HEALTH = (
    "power_limit_watts",
    "clock_memory_mhz",
    "throttle_reasons",
    "ecc_corrected",
    "ecc_uncorrected",
    "retired_pages",
    "xid",
)
# Read only while somebody asks for them: 20 ms a call.
LINKS = (
    "pcie_tx_kib_per_second",
    "pcie_rx_kib_per_second",
    "nvlink_tx_kib_per_second",
    "nvlink_rx_kib_per_second",
)

# A figure's value. None: the GPU or its driver has no such figure; throttle reasons are words.
Value = float | int | tuple[str, ...] | None

Vendor = Literal["nvidia", "amd"]
DriverState = Literal["ok", "none", "trouble", "asleep"]
GPUState = Literal["ok", "stale", "lost"]


@dataclass(frozen=True)
class Driver:
    """A vendor's driver; ``message`` is a sentence where it is in trouble, else empty."""

    vendor: Vendor
    state: DriverState
    version: str | None = None
    cuda: str | None = None
    message: str = ""


@dataclass(frozen=True)
class GPU:
    """One GPU or MIG slice, as it was at the last tick.

    ``figures`` has the last value of each figure that was ever read, None where there is none to
    read; ``stale`` names those that could not be read anew, with their age in seconds.
    """

    id: str
    index: int
    vendor: Vendor
    name: str
    parent: str | None = None
    mig_profile: str | None = None
    memory_total_mib: int | None = None
    state: GPUState = "ok"
    message: str = ""
    figures: Mapping[str, Value] = field(default_factory=dict)
    stale: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Use:
    """One process's use of one GPU, as the driver tells it: its pid may be of another namespace."""

    gpu: str
    pid: int
    memory_mib: int | None


@dataclass(frozen=True)
class Snapshot:
    """All that was known at ``time`` (Unix seconds). ``uses`` is as old as the last process tick."""

    time: float
    drivers: tuple[Driver, ...] = ()
    gpus: tuple[GPU, ...] = ()
    uses: tuple[Use, ...] = ()


OwnerKind = Literal["kernel", "terminal", "server", "unknown"]


@dataclass(frozen=True)
class Owner:
    """Whose a process is: a kernel and its notebook, a terminal, or the Jupyter server itself."""

    kind: OwnerKind
    id: str = ""
    name: str = ""
    path: str = ""


@dataclass(frozen=True)
class Process:
    """A process of this Jupyter server on a GPU. ``is_estimated``: its pid was another namespace's."""

    gpu: str
    pid: int
    name: str
    memory_mib: int | None
    owner: Owner
    is_estimated: bool = False


@dataclass(frozen=True)
class Others:
    """What is not this server's on a GPU, summed up: whose it is stays theirs."""

    gpu: str
    count: int
    memory_mib: int | None


@dataclass(frozen=True)
class ProcessList:
    """Who uses the GPUs; ``message`` is a sentence where part of it could not be found out."""

    time: float
    processes: Sequence[Process] = ()
    others: Sequence[Others] = ()
    message: str = ""
