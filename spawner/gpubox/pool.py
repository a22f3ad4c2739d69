"""GPUPool: who holds which GPU, and who is next. The only writer of leases.

Runs with no hub, no engine and no GPU. Synchronous and confined to one thread (``hub`` sees to
that). The database is written first and memory follows, so that memory is always what a fresh
start would read. Who is next is decided in ``line``, which GPUs in ``placement``, how long it may
take in ``estimate``.
"""

from __future__ import annotations

import heapq
import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from . import db as tables
from .estimate import Estimates, History, Holding, Wish
from .inventory import GPU
from .line import FairShare, Line, Ticket
from .machines import MachineType
from .placement import Card, Placement, fits, keep_for, place

log = logging.getLogger(__name__)

_HALF_LIVES_REMEMBERED = 10


class PoolRefusal(Exception):
    """A request that cannot be met, now or ever; str() is the sentence for the user."""

    def __init__(self, sentence: str, reason: str) -> None:
        super().__init__(sentence)
        self.reason = reason


@dataclass(frozen=True)
class Lease:
    """One row of the ledger: a ticket while it waits, then a lease, in the end the bill."""

    id: int
    user: str
    server: str
    machine: str
    gpus: tuple[str, ...]
    requested_at: float
    granted_at: float | None
    released_at: float | None
    end_reason: str | None

    @property
    def is_waiting(self) -> bool:
        """Whether it is a ticket in the line."""
        return self.granted_at is None and self.released_at is None

    @property
    def is_held(self) -> bool:
        """Whether it holds its machine."""
        return self.granted_at is not None and self.released_at is None


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


@dataclass(frozen=True)
class GPUState:
    """What may be done with a GPU: ``ready``, ``leased``, ``draining``, ``drained`` or ``lost``."""

    state: str
    reason: str = ""
    slots: int = 1
    holders: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Order:
    index_of: dict[int, int]
    estimates: Estimates


@dataclass
class _Kept:
    """GPUs kept for those who must not be overtaken, lines that wait for them, who was served."""

    gpus: set[str]
    blocked: set[str]
    granted: list[Lease]


