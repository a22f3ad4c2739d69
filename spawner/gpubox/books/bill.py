"""The bill: what was used in a period and what that cost, by user, group, machine type, month or day."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import sqlalchemy as sa

from .. import db as tables
from .periods import Period, Slice, cut
from .problem import BooksProblem

Key = Literal["user", "group", "machine", "month", "day"]
KEYS: tuple[Key, ...] = get_args(Key)
NO_GROUP = "(no group)"
_lease, _use = tables.lease.c, tables.gpu_use.c


@dataclass(frozen=True)
class Usage:
    """What somebody, a machine type or a day used: leases, their hours, those of GPUs, and the bill.

    A quarter of a GPU for an hour is 0.25 GPU-hours; each lease has the price of its own day.
    ``measured_gpu_hours`` is for how many of the GPU-hours somebody looked at what the GPU did, and
    ``idle_gpu_hours`` for how many of those it did nothing: of the rest nobody knows. ``idle_cost`` is what
    the idle ones cost.
    """

    name: str
    leases: int
    hours: float
    gpu_hours: float
    idle_gpu_hours: float
    measured_gpu_hours: float
    cost: float
    idle_cost: float

    @property
    def measured_share(self) -> float | None:
        """Which part of the GPU-hours was looked at, 0 to 1; None where there are none."""
        return min(1.0, self.measured_gpu_hours / self.gpu_hours) if self.gpu_hours else None


@dataclass(frozen=True)
class Bill:
    """Rows ``by`` what was asked for, and the ``total``, in which each lease counts once.

    By group a lease counts in each of its user's groups, and by day in each day that it lay in: rows may
    add up to more than the total.
    """

    by: Key
    period: Period
    rows: tuple[Usage, ...]
    total: Usage


def usage(
    engine: sa.Engine,
    period: Period,
    now: float,
    by: Key = "user",
    *,
    user: str | None = None,
    groups: Collection[str] | None = None,
) -> Bill:
    """What was used in the period; a lease that goes on counts until ``now``.

    ``user`` and ``groups`` ask for the leases of that user, of members of any of those groups; by group,
    it then tells of those groups alone. Members are who was one when the lease was asked for. Rows by
    month and day are in the calendar's order, those of nothing included; others by GPU-hours, the most
    first. A quarter of an hour in which a GPU was looked at counts where it begins. Raises `BooksProblem`.
    """
    if by not in KEYS:
        raise BooksProblem(f"There is no bill by {by!r}; there are: {', '.join(KEYS)}.")
    whole = [Slice("all", period.begin, period.end)]
    chosen = _Chosen(engine.dialect.name, now, user, None if groups is None else sorted(groups))
    with engine.connect() as connection:
        total = _read(connection, chosen.sums(whole, None)).get(0, _NOTHING)
        if by in ("month", "day"):
            slices = cut(period, "month" if by == "month" else "day")
            found = _read(connection, chosen.sums(slices, None))
            rows = [
                replace(found.get(number, _NOTHING), name=part.name)
                for number, part in enumerate(slices)
                if number in found or part.begin < now
            ]
        else:
            by_name = _read(connection, chosen.sums(whole, by))
            rows = [replace(row, name=NO_GROUP if name is None else name) for name, row in by_name.items()]
            rows.sort(key=lambda one: (-one.gpu_hours, -one.hours, one.name))
    return Bill(by, period, tuple(rows), replace(total, name="all"))


@dataclass(frozen=True)
class _Chosen:
    """The leases that are asked for, and how to sum them up."""

    dialect: str
    now: float
    user: str | None
    groups: list[str] | None

    def sums(self, slices: Sequence[Slice], by: Key | None) -> Any:
        """A query of sums by the number of the slice, or with ``by``, for one slice, by that."""
        parts = (
            sa.values(sa.column("n", sa.Integer), sa.column("begin", sa.Double), sa.column("end", sa.Double))
            .data([(number, one.begin, one.end) for number, one in enumerate(slices)])
            .cte("slice")
        )
        held = self._held(parts, Period(slices[0].begin, slices[-1].end), by).cte("held").c
        idle = _looked_at(parts).cte("idle").c
        # A machine's price is for all its GPUs; what a row tells is one GPU's.
        measured, unused = (sa.func.coalesce(each, 0.0) / 3600.0 for each in (idle.measured, idle.idle))
        return (
            sa.select(
                held.key,
                sa.func.count(),
                sa.func.sum(held.hours),
                sa.func.sum(held.hours * held.gpus / held.slots_per_gpu),
                sa.func.sum(unused / held.slots_per_gpu),
                sa.func.sum(measured / held.slots_per_gpu),
                sa.func.sum(held.hours * held.price),
                sa.func.sum(sa.case((held.gpus > 0, unused * held.price / held.gpus), else_=0.0)),
            )
            .select_from(
                sa.join(
                    held.key.table,
                    idle.lease_id.table,
                    sa.and_(held.id == idle.lease_id, held.n == idle.n),
                    isouter=True,
                )
            )
            .group_by(held.key)
        )

    def _held(self, parts: sa.CTE, period: Period, by: str | None) -> sa.Select[Any]:
        """A row for each lease and slice that it lay in, and by group for each group."""
        ended = sa.func.coalesce(_lease.released_at, self.now)
        begin = sa.case((_lease.granted_at > parts.c.begin, _lease.granted_at), else_=parts.c.begin)
        end = sa.case((ended < parts.c.end, ended), else_=parts.c.end)
        source: Any = tables.lease
        key: Any = parts.c.n if by is None else _lease.machine if by == "machine" else _lease.user
        conditions = []
        if by == "group":
            member = self._groups_of_lease()
            source, key = source.join(member, sa.true(), isouter=True), member.c.value
            if self.groups is not None:
                conditions.append(member.c.value.in_(self.groups))
        query = sa.select(
            parts.c.n,
            _lease.id,
            key.label("key"),
            ((end - begin) / 3600.0).label("hours"),
            (_lease["count"] * 1.0).label("gpus"),
            _lease.slots_per_gpu,
            _lease.price_per_hour.label("price"),
        )
        return (
            query.select_from(source.join(parts, end > begin))
            # First what lay in the period at all, which an index knows, then the slices. A clock that was
            # set back may have ended a lease before it began: such a one lay in none.
            .where(
                _lease.granted_at < period.end,
                sa.or_(_lease.released_at.is_(None), _lease.released_at > period.begin),
                *conditions,
                *self._filters(),
            )
        )

    def _filters(self) -> list[sa.ColumnElement[bool]]:
        filters: list[sa.ColumnElement[bool]] = []
        if self.user is not None:
            filters.append(_lease.user == self.user)
        if self.groups is not None:
            member = self._groups_of_lease()
            filters.append(sa.exists(sa.select(sa.literal(1)).where(member.c.value.in_(self.groups))))
        return filters

    def _groups_of_lease(self) -> Any:
        name = "json_each" if self.dialect == "sqlite" else "json_array_elements_text"
        function: Any = getattr(sa.func, name)(_lease.groups)
        return function.table_valued(sa.column("value", sa.Text))


def _looked_at(parts: sa.CTE) -> sa.Select[Any]:
    """For each lease and slice: the seconds in which its GPUs were looked at, and did nothing."""
    return (
        sa.select(
            _use.lease_id,
            parts.c.n,
            sa.func.sum(_use.measured_seconds).label("measured"),
            sa.func.sum(_use.idle_seconds).label("idle"),
        )
        .select_from(parts.join(tables.gpu_use, sa.and_(_use.begin >= parts.c.begin, _use.begin < parts.c.end)))
        .where(_use.lease_id != 0)
        .group_by(_use.lease_id, parts.c.n)
    )


def _read(connection: sa.Connection, query: Any) -> dict[Any, Usage]:
    # PostgreSQL sums to a number type of its own.
    return {
        key: Usage("", leases, *(float(figure) for figure in figures))
        for key, leases, *figures in connection.execute(query)
    }


_NOTHING = Usage("", 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
