"""The ledger: leases and GPUs as the database has them. It reads and writes; ``pool`` decides.

Every method is one transaction: whenever the process is killed, a row is either written or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from . import db as tables
from .inventory import GPU
from .machines import MachineType
from .placement import Card, Placement

_lease, _held, _gpu = tables.lease.c, tables.lease_gpu.c, tables.gpu.c


@dataclass(frozen=True)
class Lease:
    """One row of the ledger: a ticket while it waits, then a lease, in the end the bill.

    Times are seconds since the epoch; ``gpus`` are UUIDs.
    """

    id: int
    user: str
    server: str
    machine: str
    gpus: tuple[str, ...]
    requested_at: float
    granted_at: float | None
    released_at: float | None
    end_reason: str | None
    # The length that was chosen for it; None for one without an end.
    session_seconds: float | None = None
    ends_at: float | None = None
    ends_because: str | None = None
    rank: int = 0
    groups: tuple[str, ...] = ()

    @property
    def is_waiting(self) -> bool:
        """Whether it is a ticket in the line."""
        return self.granted_at is None and self.released_at is None

    @property
    def is_held(self) -> bool:
        """Whether it holds its machine."""
        return self.granted_at is not None and self.released_at is None


@dataclass(frozen=True)
class Terms:
    """What a lease was asked for at: a later change of the config does not change it.

    ``share`` is in GPUs, 0.25 for a quarter of one; ``groups`` are the user's at that time.
    """

    title: str
    share: float
    price_per_hour: float
    groups: tuple[str, ...]


@dataclass(frozen=True)
class HeldSlot:
    """Slot number ``slot`` of the ``slots`` into which the card was divided, and who holds it."""

    lease_id: int
    uuid: str
    slot: int
    slots: int


@dataclass(frozen=True)
class PastLease:
    """What a lease that has ended used: ``share`` GPUs for a time."""

    user: str
    machine: str
    share: float
    granted_at: float
    released_at: float


class Ledger:
    """Leases and GPUs in one database."""

    def __init__(self, db: sa.Engine) -> None:
        self._db = db

    def hub_id(self) -> str:
        """The id by which the hub's containers are known."""
        with self._db.connect() as connection:
            return connection.scalars(sa.select(tables.hub.c.id)).one()

    # --- GPUs ------------------------------------------------------------------------------------

    def gpus(self) -> list[tuple[GPU, str | None]]:
        """GPUs worth knowing at a start, each with the reason for which an admin drained it.

        One that was lost and is nobody's is not: it is known again when the driver lists it.
        """
        told = ("uuid", "model", "memory_mib", "index", "mig_profile", "parent", "problem")
        is_held = sa.exists().where(_held.gpu_uuid == _gpu.uuid, _held.open.is_(True))
        with self._db.connect() as connection:
            rows = connection.execute(tables.gpu.select().where(sa.or_(_gpu.problem == "", is_held)))
            return [
                (GPU(**{name: row[name] for name in told}), row["drain_reason"]) for row in rows.mappings()
            ]

    def write_gpus(self, gpus: Iterable[GPU], now: float) -> None:
        """Write down what is known of GPUs."""
        with self._db.begin() as connection:
            for gpu in gpus:
                values: dict[str, Any] = {
                    "model": gpu.model,
                    "memory_mib": gpu.memory_mib,
                    "index": gpu.index,
                    "mig_profile": gpu.mig_profile,
                    "parent": gpu.parent,
                    "problem": gpu.problem,
                }
                known = tables.gpu.update().where(_gpu.uuid == gpu.uuid).values(**values)
                if connection.execute(known).rowcount == 0:
                    connection.execute(tables.gpu.insert().values(uuid=gpu.uuid, first_seen=now, **values))

    def drain_reason(self, uuid: str) -> str | None:
        """Why an admin drained the GPU; None where nobody did."""
        with self._db.connect() as connection:
            return connection.scalar(sa.select(_gpu.drain_reason).where(_gpu.uuid == uuid))

    def set_drain(self, uuid: str, reason: str | None) -> None:
        """Write down that an admin drained the GPU, or with None that it serves again."""
        with self._db.begin() as connection:
            connection.execute(tables.gpu.update().where(_gpu.uuid == uuid).values(drain_reason=reason))

    # --- leases ----------------------------------------------------------------------------------

    def insert(
        self,
        user: str,
        server: str,
        machine: MachineType,
        groups: Sequence[str],
        now: float,
        session_seconds: float | None = None,
    ) -> Lease:
        """Write a ticket. Raises IntegrityError where the server has an open one."""
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
                    session_seconds=session_seconds,
                    requested_at=now,
                )
            ).inserted_primary_key
        assert key is not None
        return self.find(key[0])

    def grant(self, lease: Lease, placement: Placement, cards: Mapping[str, Card], now: float) -> Lease:
        """Write GPUs into the row. Raises IntegrityError where the database knows a holder."""
        ends_at = None if lease.session_seconds is None else now + lease.session_seconds
        ends_because = None if ends_at is None else "session"
        rows = [
            {"lease_id": lease.id, "gpu_uuid": uuid, "slot": slot, "slots": cards[uuid].slots, "open": True}
            for uuid, slots in placement.items()
            for slot in slots
        ]
        with self._db.begin() as connection:
            connection.execute(
                tables.lease.update()
                .where(_lease.id == lease.id)
                .values(granted_at=now, ends_at=ends_at, ends_because=ends_because)
            )
            if rows:
                connection.execute(tables.lease_gpu.insert(), rows)
        return replace(
            lease, granted_at=now, gpus=tuple(placement), ends_at=ends_at, ends_because=ends_because
        )

    def set_end(self, lease: Lease, ends_at: float | None, because: str | None) -> Lease:
        """Write down when a held lease will be stopped, and by what."""
        values = {"ends_at": ends_at, "ends_because": because}
        with self._db.begin() as connection:
            connection.execute(tables.lease.update().where(_lease.id == lease.id).values(**values))
        return replace(lease, ends_at=ends_at, ends_because=because)

    def set_rank(self, lease: Lease, rank: int) -> Lease:
        """Write down that an admin moved a ticket."""
        with self._db.begin() as connection:
            connection.execute(tables.lease.update().where(_lease.id == lease.id).values(rank=rank))
        return replace(lease, rank=rank)

    def close(self, lease: Lease, reason: str, now: float) -> None:
        """Close a ticket or a lease; its row stays, as the bill."""
        with self._db.begin() as connection:
            connection.execute(
                tables.lease.update()
                .where(_lease.id == lease.id)
                .values(released_at=now, end_reason=reason)
            )
            connection.execute(
                tables.lease_gpu.update().where(_held.lease_id == lease.id).values(open=False)
            )

    def find(self, lease_id: int) -> Lease:
        """The lease of that number, open or closed. Raises KeyError where there is none."""
        with self._db.connect() as connection:
            row = connection.execute(tables.lease.select().where(_lease.id == lease_id)).one_or_none()
            if row is None:
                raise KeyError(lease_id)
            gpus = connection.scalars(
                sa.select(_held.gpu_uuid).where(_held.lease_id == lease_id).order_by(_held.id)
            )
            return _as_lease(row, gpus)

    def open_terms(self) -> dict[int, Terms]:
        """The terms of all tickets and held leases, by number."""
        columns = (_lease.id, _lease.title, _lease["count"], _lease.slots_per_gpu, _lease.price_per_hour)
        query = sa.select(*columns, _lease.groups).where(_lease.released_at.is_(None))
        with self._db.connect() as connection:
            return {
                number: Terms(title, count / slots, price, tuple(groups))
                for number, title, count, slots, price, groups in connection.execute(query)
            }

    def open_leases(self) -> Iterator[tuple[Lease, MachineType]]:
        """Tickets and held leases, who asked first first, each with its machine type as it then was."""
        gpus: dict[int, list[str]] = {}
        for slot in self.held_slots():
            gpus.setdefault(slot.lease_id, []).append(slot.uuid)
        is_open = tables.lease.select().where(_lease.released_at.is_(None))
        with self._db.connect() as connection:
            rows = connection.execute(is_open.order_by(_lease.requested_at, _lease.id)).mappings().all()
        for row in rows:
            as_then = MachineType(
                name=row["machine"],
                title=row["title"],
                count=row["count"],
                slots_per_gpu=row["slots_per_gpu"],
                mig_profile=row["mig_profile"],
            )
            yield _as_lease(row, gpus.get(row["id"], [])), as_then

    def past_leases(self, since: float) -> list[PastLease]:
        """Leases that ended after ``since``, in the order in which they ended."""
        query = (
            tables.lease.select()
            .where(_lease.released_at > since, _lease.granted_at.is_not(None))
            .order_by(_lease.released_at)
        )
        with self._db.connect() as connection:
            return [
                PastLease(
                    user=row["user"],
                    machine=row["machine"],
                    share=row["count"] / row["slots_per_gpu"],
                    granted_at=row["granted_at"],
                    released_at=row["released_at"],
                )
                for row in connection.execute(query).mappings()
            ]

    # --- slots -----------------------------------------------------------------------------------

    def held_slots(self) -> list[HeldSlot]:
        """Slots that somebody holds, in the order in which they were written."""
        is_open = tables.lease_gpu.select().where(_held.open.is_(True)).order_by(_held.id)
        with self._db.connect() as connection:
            return [
                HeldSlot(row.lease_id, row.gpu_uuid, row.slot, row.slots)
                for row in connection.execute(is_open)
            ]

    def divide_anew(self, cards: Iterable[Card]) -> None:
        """Write the held slots of cards anew, as they are divided now."""
        with self._db.begin() as connection:
            for card in cards:
                uuid = card.gpu.uuid
                connection.execute(
                    tables.lease_gpu.delete().where(_held.gpu_uuid == uuid, _held.open.is_(True))
                )
                rows = [
                    {"lease_id": holder, "gpu_uuid": uuid, "slot": slot, "slots": card.slots, "open": True}
                    for slot, holder in card.holders.items()
                ]
                connection.execute(tables.lease_gpu.insert(), rows)


def _as_lease(row: Any, gpus: Iterable[str]) -> Lease:
    columns = row if isinstance(row, Mapping) else row._mapping
    told = ("id", "user", "server", "machine", "requested_at", "granted_at", "released_at", "end_reason")
    later = ("session_seconds", "ends_at", "ends_because", "rank")
    return Lease(
        **{name: columns[name] for name in told + later},
        gpus=tuple(dict.fromkeys(gpus)),
        groups=tuple(columns["groups"]),
    )
