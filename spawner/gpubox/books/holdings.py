"""What is held now."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from .. import db as tables

_lease, _held = tables.lease.c, tables.lease_gpu.c


@dataclass(frozen=True)
class Holding:
    """A machine that is held: since when, its GPUs by UUID, and what it has cost until now."""

    user: str
    server: str
    machine: str
    gpus: tuple[str, ...]
    granted_at: float
    hours: float
    cost: float


def held(engine: sa.Engine, now: float) -> list[Holding]:
    """All machines that are held, the longest first."""
    with engine.connect() as connection:
        gpus: dict[int, list[str]] = {}
        open_gpus = sa.select(_held.lease_id, _held.gpu_uuid).where(_held.open.is_(True)).distinct()
        for lease_id, uuid in connection.execute(open_gpus.order_by(_held.gpu_uuid)):
            gpus.setdefault(lease_id, []).append(uuid)
        rows = connection.execute(
            tables.lease.select()
            .where(_lease.granted_at.is_not(None), _lease.released_at.is_(None))
            .order_by(_lease.granted_at)
        ).mappings()
        return [
            Holding(
                user=row["user"],
                server=row["server"],
                machine=row["machine"],
                gpus=tuple(gpus.get(row["id"], ())),
                granted_at=row["granted_at"],
                hours=(hours := max(0.0, now - row["granted_at"]) / 3600),
                cost=hours * row["price_per_hour"],
            )
            for row in rows
        ]
