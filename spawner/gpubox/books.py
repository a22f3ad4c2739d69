"""The books: what the ledger tells those who only read it. Who holds what, what was used, what it cost.

Reads the tables, beside a running hub or without one, and writes nothing: leases are ``pool``'s. Times are
seconds since the epoch; a month is one of the calendar of this machine's time zone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import sqlalchemy as sa

from . import db as tables
from .host import HostProblem

Key = Literal["user", "machine"]
_lease, _held = tables.lease.c, tables.lease_gpu.c


class BooksProblem(HostProblem):
    """The books cannot be read, or not as asked; the message says why and what to do."""


@dataclass(frozen=True)
class Period:
    """From ``begin`` until just before ``end``."""

    begin: float
    end: float


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


@dataclass(frozen=True)
class Usage:
    """What somebody, or a machine type, used in a period: leases, their hours, those of GPUs, and the bill.

    A quarter of a GPU for an hour is 0.25 GPU-hours; each lease has the price of its own day.
    """

    name: str
    leases: int
    hours: float
    gpu_hours: float
    cost: float


def open_books(url: str) -> sa.Engine:
    """The database of leases at an SQLAlchemy URL, to read. Raises `BooksProblem` where there is none."""
    try:
        engine = sa.create_engine(url)
        if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").is_file():
            raise BooksProblem(
                f"There are no leases yet: {engine.url.database} is made by the first start of a hub."
            )
        with engine.connect() as connection:
            if not sa.inspect(connection).has_table("lease"):
                raise BooksProblem(f"There are no leases yet in {engine.url.render_as_string()}.")
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0].rstrip(".")
        raise BooksProblem(f"The database of leases cannot be read: {reason}.") from error
    return engine


def month(text: str) -> Period:
    """The month ``2026-11``. Raises `BooksProblem` for anything else."""
    try:
        first = datetime.strptime(text, "%Y-%m")
    except ValueError as error:
        raise BooksProblem(f"{text!r} is no month: write it as 2026-11.") from error
    after = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    # `astimezone` takes what has no zone for local time, summer time and all.
    return Period(first.astimezone().timestamp(), after.astimezone().timestamp())


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


def usage(engine: sa.Engine, period: Period, now: float, by: Key = "user") -> list[Usage]:
    """What was used in the period, most GPU-hours first. A lease that goes on counts until ``now``."""
    ended = sa.func.coalesce(_lease.released_at, now)
    begin = sa.case((_lease.granted_at > period.begin, _lease.granted_at), else_=period.begin)
    end = sa.case((ended < period.end, ended), else_=period.end)
    hours = (end - begin) / 3600.0
    share = _lease["count"] * 1.0 / _lease.slots_per_gpu
    query = (
        sa.select(
            _lease[by],
            sa.func.count(),
            sa.func.sum(hours),
            sa.func.sum(hours * share),
            sa.func.sum(hours * _lease.price_per_hour),
        )
        # A clock that was set back may have ended a lease before it began.
        .where(_lease.granted_at.is_not(None), end > begin)
        .group_by(_lease[by])
    )
    with engine.connect() as connection:
        # PostgreSQL sums to a number type of its own.
        found = [
            Usage(name, leases, float(hours), float(gpu_hours), float(cost))
            for name, leases, hours, gpu_hours, cost in connection.execute(query)
        ]
    return sorted(found, key=lambda one: (-one.gpu_hours, -one.hours, one.name))


def total(rows: Sequence[Usage]) -> Usage:
    """All of it, as one."""
    return Usage(
        "all",
        sum(row.leases for row in rows),
        sum(row.hours for row in rows),
        sum(row.gpu_hours for row in rows),
        sum(row.cost for row in rows),
    )

