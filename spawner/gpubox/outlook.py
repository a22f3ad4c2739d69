"""The outlook of those who wait: who comes before whom, and when each may be served."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .estimate import Estimates, History, Holding, Wish
from .ledger import Lease
from .machines import MachineType
from .placement import Card, fits


@dataclass(frozen=True)
class Place:
    """A place in line: 1 is next; 0 is not in line any more.

    ``basis`` tells what the estimate rests on: "time limits" (then it is the longest that it can
    take), "past machines" or, with no estimate, "". ``blocked`` says why nothing moves, if so.
    """

    position: int
    waiting: int
    estimate_seconds: float | None = None
    basis: str = ""
    blocked: str = ""


@dataclass(frozen=True)
class Availability:
    """Machines of one type: how many there can be, are free, are in use; people in line."""

    total: int
    free: int
    waiting: int
    in_use: int
    problem: str = ""


def availability(machine: MachineType, cards: Sequence[Card], waiting: int, problem: str) -> Availability:
    """How many machines of a type with GPUs there can be on ``cards`` (all that match it)."""
    serving = [card for card in cards if card.in_service]
    total = len(serving) * machine.slots_per_gpu // machine.count
    if machine.slots_per_gpu > 1:
        with_room = [card for card in serving if fits(card, machine)]
        free = sum(len(card.free_slots) // card.slots_for(machine) for card in with_room)
    else:
        free = sum(card.is_whole for card in serving) // machine.count
    return Availability(total, free, waiting, total - free, problem)


class Outlook:
    """The places and prospects of all who compete for the same GPUs, at one moment."""

    def __init__(
        self,
        now: float,
        tickets: Sequence[Lease],
        cards: Sequence[Card],
        leases: Mapping[int, Lease],
        kinds: Mapping[str, MachineType],
        history: History,
    ) -> None:
        """``tickets`` come in the order of serving; ``leases`` and ``kinds`` look up by number and name."""
        serving = [card for card in cards if card.in_service]
        self.waiting = len(tickets)
        self._position = {ticket.id: index for index, ticket in enumerate(tickets, 1)}
        self._estimates = Estimates(
            now,
            sum(len(card.free_slots) / card.slots for card in serving),
            _holdings(now, serving, leases, kinds, history),
            _wishes(tickets, kinds, history),
        )

    def place(self, ticket: Lease, now: float, blocked: str) -> Place:
        """The ticket's place; with no estimate where something blocks all of its kind."""
        position = self._position[ticket.id]
        seconds, basis = (None, "") if blocked else self._estimates.of(position, now)
        return Place(position, self.waiting, seconds, basis, blocked)


def _holdings(
    now: float,
    cards: Sequence[Card],
    leases: Mapping[int, Lease],
    kinds: Mapping[str, MachineType],
    history: History,
) -> Iterable[Holding]:
    shares: dict[int, float] = {}
    for card in cards:
        for holder in card.holders.values():
            shares[holder] = shares.get(holder, 0.0) + 1 / card.slots
    for lease_id, share in shares.items():
        lease = leases[lease_id]
        elapsed = now - (lease.granted_at or now)
        limit: float | None = kinds[lease.machine].time_limit_seconds
        if lease.ends_at is not None:
            limit = lease.ends_at - (lease.granted_at or now)
        seconds, basis = history.remaining(lease.machine, elapsed, limit)
        yield Holding(now + seconds, share, basis)


def _wishes(
    tickets: Sequence[Lease], kinds: Mapping[str, MachineType], history: History
) -> Iterable[Wish]:
    for ticket in tickets:
        kind = kinds[ticket.machine]
        length, _ = history.remaining(kind.name, 0.0, ticket.session_seconds)
        yield Wish(kind.gpu_share, length)
