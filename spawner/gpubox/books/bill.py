"""The bill: what was used in a period and what that cost, by user, group, machine type, month or day."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import astuple, dataclass, replace
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
    if period.end <= period.begin:
        raise BooksProblem("That period ends before it begins.")
    whole = [Slice("all", period.begin, period.end)]
    chosen = _Chosen(engine.dialect.name, now, user, None if groups is None else sorted(groups))
    with engine.connect() as connection:
        if by in ("month", "day"):
            slices = cut(period, "month" if by == "month" else "day")
            rows = _in_order(_read(connection, chosen.sums(slices, None)), slices, now)
            total = replace(_sum(rows), leases=connection.scalar(chosen.number_of_leases(whole)) or 0)
        else:
            found = _read(connection, chosen.sums(whole, by))
            rows = [replace(row, name=NO_GROUP if name is None else name) for name, row in found.items()]
            rows.sort(key=lambda one: (-one.gpu_hours, -one.hours, one.name))
            total = _sum(rows)
        if by == "group":
            total = _read(connection, chosen.sums(whole, None)).get(0, total)
    return Bill(by, period, tuple(rows), replace(total, name="all"))


def _in_order(found: dict[Any, Usage], slices: Sequence[Slice], now: float) -> list[Usage]:
    """A row for each slice, those to come left out unless there is something in them."""
    return [
        replace(found.get(number, _NOTHING), name=part.name)
        for number, part in enumerate(slices)
        if number in found or part.begin < now
    ]


def _sum(rows: Iterable[Usage]) -> Usage:
    figures = (astuple(row)[1:] for row in rows)
    return Usage("all", *(sum(column) for column in zip(astuple(_NOTHING)[1:], *figures, strict=True)))


@dataclass(frozen=True)
class _Chosen:
    """The leases that are asked for, and how to sum them up."""

    dialect: str
    now: float
    user: str | None
    groups: list[str] | None

    def sums(self, slices: Sequence[Slice], by: Key | None) -> sa.Select[Any]:
        """A query of sums by the number of the slice, or with ``by``, for one slice, by that."""
        parts = _table(slices)
        leases = self._leases(Period(slices[0].begin, slices[-1].end), by)
        held, idle = _lain_in(parts, leases).cte("held").c, _looked_at(parts).cte("idle").c
        # A machine's price is for all of its GPUs; what a row of `gpu_use` tells is of one.
        measured, unused = (sa.func.coalesce(each, 0.0) / 3600.0 for each in (idle.measured, idle.idle))
        both = sa.and_(held.id == idle.lease_id, held.n == idle.n)
        key = held.n if by is None else held.key
        return (
            sa.select(
                key,
                sa.func.count(),
                sa.func.sum(held.hours),
                sa.func.sum(held.hours * held.gpus / held.slots_per_gpu),
                sa.func.sum(unused / held.slots_per_gpu),
                sa.func.sum(measured / held.slots_per_gpu),
                sa.func.sum(held.hours * held.price_per_hour),
                sa.func.sum(sa.case((held.gpus > 0, unused * held.price_per_hour / held.gpus), else_=0.0)),
            )
            .select_from(sa.outerjoin(held.id.table, idle.lease_id.table, both))
            .group_by(key)
        )

    def number_of_leases(self, whole: Sequence[Slice]) -> sa.Select[Any]:
        """A query of how many leases there are in one slice."""
        leases = self._leases(Period(whole[0].begin, whole[0].end), None)
        parts = _table(whole)
        return sa.select(sa.func.count()).select_from(_lain_in(parts, leases).subquery())

    def _leases(self, period: Period, by: Key | None) -> sa.CTE:
        """What lay in the period at all; by group a row for each group."""
        source: Any = tables.lease
        key: Any = {"user": _lease.user, "machine": _lease.machine}.get(by or "", sa.null())
        conditions = self._filters()
        if by == "group":
            member = self._groups_of_lease()
            source, key = source.join(member, sa.true(), isouter=True), member.c.value
            if self.groups is not None:
                conditions.append(member.c.value.in_(self.groups))
        query = sa.select(
            _lease.id,
            key.label("key"),
            _lease.granted_at.label("begin"),
            sa.func.coalesce(_lease.released_at, self.now).label("end"),
            (_lease["count"] * 1.0).label("gpus"),
            _lease.slots_per_gpu,
            _lease.price_per_hour,
        ).select_from(source)
        in_period = (
            _lease.granted_at < period.end,
            sa.or_(_lease.released_at.is_(None), _lease.released_at > period.begin),
        )
        # Once and first: an index knows them, and what follows goes through them again and again.
        return query.where(*in_period, *conditions).cte("lease_of_period").prefix_with("MATERIALIZED")

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


def _table(slices: Sequence[Slice]) -> sa.CTE:
    """The slices by number; ``first`` and ``after`` are their seconds as `gpu_use` counts them, in integers:
    PostgreSQL's index knows no others."""
    columns = (
        *(sa.column("n", sa.Integer), sa.column("begin", sa.Double), sa.column("end", sa.Double)),
        *(sa.column("first", sa.BigInteger), sa.column("after", sa.BigInteger)),
    )
    rows = [
        (number, one.begin, one.end, math.ceil(one.begin), math.ceil(one.end))
        for number, one in enumerate(slices)
    ]
    return sa.values(*columns).data(rows).cte("slice")


def _lain_in(parts: sa.CTE, leases: sa.CTE) -> sa.Select[Any]:
    """A row for each lease and slice that it lay in, with its hours there."""
    begin = _larger(leases.c.begin, parts.c.begin)
    end = _smaller(leases.c.end, parts.c.end)
    told = (leases.c[name] for name in ("id", "key", "gpus", "slots_per_gpu", "price_per_hour"))
    # A clock that was set back may have ended a lease before it began: such a one lay in none.
    lain = sa.and_(parts.c.begin < leases.c.end, parts.c.end > leases.c.begin, end > begin)
    return sa.select(parts.c.n, *told, ((end - begin) / 3600.0).label("hours")).select_from(
        sa.join(leases, parts, lain)
    )


def _larger(one: Any, other: Any) -> sa.Case[Any]:
    return sa.case((one > other, one), else_=other)


def _smaller(one: Any, other: Any) -> sa.Case[Any]:
    return sa.case((one < other, one), else_=other)


def _looked_at(parts: sa.CTE) -> sa.Select[Any]:
    """For each lease and slice: the seconds in which its GPUs were looked at, and did nothing."""
    return (
        sa.select(
            _use.lease_id,
            parts.c.n,
            sa.func.sum(_use.measured_seconds).label("measured"),
            sa.func.sum(_use.idle_seconds).label("idle"),
        )
        .select_from(parts.join(tables.gpu_use, _use.begin >= parts.c.first))
        .where(_use.begin < parts.c.after, _use.lease_id != 0)
        .group_by(_use.lease_id, parts.c.n)
    )


def _read(connection: sa.Connection, query: Any) -> dict[Any, Usage]:
    # PostgreSQL sums to a number type of its own.
    return {
        key: Usage("", leases, *(float(figure) for figure in figures))
        for key, leases, *figures in connection.execute(query)
    }


_NOTHING = Usage("", 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