class GPUPool:
    """Leases, the line and quotas over one database."""

    def __init__(
        self,
        db: sa.Engine,
        machines: Sequence[MachineType],
        *,
        clock: Callable[[], float] = time.time,
        patience_seconds: float = 1800.0,
        half_life_seconds: float = 86400.0,
        keep_place_seconds: float = 3600.0,
        max_gpus_per_user: int = 0,
    ) -> None:
        self.clock = clock
        self._db = db
        self._machines = {machine.name: machine for machine in machines}
        self._patience = patience_seconds
        self._half_life = half_life_seconds
        self._keep_place = keep_place_seconds
        self._max_gpus = max_gpus_per_user
        self._news: list[Lease] = []
        self._load()

    # --- the GPUs ----------------------------------------------------------------------------

    def refresh(self, gpus: Sequence[GPU]) -> tuple[Lease, ...]:
        """Take news of the inventory: new, lost (absent or with a problem) and returned GPUs.

        Returns the leases that could be granted by it.
        """
        seen = {gpu.uuid: self._as_known(gpu) for gpu in gpus}
        for uuid, card in self._cards.items():
            if uuid not in seen and not card.gpu.problem:
                seen[uuid] = replace(card.gpu, problem="The driver no longer lists it.")
        changed = [gpu for gpu in seen.values() if self._is_news(gpu)]
        if changed:
            with self._db.begin() as connection:
                for gpu in changed:
                    self._write_gpu(connection, gpu)
        came_back = False
        for gpu in changed:
            known = self._cards.get(gpu.uuid)
            came_back |= known is None or (bool(known.gpu.problem) and not gpu.problem)
            self._tell_change(known, gpu)
            if known is None:
                self._cards[gpu.uuid] = Card(gpu, self._division(gpu))
            else:
                known.gpu = gpu
        if changed:
            self._forget_matches()
        return self._serve() if came_back else self.served()

    def _as_known(self, gpu: GPU) -> GPU:
        """A GPU in trouble may not even tell its model any more: what was known of it is kept."""
        card = self._cards.get(gpu.uuid)
        return replace(card.gpu, problem=gpu.problem) if card and gpu.problem else gpu

    def _is_news(self, gpu: GPU) -> bool:
        card = self._cards.get(gpu.uuid)
        return card is None or card.gpu != gpu

    def _tell_change(self, card: Card | None, gpu: GPU) -> None:
        if gpu.problem and (card is None or not card.gpu.problem):
            log.warning("GPU %s (%s) is lost: %s", gpu.uuid, gpu.model, gpu.problem)
        elif card is not None and card.gpu.problem and not gpu.problem:
            log.warning("GPU %s (%s) is back.", gpu.uuid, gpu.model)

    def _write_gpu(self, connection: sa.Connection, gpu: GPU) -> None:
        values: dict[str, Any] = {
            "model": gpu.model,
            "memory_mib": gpu.memory_mib,
            "index": gpu.index,
            "mig_profile": gpu.mig_profile,
            "parent": gpu.parent,
            "problem": gpu.problem,
        }
        known = tables.gpu.c.uuid == gpu.uuid
        if connection.execute(tables.gpu.update().where(known).values(**values)).rowcount == 0:
            connection.execute(
                tables.gpu.insert().values(uuid=gpu.uuid, first_seen=self.clock(), **values)
            )

    def drain(self, uuid: str, reason: str) -> None:
        """Hand the GPU out no more; who holds it keeps it. Raises KeyError for an unknown GPU."""
        self._set_drain(uuid, reason)

    def undrain(self, uuid: str) -> tuple[Lease, ...]:
        """Hand the GPU out again; returns the leases granted by it."""
        self._set_drain(uuid, None)
        return self._serve()

    def _set_drain(self, uuid: str, reason: str | None) -> None:
        card = self._cards[uuid]
        with self._db.begin() as connection:
            connection.execute(
                tables.gpu.update().where(tables.gpu.c.uuid == uuid).values(drain_reason=reason)
            )
        card.drain_reason = reason
        self._version += 1

    def gpu_states(self) -> dict[str, GPUState]:
        """The state of every GPU, by UUID."""
        return {uuid: _state(card) for uuid, card in self._cards.items()}

    # --- asking and giving back ------------------------------------------------------------------

    def request(
        self, user: str, server: str, machine: MachineType, groups: Sequence[str] = ()
    ) -> Lease:
        """A lease, granted at once or waiting in line.

        A ticket that the server has already is taken up again, with its place; one for another
        machine type is given up for the new one. Raises PoolRefusal with a sentence where the
        request cannot be met. Leases of others that it led to are told by `served`.
        """
        open_id = self._by_server.get((user, server))
        if open_id is not None:
            existing = self._open[open_id]
            if existing.machine == machine.name:
                return existing if existing.is_held else self._claim(existing, machine)
            if existing.is_held:
                raise PoolRefusal(
                    "Your last machine is still being put away. Try again in a minute.", "clearing"
                )
        self._refuse_what_cannot_be(user, server, machine)
        if open_id is not None:
            self._news.extend(self.cancel(open_id, "another machine type was chosen"))
        lease = self._insert(user, server, machine, groups)
        self._join_line(lease, machine)
        self._news.extend(self._serve_types([machine]))
        return self._take_from_news(lease.id)

    def _claim(self, lease: Lease, machine: MachineType) -> Lease:
        if self._unclaimed.pop(lease.id, None) is None:
            return lease
        self._join_line(lease, machine)
        self._news.extend(self._serve_types([machine]))
        return self._take_from_news(lease.id)

    def _take_from_news(self, lease_id: int) -> Lease:
        self._news = [lease for lease in self._news if lease.id != lease_id]
        return self._open[lease_id]

    def served(self) -> tuple[Lease, ...]:
        """Leases granted to others since the last answer, each told once."""
        news, self._news = self._news, []
        return tuple(news)

    def cancel(self, lease_id: int, reason: str) -> tuple[Lease, ...]:
        """Leave the line; returns the leases that others were granted by it."""
        lease = self._open.get(lease_id)
        if lease is None or not lease.is_waiting:
            return self.served()
        return self._close(lease, reason)

    def release(self, lease_id: int, reason: str) -> tuple[Lease, ...]:
        """Close a lease; returns the leases that others were granted by it. May be called twice."""
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

    def adopt(
        self, user: str, server: str, machine: str, gpus: Sequence[str]
    ) -> Lease | None:
        """Write down what a running server holds without a lease, as after a loss of the ledger.

        None where its GPUs are unknown or somebody holds them: that is logged, and nothing is
        written.
        """
        if (user, server) in self._by_server:
            return None
        kind = self._machines.get(machine) or MachineType(name=machine, title=machine, count=len(gpus))
        placement: Placement = {}
        for uuid in gpus:
            card = self._cards.get(uuid)
            if card is None or not fits(card, kind):
                log.error("%s's server holds GPU %s, which is not free in the ledger.", user, uuid)
                return None
            free = card.free_slots
            placement[uuid] = tuple(free[: card.slots_for(kind)] if kind.slots_per_gpu > 1 else free)
        lease = self._insert(user, server, kind, ())
        return self._grant(lease, kind, placement)

    # --- questions -------------------------------------------------------------------------------

    def lease(self, lease_id: int) -> Lease:
        """The lease of that number, open or closed. Raises KeyError where there is none."""
        if lease_id in self._open:
            return self._open[lease_id]
        with self._db.connect() as connection:
            row = connection.execute(
                tables.lease.select().where(tables.lease.c.id == lease_id)
            ).one_or_none()
            if row is None:
                raise KeyError(lease_id)
            held = connection.execute(
                sa.select(tables.lease_gpu.c.gpu_uuid)
                .where(tables.lease_gpu.c.lease_id == lease_id)
                .order_by(tables.lease_gpu.c.id)
            ).scalars()
            return _lease_from(row, tuple(dict.fromkeys(held)))

    def open_leases(self) -> tuple[Lease, ...]:
        """Tickets and held leases."""
        return tuple(self._open.values())

    def held(self) -> tuple[Lease, ...]:
        """Leases that hold a machine."""
        return tuple(lease for lease in self._open.values() if lease.is_held)

    def waiting(self) -> tuple[Lease, ...]:
        """Tickets in line, those that nobody has claimed since a restart included."""
        return tuple(lease for lease in self._open.values() if lease.is_waiting)

    def availability(self, machine: MachineType) -> Availability:
        """How many machines of the type there are, are free and are waited for."""
        waiting = sum(lease.machine == machine.name for lease in self.waiting())
        if machine.count == 0:
            held = sum(lease.machine == machine.name for lease in self.held())
            return Availability(total=0, free=0, waiting=0, in_use=held)
        cards = self._matching(machine)
        serving = [card for card in cards if card.in_service]
        per_card = machine.slots_per_gpu
        total = len(serving) * per_card // machine.count
        if per_card > 1:
            room = (len(card.free_slots) // card.slots_for(machine) for card in serving)
            free = sum(room)
        else:
            free = sum(card.is_whole for card in serving) // machine.count
        return Availability(total, free, waiting, total - free, self._shortage(machine, cards))

    def _shortage(self, machine: MachineType, cards: Sequence[Card]) -> str:
        """A sentence where not all GPUs of the type serve; empty where they do."""
        if not cards:
            return "No such GPU here"
        out = [card for card in cards if not card.in_service]
        if not out:
            if len(cards) < machine.count:
                return f"Only {len(cards)} such GPU{'s' if len(cards) > 1 else ''} here"
            return ""
        reason = out[0].gpu.problem or f"Taken out of service: {out[0].drain_reason}"
        return f"{len(out)} of {len(cards)} GPUs out of service. {reason}"

    def place(self, lease_id: int) -> Place:
        """The ticket's place among those who compete for the same GPUs, with an estimate."""
        lease = self._open.get(lease_id)
        if lease is None or not lease.is_waiting:
            return Place(position=0, waiting=0)
        machine = self._machine_of(lease)
        order = self._order_for(machine)
        position = order.index_of[lease.id] + 1
        seconds, basis = order.estimates.of(position, self.clock())
        serving = sum(card.in_service for card in self._matching(machine))
        blocked = ""
        if serving < machine.count:
            blocked = self._shortage(machine, self._matching(machine)) or "Its GPUs are not here."
        return Place(position, len(order.index_of), None if blocked else seconds, basis, blocked)

    def _order_for(self, machine: MachineType) -> _Order:
        """Everyone who competes for the type's GPUs, in the order in which they would be served."""
        cached = self._orders.get(machine.name)
        if cached is not None and cached[0] == self._version:
            return cached[1]
        now = self.clock()
        cards = self._matching(machine)
        rivals = [k for k in self._kinds.values() if any(k.matches(card.gpu) for card in cards)]
        names = {kind.name for kind in rivals} | {machine.name}
        tickets = [lease for lease in self._open.values() if lease.is_waiting and lease.machine in names]

        def turn(lease: Lease) -> tuple[float, ...]:
            if now - lease.requested_at >= self._patience:
                return (0, lease.requested_at, lease.id)
            return (1, self._shares.used(lease.user, now), lease.requested_at, lease.id)

        tickets.sort(key=turn)
        order = _Order(
            {lease.id: index for index, lease in enumerate(tickets)},
            Estimates(now, self._idle(cards), self._holdings(cards, now), self._wishes(tickets)),
        )
        self._orders[machine.name] = (self._version, order)
        return order

    def _idle(self, cards: Sequence[Card]) -> float:
        return sum(len(card.free_slots) / card.slots for card in cards if card.in_service)

    def _holdings(self, cards: Sequence[Card], now: float) -> list[Holding]:
        shares: dict[int, float] = {}
        for card in cards:
            for holder in card.holders.values():
                if card.in_service:
                    shares[holder] = shares.get(holder, 0.0) + 1 / card.slots
        found = []
        for lease_id, share in shares.items():
            lease = self._open[lease_id]
            elapsed = now - (lease.granted_at or now)
            limit = self._machine_of(lease).time_limit_seconds
            seconds, basis = self._history.remaining(lease.machine, elapsed, limit)
            found.append(Holding(now + seconds, share, basis))
        return found

    def _wishes(self, tickets: Sequence[Lease]) -> list[Wish]:
        wishes = []
        for ticket in tickets:
            kind = self._machine_of(ticket)
            length, _ = self._history.remaining(kind.name, 0.0, kind.time_limit_seconds)
            wishes.append(Wish(kind.gpu_share, length))
        return wishes

    # --- refusals --------------------------------------------------------------------------------

    def _refuse_what_cannot_be(self, user: str, server: str, machine: MachineType) -> None:
        if machine.count == 0:
            return
        cards = self._matching(machine)
        if not cards:
            kinds = sorted({card.gpu.model for card in self._cards.values()})
            here = f"There are: {', '.join(kinds)}." if kinds else "No GPU was found at all."
            raise PoolRefusal(
                f"No {machine.gpu or 'GPU'}{_slice_words(machine)} is in this machine, so"
                f" {machine.title} cannot start. {here} Choose another machine type.",
                "no_such_gpu",
            )
        if len(cards) < machine.count:
            raise PoolRefusal(
                f"{machine.title} needs {machine.count} GPUs and there are only {len(cards)} such."
                " Choose a smaller machine type.",
                "too_many",
            )
        if sum(card.in_service for card in cards) < machine.count:
            raise PoolRefusal(
                f"{machine.title} cannot start: {self._shortage(machine, cards)}"
                " Choose another machine type, or ask the admin.",
                "out_of_service",
            )
        self._refuse_over_quota(user, server, machine)

    def _refuse_over_quota(self, user: str, server: str, machine: MachineType) -> None:
        if not self._max_gpus:
            return
        if machine.gpu_share > self._max_gpus:
            raise PoolRefusal(
                f"{machine.title} takes {machine.gpu_share:g} GPUs and the limit is"
                f" {self._max_gpus} for each user. Choose a smaller machine type.",
                "over_quota",
            )
        mine = [
            self._machine_of(lease).gpu_share
            for lease in self._open.values()
            if lease.user == user and lease.server != server
        ]
        if sum(mine) + machine.gpu_share > self._max_gpus:
            raise PoolRefusal(
                f"You hold or wait for {sum(mine):g} GPUs and the limit is {self._max_gpus} for each"
                " user. Stop one of your machines first.",
                "over_quota",
            )

    # --- serving the line ------------------------------------------------------------------------

    def _serve(self) -> tuple[Lease, ...]:
        self._news.extend(self._serve_types(self._kinds.values()))
        return self.served()

    def _serve_types(self, kinds: Iterable[MachineType]) -> list[Lease]:
        """Grant all that can be granted to tickets of those types, in order."""
        now = self.clock()
        wanted = {kind.name for kind in kinds if len(self._lines.get(kind.name, ()))}
        if not wanted:
            return []
        kept = self._kept_for_due(now, wanted)
        granted = kept.granted
        open_types = {name for name in wanted if name not in kept.blocked and len(self._lines[name])}
        while open_types:
            name, ticket = min(
                (
                    (name, ticket)
                    for name in open_types
                    if (ticket := self._lines[name].fairest(now)) is not None
                ),
                key=lambda one: (*self._lines[one[0]].key(one[1], now), one[1].id),
                default=(None, None),
            )
            if name is None or ticket is None:
                break
            lease = self._try(ticket, self._kinds[name], kept.gpus)
            if lease is None:
                open_types.discard(name)
            else:
                granted.append(lease)
        return granted

    def _kept_for_due(self, now: float, wanted: set[str]) -> _Kept:
        """Serve those who have waited too long to be overtaken, and keep GPUs for the others."""
        kept = _Kept(set(), set(), [])
        heads = [
            (ticket.requested_at, ticket.id, name)
            for name, line in self._lines.items()
            if (ticket := line.oldest()) is not None and now - ticket.requested_at >= self._patience
        ]
        heapq.heapify(heads)
        while heads:
            _, _, name = heapq.heappop(heads)
            machine, line = self._kinds[name], self._lines[name]
            ticket = line.oldest()
            assert ticket is not None
            lease = self._try(ticket, machine, kept.gpus)
            if lease is None:
                # All in this line want the same: none of them can be placed now.
                kept.blocked.add(name)
                left = (card for card in self._matching(machine) if card.in_service)
                kept.gpus |= keep_for(machine, [c for c in left if c.gpu.uuid not in kept.gpus])
                continue
            kept.granted.append(lease)
            following = line.oldest()
            if following is not None and now - following.requested_at >= self._patience:
                heapq.heappush(heads, (following.requested_at, following.id, name))
        return kept

    def _try(self, ticket: Ticket, machine: MachineType, kept: set[str]) -> Lease | None:
        if machine.count == 0:
            return self._grant(self._open[ticket.id], machine, {})
        cards = [card for card in self._serving(machine) if card.gpu.uuid not in kept]
        placement = place(machine, cards)
        if placement is None:
            return None
        return self._grant(self._open[ticket.id], machine, placement)

    # --- writing ---------------------------------------------------------------------------------

    def _insert(
        self, user: str, server: str, machine: MachineType, groups: Sequence[str]
    ) -> Lease:
        now = self.clock()
        with self._db.begin() as connection:
            key = connection.execute(
                tables.lease.insert().values(
                    user=user,
                    server=server,
                    machine=machine.name,
                    title=machine.title,
                    count=machine.count,
                    slots_per_gpu=machine.slots_per_gpu,
                    mig_profile=machine.mig_profile,
                    price_per_hour=machine.price_per_hour,
                    groups=list(groups),
                    requested_at=now,
                )
            ).inserted_primary_key
        assert key is not None
        lease = Lease(key[0], user, server, machine.name, (), now, None, None, None)
        self._remember(lease, machine)
        return lease

    def _grant(self, lease: Lease, machine: MachineType, placement: Placement) -> Lease:
        """Write GPUs into the row. Raises IntegrityError where the database knows a holder."""
        now = self.clock()
        rows = [
            {
                "lease_id": lease.id,
                "gpu_uuid": uuid,
                "slot": slot,
                "slots": self._cards[uuid].slots,
                "open": True,
            }
            for uuid, slots in placement.items()
            for slot in slots
        ]
        with self._db.begin() as connection:
            connection.execute(
                tables.lease.update().where(tables.lease.c.id == lease.id).values(granted_at=now)
            )
            if rows:
                connection.execute(tables.lease_gpu.insert(), rows)
        for uuid, slots in placement.items():
            self._cards[uuid].holders.update(dict.fromkeys(slots, lease.id))
            self._note_room(uuid)
        line = self._lines.get(machine.name)
        if line is not None:
            line.remove(lease.id)
        self._shares.begin(lease.user, lease.id, machine.gpu_share, now)
        granted = replace(lease, granted_at=now, gpus=tuple(placement))
        self._open[lease.id] = granted
        self._version += 1
        return granted

    def _close(self, lease: Lease, reason: str) -> tuple[Lease, ...]:
        now = self.clock()
        with self._db.begin() as connection:
            connection.execute(
                tables.lease.update()
                .where(tables.lease.c.id == lease.id)
                .values(released_at=now, end_reason=reason)
            )
            connection.execute(
                tables.lease_gpu.update()
                .where(tables.lease_gpu.c.lease_id == lease.id)
                .values(open=False)
            )
        machine = self._machine_of(lease)
        del self._open[lease.id]
        del self._by_server[lease.user, lease.server]
        self._unclaimed.pop(lease.id, None)
        if lease.is_held:
            assert lease.granted_at is not None
            self._shares.end(lease.user, lease.id, now)
            self._history.ended(lease.machine, now - lease.granted_at)
        else:
            self._lines[machine.name].remove(lease.id)
        for uuid in lease.gpus:
            card = self._cards[uuid]
            card.holders = {slot: one for slot, one in card.holders.items() if one != lease.id}
            self._note_room(uuid)
        self._version += 1
        if self._shares.needs_rebase(now):
            self._load()
        return self._serve()

    # --- memory: a cache of the database ---------------------------------------------------------

    def _load(self) -> None:
        now = self._opened_at = self.clock()
        claimed = set(self._open) - set(self._unclaimed) if hasattr(self, "_open") else set()
        self._version = 0
        self._kinds: dict[str, MachineType] = dict(self._machines)
        self._open: dict[int, Lease] = {}
        self._by_server: dict[tuple[str, str], int] = {}
        self._unclaimed: dict[int, Lease] = {}
        self._lines: dict[str, Line] = {}
        self._shares = FairShare(self._half_life, now)
        self._history = History()
        self._orders: dict[str, tuple[int, _Order]] = {}
        self._cards: dict[str, Card] = {}
        with self._db.begin() as connection:
            self.hub_id: str = connection.scalars(sa.select(tables.hub.c.id)).one()
            self._load_cards(connection)
            self._load_open(connection, claimed)
            self._load_past(connection, now)
        self._forget_matches()

    def _load_cards(self, connection: sa.Connection) -> None:
        held = set(
            connection.scalars(
                sa.select(tables.lease_gpu.c.gpu_uuid).where(tables.lease_gpu.c.open.is_(True))
            )
        )
        for row in connection.execute(tables.gpu.select()).mappings():
            # A GPU that was lost and is nobody's is known again when the driver lists it.
            if row["problem"] and row["uuid"] not in held:
                continue
            told = ("uuid", "model", "memory_mib", "index", "mig_profile", "parent", "problem")
            gpu = GPU(**{name: row[name] for name in told})
            self._cards[gpu.uuid] = Card(gpu, self._division(gpu), row["drain_reason"])

    def _load_open(self, connection: sa.Connection, claimed: set[int]) -> None:
        slots = _open_slots(connection)
        rows = connection.execute(
            tables.lease.select()
            .where(tables.lease.c.released_at.is_(None))
            .order_by(tables.lease.c.requested_at, tables.lease.c.id)
        ).all()
        for row in rows:
            machine = self._machines.get(row.machine) or MachineType(
                name=row.machine,
                title=row.title,
                count=row._mapping["count"],
                slots_per_gpu=row.slots_per_gpu,
                mig_profile=row.mig_profile,
            )
            self._kinds.setdefault(machine.name, machine)
            gpus = tuple(slots.get(row.id, {}))
            lease = _lease_from(row, gpus)
            self._remember(lease, machine)
            if lease.is_held:
                assert lease.granted_at is not None
                self._shares.begin(lease.user, lease.id, machine.gpu_share, lease.granted_at)
                for uuid, taken in slots.get(row.id, {}).items():
                    self._hold_again(connection, lease.id, uuid, taken)
            elif lease.id in claimed:
                self._join_line(lease, machine)
            else:
                self._unclaimed[lease.id] = lease
                self._lines.setdefault(machine.name, Line(self._shares))

    def _hold_again(
        self, connection: sa.Connection, lease_id: int, uuid: str, taken: list[tuple[int, int]]
    ) -> None:
        """Take up a held slot; re-express it where the config now divides the card otherwise."""
        card = self._cards[uuid]
        divided = taken[0][1]
        finer = math.lcm(card.slots, divided)
        if finer != card.slots:
            self._divide(connection, card, finer)
        factor = card.slots // divided
        slots = [slot * factor + part for slot, _ in taken for part in range(factor)]
        if factor > 1:
            _rewrite_slots(connection, lease_id, uuid, slots, card.slots)
        card.holders.update(dict.fromkeys(slots, lease_id))

    def _divide(self, connection: sa.Connection, card: Card, slots: int) -> None:
        factor = slots // card.slots
        finer: dict[int, int] = {}
        for slot, holder in card.holders.items():
            finer.update({slot * factor + part: holder for part in range(factor)})
        for holder in set(finer.values()):
            mine = sorted(slot for slot, one in finer.items() if one == holder)
            _rewrite_slots(connection, holder, card.gpu.uuid, mine, slots)
        card.holders, card.slots = finer, slots

    def _load_past(self, connection: sa.Connection, now: float) -> None:
        since = now - _HALF_LIVES_REMEMBERED * self._half_life
        columns = tables.lease.c
        past = connection.execute(
            tables.lease.select()
            .where(columns.released_at > since, columns.granted_at.is_not(None))
            .order_by(columns.released_at)
        )
        for row in past:
            share = row._mapping["count"] / row.slots_per_gpu
            self._shares.add_past(row.user, share, row.granted_at, row.released_at)
            self._history.ended(row.machine, row.released_at - row.granted_at)

    def _remember(self, lease: Lease, machine: MachineType) -> None:
        self._kinds.setdefault(machine.name, machine)
        self._open[lease.id] = lease
        self._by_server[lease.user, lease.server] = lease.id
        self._version += 1

    def _join_line(self, lease: Lease, machine: MachineType) -> None:
        line = self._lines.setdefault(machine.name, Line(self._shares))
        line.add(Ticket(lease.id, lease.user, lease.requested_at), self.clock())

    def _machine_of(self, lease: Lease) -> MachineType:
        return self._kinds[lease.machine]

    def _division(self, gpu: GPU) -> int:
        """Slots into which the card is divided: what all types that match it have in common."""
        return math.lcm(*(m.slots_per_gpu for m in self._machines.values() if m.matches(gpu)), 1)

    def _matching(self, machine: MachineType) -> list[Card]:
        """All GPUs that machines of the type run on, whatever their state, in the driver's order."""
        if machine.name not in self._matches:
            found = [card for card in self._cards.values() if machine.matches(card.gpu)]
            self._matches[machine.name] = sorted(found, key=lambda card: card.gpu.index)
        return self._matches[machine.name]

    def _serving(self, machine: MachineType) -> list[Card]:
        """Those of them that may be handed out and have room."""
        if len(self._with_room) * 4 < len(self._cards):
            few = [self._cards[uuid] for uuid in self._with_room]
            matching = [card for card in few if machine.matches(card.gpu)]
            matching.sort(key=lambda card: card.gpu.index)
        else:
            matching = self._matching(machine)
        return [card for card in matching if card.in_service]

    def _note_room(self, uuid: str) -> None:
        card = self._cards[uuid]
        if len(card.holders) < card.slots:
            self._with_room.add(uuid)
        else:
            self._with_room.discard(uuid)

    def _forget_matches(self) -> None:
        self._matches: dict[str, list[Card]] = {}
        self._with_room = {
            uuid for uuid, card in self._cards.items() if len(card.holders) < card.slots
        }
        self._version += 1


def _state(card: Card) -> GPUState:
    holders = tuple(sorted(set(card.holders.values())))
    if card.gpu.problem:
        return GPUState("lost", card.gpu.problem, card.slots, holders)
    if card.drain_reason is not None:
        return GPUState("draining" if holders else "drained", card.drain_reason, card.slots, holders)
    return GPUState("leased" if holders else "ready", "", card.slots, holders)


def _slice_words(machine: MachineType) -> str:
    return f" with a {machine.mig_profile} slice" if machine.mig_profile else ""


def _lease_from(row: Any, gpus: tuple[str, ...]) -> Lease:
    return Lease(
        id=row.id,
        user=row.user,
        server=row.server,
        machine=row.machine,
        gpus=gpus,
        requested_at=row.requested_at,
        granted_at=row.granted_at,
        released_at=row.released_at,
        end_reason=row.end_reason,
    )


def _open_slots(connection: sa.Connection) -> dict[int, dict[str, list[tuple[int, int]]]]:
    """(slot, slots) of open rows, by lease and GPU, in the order in which they were written."""
    found: dict[int, dict[str, list[tuple[int, int]]]] = {}
    rows = connection.execute(
        tables.lease_gpu.select().where(tables.lease_gpu.c.open.is_(True)).order_by(tables.lease_gpu.c.id)
    )
    for row in rows:
        found.setdefault(row.lease_id, {}).setdefault(row.gpu_uuid, []).append((row.slot, row.slots))
    return found


def _rewrite_slots(
    connection: sa.Connection, lease_id: int, uuid: str, slots: Sequence[int], division: int
) -> None:
    held = tables.lease_gpu.c
    connection.execute(
        tables.lease_gpu.delete().where(
            held.lease_id == lease_id, held.gpu_uuid == uuid, held.open.is_(True)
        )
    )
    connection.execute(
        tables.lease_gpu.insert(),
        [
            {"lease_id": lease_id, "gpu_uuid": uuid, "slot": slot, "slots": division, "open": True}
            for slot in slots
        ],
    )
