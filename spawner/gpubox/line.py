"""Who is next: fair shares and the line of one machine type, over plain records."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

_MOST_HALF_LIVES = 500


@dataclass(frozen=True)
class Ticket:
    """One person's wish for one machine. An admin moved those whose ``rank`` is not 0."""

    id: int
    user: str
    requested_at: float
    rank: int = 0


class FairShare:
    """Recent GPU time by user, where use counts half as much after each half-life.

    Kept as of a fixed moment: decay is the same for everyone, so that order does not change while
    nobody uses anything, and a user's figure only ever grows.
    """

    def __init__(self, half_life_seconds: float, now: float) -> None:
        self._half_life = half_life_seconds
        self._epoch = now
        self._past: dict[str, float] = defaultdict(float)
        self._running: dict[str, dict[int, tuple[float, float]]] = defaultdict(dict)

    def begin(self, user: str, lease_id: int, gpus: float, since: float) -> None:
        """A user holds ``gpus`` GPUs from ``since`` on."""
        self._running[user][lease_id] = (gpus, since)

    def end(self, user: str, lease_id: int, now: float) -> None:
        """The lease ended: what was used is kept as the past."""
        gpus, since = self._running[user].pop(lease_id)
        self.add_past(user, gpus, since, now)
        if not self._running[user]:
            del self._running[user]

    def add_past(self, user: str, gpus: float, since: float, until: float) -> None:
        """Use that lies in the past."""
        self._past[user] += gpus * self._integral(since, until)

    def used(self, user: str, now: float) -> float:
        """A figure to compare users by: their recent GPU time, in units that only order tells."""
        running = self._running.get(user, {})
        return self._past.get(user, 0.0) + sum(
            gpus * self._integral(since, now) for gpus, since in running.values()
        )

    def needs_rebase(self, now: float) -> bool:
        """Whether figures grow so large that they should be counted from a new moment."""
        return (now - self._epoch) / self._half_life > _MOST_HALF_LIVES

    def rebase(self, now: float) -> None:
        """Count from a new moment. Keys of tickets that were made before must be made anew."""
        faded = math.exp2((self._epoch - now) / self._half_life)
        self._past = defaultdict(float, {user: used * faded for user, used in self._past.items()})
        self._epoch = now

    def _integral(self, since: float, until: float) -> float:
        # Integral of 2^(t/half_life): use at t is worth more the later it was.
        later, earlier = ((t - self._epoch) / self._half_life for t in (until, since))
        return (math.exp2(later) - math.exp2(earlier)) * self._half_life / math.log(2)


class Line:
    """The tickets for one machine type: all want the same, so only the first one matters."""

    def __init__(self, shares: FairShare) -> None:
        self._shares = shares
        self._by_arrival: dict[int, Ticket] = {}
        self._heap: list[tuple[float, float, float, int]] = []
        self._moved: dict[int, Ticket] = {}

    def __len__(self) -> int:
        return len(self._by_arrival)

    def __iter__(self) -> Iterator[Ticket]:
        return iter(self._by_arrival.values())

    def add(self, ticket: Ticket, now: float) -> None:
        """Join the line; a ticket that was kept over a restart joins at its old place."""
        last = next(reversed(self._by_arrival.values()), None)
        self._by_arrival[ticket.id] = ticket
        if ticket.rank:
            self._moved[ticket.id] = ticket
        if last is not None and last.requested_at > ticket.requested_at:
            ordered = sorted(self._by_arrival.values(), key=lambda one: (one.requested_at, one.id))
            self._by_arrival = {one.id: one for one in ordered}
        heapq.heappush(self._heap, (*self.key(ticket, now), ticket.id))

    def remove(self, ticket_id: int) -> None:
        """Leave the line."""
        self._by_arrival.pop(ticket_id, None)
        self._moved.pop(ticket_id, None)

    def move(self, ticket_id: int, rank: int, now: float) -> None:
        """Give a ticket another rank."""
        ticket = replace(self._by_arrival[ticket_id], rank=rank)
        self._by_arrival[ticket_id] = ticket
        self._moved.pop(ticket_id, None)
        if rank:
            self._moved[ticket_id] = ticket
        # The entry of before stays; it is met later, or sinks.
        heapq.heappush(self._heap, (*self.key(ticket, now), ticket_id))

    def key(self, ticket: Ticket, now: float) -> tuple[float, float, float]:
        """The fair order: whom an admin moved, who used least lately, then who came first."""
        return -ticket.rank, self._shares.used(ticket.user, now), ticket.requested_at

    def sort_anew(self, now: float) -> None:
        """Make the keys of all tickets anew, after a rebase of the shares."""
        self._heap = [(*self.key(ticket, now), ticket.id) for ticket in self]
        heapq.heapify(self._heap)

    def oldest(self) -> Ticket | None:
        """Who has waited longest, of those that no admin moved back."""
        return next((ticket for ticket in self if ticket.rank >= 0), None)

    def foremost(self) -> Ticket | None:
        """Whom an admin moved to the front, the highest rank first."""
        ahead = [ticket for ticket in self._moved.values() if ticket.rank > 0]
        return max(ahead, key=lambda ticket: (ticket.rank, -ticket.requested_at), default=None)

    def fairest(self, now: float) -> Ticket | None:
        """Who is next by fair share."""
        while self._heap:
            *known, ticket_id = self._heap[0]
            ticket = self._by_arrival.get(ticket_id)
            if ticket is None:
                heapq.heappop(self._heap)
                continue
            key = self.key(ticket, now)
            if key <= tuple(known):
                return ticket
            # The user has used GPUs since, or was moved back: the entry can only sink.
            heapq.heapreplace(self._heap, (*key, ticket_id))
        return None
