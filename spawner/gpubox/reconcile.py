"""What to repair when leases and running boxes differ: a pure decision, done by ``hub``."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from .engines import Box
from .ledger import Lease

Server = tuple[str, str]  # user, server name


@dataclass(frozen=True)
class CloseLease:
    """The lease's box does not run: close it."""

    lease: Lease
    reason: str


@dataclass(frozen=True)
class StopBox:
    """A box runs that no server claims: stop it."""

    box: Box
    reason: str


@dataclass(frozen=True)
class AdoptBox:
    """A server runs without a lease (the ledger was lost): write down what it holds."""

    box: Box
    reason: str


Repair = CloseLease | StopBox | AdoptBox


def decide(
    held: Iterable[Lease],
    boxes: Iterable[Box],
    busy: Collection[Server],
    claimed: Collection[Server],
) -> list[Repair]:
    """The repairs, given the engine's word on what runs.

    ``busy`` servers are starting or stopping in this process and are left alone; ``claimed`` ones
    the hub knows as its own. Orphans are stopped before leases are closed, so that a GPU is free
    when the next person gets it.
    """
    boxes = list(boxes)
    running = {(box.user, box.server): box for box in boxes if box.running}
    leases = {(lease.user, lease.server): lease for lease in held}
    repairs: list[Repair] = [
        StopBox(box, f"{box.name} was made but never started: removed.")
        for box in boxes
        if box.unstarted and (box.user, box.server) not in busy
    ]
    for server, box in running.items():
        if server in busy:
            continue
        if server not in claimed:
            repairs.append(StopBox(box, f"{box.name} runs, but no server claims it: stopped."))
        elif server not in leases:
            repairs.append(AdoptBox(box, f"{box.name} runs without a lease: written down."))
    for server, lease in leases.items():
        if server in busy or server in running:
            continue
        who = f"{lease.user}'s server {lease.server!r}" if lease.server else f"{lease.user}'s server"
        repairs.append(CloseLease(lease, f"{who} holds a lease but does not run: closed."))
    return repairs
