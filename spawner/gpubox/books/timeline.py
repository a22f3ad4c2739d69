"""Which GPU was whose and when, and what it did: for the page of a day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from .. import db as tables
from .periods import Period

_gpu, _lease, _held, _use = tables.gpu.c, tables.lease.c, tables.lease_gpu.c, tables.gpu_use.c


@dataclass(frozen=True)
class Span:
    """A lease of the GPU, from ``begin`` to ``end``, as far as it lay in the period.

    It had those ``slots``, counted from 0, of the ``of_slots`` into which the GPU was divided.
    """

    lease: int
    user: str
    server: str
    machine: str
    groups: tuple[str, ...]
    slots: tuple[int, ...]
    of_slots: int
    begin: float
    end: float
    is_open: bool


@dataclass(frozen=True)
class Use:
    """What the GPU did for a lease (0: for nobody) in the quarter of an hour from ``begin`` on.

    ``utilisation`` is the mean while it was looked at, 0 to 1; None where nobody did.
    """

    begin: int
    lease: int
    measured_seconds: float
    idle_seconds: float
    utilisation: float | None


@dataclass(frozen=True)
class Timeline:
    """One GPU's time, in order."""

    uuid: str
    index: int
    model: str
    mig_profile: str | None
    parent: str | None
    spans: list[Span] = field(default_factory=list)
    use: list[Use] = field(default_factory=list)


def history(engine: sa.Engine, period: Period, now: float) -> dict[str, Timeline]:
    """By UUID the GPUs of the ledger, in the driver's order, with what was theirs in the period.

    A lease that goes on ends ``now``.
    """
    with engine.connect() as connection:
        told = (_gpu.uuid, _gpu.index, _gpu.model, _gpu.mig_profile, _gpu.parent)
        found = connection.execute(sa.select(*told).order_by(_gpu.index, _gpu.uuid))
        timelines = {row.uuid: Timeline(*row) for row in found}
        slots = connection.execute(_spans(period, now)).mappings()
        for (_, uuid), rows in groupby(slots, key=lambda row: (row["id"], row["gpu_uuid"])):
            timelines[uuid].spans.append(_span(list(rows), period, now))
        in_period = (_use.begin > period.begin - tables.USE_SECONDS, _use.begin < period.end)
        use = sa.select(
            *(_use.gpu_uuid, _use.begin, _use.lease_id),
            *(_use.measured_seconds, _use.idle_seconds, _use.utilised_seconds),
        ).where(*in_period)
        for uuid, begin, lease, measured, idle, utilised in connection.execute(use.order_by(_use.begin)):
            if uuid in timelines:
                mean = utilised / measured if measured > 0 else None
                timelines[uuid].use.append(Use(begin, lease, measured, idle, mean))
    return timelines


def _spans(period: Period, now: float) -> sa.Select[Any]:
    """A row for each slot that a lease held; each lease's together."""
    told = ("id", "user", "server", "machine", "groups", "granted_at", "released_at")
    ended = sa.func.coalesce(_lease.released_at, now)
    granted = _lease.granted_at + 0.0  # a sum, of which no index knows: most leases were granted before
    return (
        sa.select(*(_lease[name] for name in told), _held.gpu_uuid, _held.slot, _held.slots)
        .select_from(sa.join(tables.lease, tables.lease_gpu, _held.lease_id == _lease.id))
        .where(
            granted < period.end,
            # An index knows these; a clock that was set back may have ended a lease before it began.
            sa.or_(_lease.released_at.is_(None), _lease.released_at > period.begin),
            ended > period.begin,
            ended > _lease.granted_at,
        )
        .order_by(granted, _lease.id, _held.gpu_uuid, _held.slot)
    )


def _span(rows: Sequence[sa.RowMapping], period: Period, now: float) -> Span:
    row = rows[0]
    released = row["released_at"]
    return Span(
        lease=row["id"],
        user=row["user"],
        server=row["server"],
        machine=row["machine"],
        groups=tuple(row["groups"]),
        slots=tuple(one["slot"] for one in rows),
        of_slots=row["slots"],
        begin=max(row["granted_at"], period.begin),
        end=min(now if released is None else released, period.end),
        is_open=released is None,
    )
