"""GPUPool: who holds which GPU, and who is next. The only writer of leases.

Runs with no hub, no engine and no GPU. Synchronous and confined to one thread (``hub`` sees to
that). The ledger is written first and memory follows, so that memory is always what a fresh start
would read. Who is next is decided in ``line``, which GPUs in ``placement``, what is told to those
who wait in ``outlook``, what is refused in ``refusal``.
"""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Callable, Iterable, Sequence

import sqlalchemy as sa

from .budget import Budgets
from .estimate import History
from .fleet import Fleet, GPUState
from .inventory import GPU
from .ledger import Lease, Ledger, Terms
from .line import FairShare, Line, Ticket
from .machines import MachineType
from .outlook import Availability, Outlook, Place, availability
from .placement import Card, Placement, fits, keep_for, place
from .progress import about
from .refusal import (
    Claim,
    PoolRefusal,
    in_words,
    refuse_over_budget,
    refuse_over_quota,
    refuse_what_cannot_be,
    shortage,
)
from .rules import Rule, longest_session

log = logging.getLogger(__name__)

_HALF_LIVES_REMEMBERED = 10
# From the notice that a budget is used up until machines under it are stopped.
BUDGET_NOTICE_SECONDS = 600.0


class GPUPool:
    """Leases, the line and quotas over one database.

    Whatever frees a GPU returns the leases that others were granted by it, each told once.
    """

    def __init__(
        self,
        db: sa.Engine,
        machines: Sequence[MachineType],
        *,
        clock: Callable[[], float] = time.time,
        patience_seconds: float = 1800.0,
        half_life_seconds: float = 86400.0,
        keep_place_seconds: float = 3600.0,
        rules: Sequence[Rule] = (),
    ) -> None:
        self.clock = clock
        self._ledger = Ledger(db)
        self._patience = patience_seconds
        self._keep_place = keep_place_seconds
        self._rules = rules
        self._budgets = Budgets(db, rules)
        self.hub_id = self._ledger.hub_id()
        self._opened_at = clock()
        self._kinds = {machine.name: machine for machine in machines}
        self._fleet = Fleet(machines)
        self._shares = FairShare(half_life_seconds, self._opened_at)
        self._history = History()
        self._open: dict[int, Lease] = {}
        self._by_server: dict[tuple[str, str], int] = {}
        self._lines: dict[str, Line] = {}
        # Tickets of before the last restart that nobody has come back for yet.
        self._unclaimed: dict[int, Lease] = {}
        self._news: list[Lease] = []
        self._terms: dict[int, Terms] = {}
        # Outlooks hold until the next change of anything.
        self._version = 0
        self._outlooks: dict[str, tuple[int, Outlook]] = {}
        self._read_ledger(half_life_seconds)

    def _read_ledger(self, half_life_seconds: float) -> None:
        for gpu, drain_reason in self._ledger.gpus():
            self._fleet.add(gpu, drain_reason)
        for lease, as_then in self._ledger.open_leases():
            kind = self._kinds.setdefault(lease.machine, as_then)
            self._remember(lease)
            if lease.is_held:
                assert lease.granted_at is not None
                self._shares.begin(lease.user, lease.id, kind.gpu_share, lease.granted_at)
                if lease.ends_at is None and kind.time_limit_seconds:
                    # It began before its machine type had a limit.
                    end = lease.granted_at + kind.time_limit_seconds
                    self._remember(self._ledger.set_end(lease, end, "session"))
            else:
                self._unclaimed[lease.id] = lease
        divisions = {lease.id: self._kinds[lease.machine].division for lease in self._open.values()}
        divided_anew = self._fleet.take_up(self._ledger.held_slots(), divisions)
        if divided_anew:
            self._ledger.divide_anew(divided_anew)
        for past in self._ledger.past_leases(self._opened_at - _HALF_LIVES_REMEMBERED * half_life_seconds):
            self._shares.add_past(past.user, past.share, past.granted_at, past.released_at)
            self._history.ended(past.machine, past.released_at - past.granted_at)

    # --- the GPUs --------------------------------------------------------------------------------

    def refresh(self, gpus: Sequence[GPU]) -> tuple[Lease, ...]:
        """Take news of the inventory: new, lost (absent or with a problem) and returned GPUs."""
        news = self._fleet.news(gpus)
        if news:
            self._ledger.write_gpus(news, self.clock())
        came_back = False
        for gpu in news:
            if gpu.uuid in self._fleet.cards:
                came_back |= self._fleet.update(gpu)
            else:
                self._fleet.add(gpu, self._ledger.drain_reason(gpu.uuid))
                came_back = True
        self._version += bool(news)
        return self._serve() if came_back else self.served()

    def drain(self, uuid: str, reason: str) -> None:
        """Hand the GPU out no more; who holds it keeps it. Raises KeyError for an unknown GPU."""
        self._set_drain(uuid, reason)

    def undrain(self, uuid: str) -> tuple[Lease, ...]:
        """Hand the GPU out again. Raises KeyError for an unknown GPU."""
        self._set_drain(uuid, None)
        return self._serve()

    def _set_drain(self, uuid: str, reason: str | None) -> None:
        if uuid not in self._fleet.cards:
            raise KeyError(uuid)
        self._ledger.set_drain(uuid, reason)
        self._fleet.set_drain(uuid, reason)
        self._version += 1

    def cards(self) -> tuple[Card, ...]:
        """Every GPU with its slots and who holds them; to be looked at, not changed."""
        return tuple(self._fleet.cards.values())

    def gpu_states(self) -> dict[str, GPUState]:
        """The state of every GPU, by UUID."""
        return self._fleet.states()

    # --- asking and giving back ------------------------------------------------------------------

    def request(
        self,
        user: str,
        server: str,
        machine: MachineType,
        groups: Sequence[str] = (),
        session_seconds: float | None = None,
    ) -> Lease:
        """A lease, granted at once or waiting in line.

        A ticket that the server has already is taken up again, with its place; one for another
        machine type is given up for the new one. It will be stopped after ``session_seconds``; None
        is as long as the rules allow. Raises PoolRefusal with a sentence where the request cannot be
        met. Leases of others that it led to are told by `served`.
        """
        open_id = self._by_server.get((user, server))
        if open_id is not None:
            existing = self._open[open_id]
            if existing.machine == machine.name:
                return self._claim(existing)
            if existing.is_held:
                raise PoolRefusal(
                    "Your last machine is still being put away. Try again in a minute.", "clearing"
                )
        refuse_what_cannot_be(machine, self._fleet)
        session_seconds = self._session(user, groups, machine, session_seconds)
        others = [self._claim_of(one) for one in self._open.values() if one.id != open_id]
        waits = not self._fits_now(machine)
        refuse_over_quota(self._rules, Claim(user, tuple(groups), machine.gpu_share, waits), others)
        refuse_over_budget(self._budgets.exhausted(user, groups, self.clock()))
        if open_id is not None:
            self._news.extend(self.cancel(open_id, "another machine type was chosen"))
        self._kinds.setdefault(machine.name, machine)
        lease = self._ledger.insert(user, server, machine, groups, self.clock(), session_seconds)
        self._remember(lease)
        return self._join_line(lease)

    def _claim_of(self, lease: Lease) -> Claim:
        """What an open lease or ticket counts for in quotas."""
        return Claim(lease.user, lease.groups, self._kinds[lease.machine].gpu_share, lease.is_waiting)

    def _fits_now(self, machine: MachineType) -> bool:
        """Whether a machine of the type would be granted at once."""
        if machine.count == 0:
            return True
        return not self._lines.get(machine.name) and bool(place(machine, self._fleet.with_room(machine)))

    # --- how long ------------------------------------------------------------------------------------

    def longest_session(self, user: str, groups: Sequence[str], machine: MachineType) -> float | None:
        """Seconds for which the user may have a machine of the type at most; None for no bound."""
        rule = longest_session(self._rules, user, groups)
        bounds = [rule.session_seconds if rule else None, machine.time_limit_seconds]
        return min((bound for bound in bounds if bound is not None), default=None)

    def _session(
        self, user: str, groups: Sequence[str], machine: MachineType, chosen: float | None
    ) -> float | None:
        longest = self.longest_session(user, groups, machine)
        if chosen is None or longest is None or chosen <= longest:
            return chosen if chosen is not None else longest
        rule = longest_session(self._rules, user, groups)
        raise PoolRefusal(
            f"You may have {machine.title} for {about(longest)[6:]} at most. Choose a shorter"
            f" time.{in_words(rule)}",
            "too_long",
        )

    def latest_end(self, lease: Lease) -> float | None:
        """Until when a held lease may be extended; None for no bound."""
        if lease.granted_at is None:
            return None
        if lease.ends_because == "budget" and self._budgets.exhausted(lease.user, lease.groups, self.clock()):
            return lease.ends_at
        longest = self.longest_session(lease.user, lease.groups, self._kinds[lease.machine])
        return None if longest is None else lease.granted_at + longest

    def extend(self, lease_id: int, seconds: float) -> float | None:
        """Let a held lease end ``seconds`` later, as far as that is allowed; returns when it will end.

        Raises PoolRefusal with a sentence where it cannot be extended at all.
        """
        lease = self._open.get(lease_id)
        if lease is None or not lease.is_held:
            raise PoolRefusal("That machine does not run any more.", "not_held")
        if lease.ends_at is None:
            return None
        latest = self.latest_end(lease)
        wanted = lease.ends_at + seconds
        ends_at = wanted if latest is None else min(wanted, latest)
        if ends_at <= lease.ends_at:
            why = "its budget is used up" if lease.ends_because == "budget" else "it may not run longer"
            sentence = f"The machine cannot be extended: {why}. Save your work before it ends."
            raise PoolRefusal(sentence, "too_long")
        self._remember(self._ledger.set_end(lease, ends_at, "session"))
        return ends_at

    def stop_over_budget(self) -> None:
        """Give machines under a budget that is used up, and that says so, a near end."""
        now = self.clock()
        for lease in self.held():
            spent = self._budgets.exhausted(lease.user, lease.groups, now, at_limit="stop")
            soon = now + BUDGET_NOTICE_SECONDS
            if spent and lease.ends_because != "budget" and (lease.ends_at is None or lease.ends_at > soon):
                self._remember(self._ledger.set_end(lease, soon, "budget"))

    def over_time(self) -> list[Lease]:
        """Held leases whose end has come."""
        now = self.clock()
        return [lease for lease in self.held() if lease.ends_at is not None and lease.ends_at <= now]

    # --- moves ---------------------------------------------------------------------------------------

    def move(self, lease_id: int, to: str) -> tuple[Lease, ...]:
        """Move a ticket ``first``, ``last``, or back to its ``fair`` place. Raises PoolRefusal."""
        ticket = self._open.get(lease_id)
        if ticket is None or not ticket.is_waiting:
            raise PoolRefusal("That one does not wait any more.", "not_waiting")
        ranks = [one.rank for one in self.waiting() if one.id != lease_id]
        rank = {"first": max([0, *ranks]) + 1, "last": min([0, *ranks]) - 1, "fair": 0}[to]
        self._remember(self._ledger.set_rank(ticket, rank))
        line = self._lines.get(ticket.machine)
        if line is not None and lease_id not in self._unclaimed:
            line.move(lease_id, rank, self.clock())
        return self._serve()

    def _claim(self, lease: Lease) -> Lease:
        if self._unclaimed.pop(lease.id, None) is None:
            return lease
        return self._join_line(lease)

    def _join_line(self, lease: Lease) -> Lease:
        line = self._lines.setdefault(lease.machine, Line(self._shares))
        line.add(Ticket(lease.id, lease.user, lease.requested_at, lease.rank), self.clock())
        self._news.extend(self._serve_types([self._kinds[lease.machine]]))
        self._news = [other for other in self._news if other.id != lease.id]
        return self._open[lease.id]

    def served(self) -> tuple[Lease, ...]:
        """Leases granted to others since the last answer, each told once."""
        news, self._news = self._news, []
        return tuple(news)

    def cancel(self, lease_id: int, reason: str) -> tuple[Lease, ...]:
        """Leave the line. May be called twice."""
        lease = self._open.get(lease_id)
        if lease is None or not lease.is_waiting:
            return self.served()
        return self._close(lease, reason)

    def release(self, lease_id: int, reason: str) -> tuple[Lease, ...]:
        """Close a lease. May be called twice."""
        lease = self._open.get(lease_id)
        if lease is None or not lease.is_held:
            return self.served()
        return self._close(lease, reason)

    def expire_places(self) -> tuple[Lease, ...]:
        """Close tickets that nobody came back for after a restart."""
        if self.clock() - self._opened_at >= self._keep_place:
            for lease in list(self._unclaimed.values()):
                self._news.extend(self._close(lease, "nobody came back after the hub's restart"))
        return self.served()

    def adopt(self, user: str, server: str, machine: str, gpus: Sequence[str]) -> Lease | None:
        """Write down what a running server holds without a lease, as after a loss of the ledger.

        None where its GPUs are unknown or somebody holds them: that is logged, and nothing is
        written.
        """
        if (user, server) in self._by_server:
            return None
        kind = self._kinds.get(machine) or MachineType(name=machine, title=machine, count=len(gpus))
        placement: Placement = {}
        for uuid in gpus:
            card = self._fleet.cards.get(uuid)
            if card is None or not fits(card, kind):
                log.error("%s's server holds GPU %s, which is not free in the ledger.", user, uuid)
                return None
            placement[uuid] = tuple(card.free_slots[: card.slots_for(kind)])
        self._kinds.setdefault(machine, kind)
        lease = self._ledger.insert(user, server, kind, (), self.clock(), kind.time_limit_seconds)
        self._remember(lease)
        return self._grant(lease, placement)

    # --- questions -------------------------------------------------------------------------------

    def lease(self, lease_id: int) -> Lease:
        """The lease of that number, open or closed. Raises KeyError where there is none."""
        return self._open.get(lease_id) or self._ledger.find(lease_id)

    def open_leases(self) -> tuple[Lease, ...]:
        """Tickets and held leases."""
        return tuple(self._open.values())

    def terms(self, lease: Lease) -> Terms:
        """What an open lease was asked for at."""
        if lease.id not in self._terms:
            self._terms = self._ledger.open_terms()
        return self._terms[lease.id]

    def held(self) -> tuple[Lease, ...]:
        """Leases that hold a machine."""
        return tuple(lease for lease in self._open.values() if lease.is_held)

    def waiting(self) -> tuple[Lease, ...]:
        """Tickets in line, those that nobody has claimed since a restart included."""
        return tuple(lease for lease in self._open.values() if lease.is_waiting)

    def availability(self, machine: MachineType) -> Availability:
        """How many machines of the type there are, are free and are waited for."""
        if machine.count == 0:
            held = sum(lease.machine == machine.name for lease in self.held())
            return Availability(total=0, free=0, waiting=0, in_use=held)
        waiting = sum(lease.machine == machine.name for lease in self.waiting())
        cards = self._fleet.matching(machine)
        return availability(machine, cards, waiting, shortage(machine, cards))

    def place(self, lease_id: int) -> Place:
        """The ticket's place among those who compete for the same GPUs, with an estimate."""
        lease = self._open.get(lease_id)
        if lease is None or not lease.is_waiting:
            return Place(position=0, waiting=0)
        machine = self._kinds[lease.machine]
        cards = self._fleet.matching(machine)
        blocked = ""
        if self._fleet.in_service(machine) < machine.count:
            blocked = shortage(machine, cards)
        return self._outlook(machine).place(lease, self.clock(), blocked)

    def _outlook(self, machine: MachineType) -> Outlook:
        version, outlook = self._outlooks.get(machine.name, (None, None))
        if outlook is None or version != self._version:
            outlook = Outlook(
                self.clock(),
                self._rivals(machine),
                self._fleet.matching(machine),
                self._open,
                self._kinds,
                self._history,
            )
            self._outlooks[machine.name] = self._version, outlook
        return outlook

    def _rivals(self, machine: MachineType) -> list[Lease]:
        """All tickets that compete for the type's GPUs, in the order in which they would be served."""
        now = self.clock()
        cards = self._fleet.matching(machine)
        names = {kind.name for kind in self._kinds.values() if any(kind.matches(card.gpu) for card in cards)}

        def turn(ticket: Lease) -> tuple[float, ...]:
            if ticket.rank > 0:
                return (-1, -ticket.rank, ticket.requested_at, ticket.id)
            if ticket.rank == 0 and now - ticket.requested_at >= self._patience:
                return (0, ticket.requested_at, ticket.id)
            return (1, -ticket.rank, self._shares.used(ticket.user, now), ticket.requested_at, ticket.id)

        return sorted((one for one in self.waiting() if one.machine in names | {machine.name}), key=turn)

    # --- serving the line ------------------------------------------------------------------------

    def _serve(self) -> tuple[Lease, ...]:
        self._news.extend(self._serve_types(self._kinds.values()))
        return self.served()

    def _serve_types(self, kinds: Iterable[MachineType]) -> list[Lease]:
        """Grant all that can be granted to tickets of those types, in order."""
        lines = {kind.name: self._lines[kind.name] for kind in kinds if self._lines.get(kind.name)}
        if not lines:
            return []
        now = self.clock()
        granted: list[Lease] = []
        kept = self._serve_overdue(now, granted)
        while True:
            heads = [
                (*line.key(ticket, now), ticket.id, name)
                for name, line in lines.items()
                if (ticket := line.fairest(now)) is not None
            ]
            if not heads:
                return granted
            *_, ticket_id, name = min(heads)
            lease = self._try(self._open[ticket_id], kept)
            if lease is None:
                # All in this line want the same: none of them can be placed now.
                del lines[name]
            else:
                granted.append(lease)

    def _serve_overdue(self, now: float, granted: list[Lease]) -> set[str]:
        """Serve whom an admin moved to the front, then those who have waited too long to be overtaken.

        Adds their leases to ``granted``; returns the UUIDs of GPUs that are kept for those of them
        who cannot be placed yet.
        """
        kept: set[str] = set()

        def overdue(name: str) -> list[tuple[int, float, int, str]]:
            line = self._lines[name]
            ticket = line.foremost() or line.oldest()
            if ticket is None or (ticket.rank == 0 and now - ticket.requested_at < self._patience):
                return []
            return [(-ticket.rank, ticket.requested_at, ticket.id, name)]

        # The overdue of types that are not asked about come before the others all the same.
        heads = [head for name in self._lines for head in overdue(name)]
        heapq.heapify(heads)
        while heads:
            *_, ticket_id, name = heapq.heappop(heads)
            kind = self._kinds[name]
            lease = self._try(self._open[ticket_id], kept)
            if lease is not None:
                granted.append(lease)
                for head in overdue(name):
                    heapq.heappush(heads, head)
            elif self._fleet.in_service(kind) >= kind.count:
                kept |= keep_for(kind, self._left(kind, kept))
        return kept

    def _left(self, kind: MachineType, kept: set[str]) -> list[Card]:
        """Cards with room for machines of the type that are not kept for others."""
        return [card for card in self._fleet.with_room(kind) if card.gpu.uuid not in kept]

    def _try(self, ticket: Lease, kept: set[str]) -> Lease | None:
        """Grant a ticket GPUs that are not kept for others; None where they do not suffice."""
        kind = self._kinds[ticket.machine]
        placement = place(kind, self._left(kind, kept)) if kind.count else {}
        return None if placement is None else self._grant(ticket, placement)

    # --- the ledger first, then memory -----------------------------------------------------------

    def _remember(self, lease: Lease) -> None:
        self._open[lease.id] = lease
        self._by_server[lease.user, lease.server] = lease.id
        self._version += 1

    def _grant(self, ticket: Lease, placement: Placement) -> Lease:
        now = self.clock()
        lease = self._ledger.grant(ticket, placement, self._fleet.cards, now)
        self._fleet.hold(lease.id, placement, self._kinds[lease.machine].division)
        if lease.machine in self._lines:
            self._lines[lease.machine].remove(lease.id)
        self._shares.begin(lease.user, lease.id, self._kinds[lease.machine].gpu_share, now)
        self._remember(lease)
        return lease

    def _close(self, lease: Lease, reason: str) -> tuple[Lease, ...]:
        now = self.clock()
        self._ledger.close(lease, reason, now)
        del self._open[lease.id]
        del self._by_server[lease.user, lease.server]
        self._unclaimed.pop(lease.id, None)
        if lease.machine in self._lines:
            self._lines[lease.machine].remove(lease.id)
        self._fleet.let_go(lease.id, lease.gpus)
        if lease.granted_at is not None:
            self._shares.end(lease.user, lease.id, now)
            self._history.ended(lease.machine, now - lease.granted_at)
        if self._shares.needs_rebase(now):
            self._shares.rebase(now)
            for line in self._lines.values():
                line.sort_anew(now)
        self._version += 1
        return self._serve()
