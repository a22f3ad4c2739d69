"""Sums over leases, of one time or of several: the queries of the bill."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import sqlalchemy as sa

from .. import db as tables
from .periods import Period, Slice

_lease, _use = tables.lease.c, tables.gpu_use.c


@dataclass(frozen=True)
class Sums:
    """What leases took of a time: how many lay in it, how many of them began in it, and their figures.

    Hours and money as in `gpubox.books.Usage`. Of times that follow each other, what lay in the first and
    what began in the others are all leases, each once.
    """

    leases: int = 0
    begun: int = 0
    hours: float = 0.0
    gpu_hours: float = 0.0
    idle_gpu_hours: float = 0.0
    measured_gpu_hours: float = 0.0
    cost: float = 0.0
    idle_cost: float = 0.0

    def __add__(self, later: Sums) -> Sums:
        """Both, where the other time follows this one."""
        mine, others = vars(self), vars(later)
        both = {name: mine[name] + others[name] for name in mine}
        return Sums(**both | {"leases": self.leases + later.begun})


def together(parts: Iterable[Sums]) -> Sums:
    """The sum of parts of one time, where each lease is in one of them."""
    return Sums(*(sum(column) for column in zip(astuple(Sums()), *map(astuple, parts), strict=True)))


@dataclass(frozen=True)
class Whose:
    """Which leases are asked for: a user's, those of members of any of some groups, or all."""

    user: str | None = None
    groups: tuple[str, ...] | None = None

    def filters(self, table: Any, dialect: str) -> list[sa.ColumnElement[bool]]:
        """The conditions on the columns ``user`` and ``groups`` of a table."""
        filters: list[sa.ColumnElement[bool]] = []
        if self.user is not None:
            filters.append(table.user == self.user)
        if self.groups is not None:
            name = "json_each" if dialect == "sqlite" else "json_array_elements_text"
            member: Any = getattr(sa.func, name)(table.groups)
            member = member.table_valued(sa.column("value", sa.Text))
            filters.append(sa.exists(sa.select(sa.literal(1)).where(member.c.value.in_(self.groups))))
        return filters


def keys_of(table: Any, by: str | None) -> dict[str, Any]:
    """The columns that make the key: ``user``, ``machine``, ``groups`` in JSON; all with ``holder``."""
    every = {"user": table.user, "machine": table.machine, "groups": sa.cast(table.groups, sa.Text)}
    return every if by == "holder" else {by: every[by]} if by else {}


def first_of(connection: sa.Connection) -> float:
    """When the first lease of all began; infinity where there was none."""
    first = connection.scalar(sa.select(sa.func.min(_lease.granted_at)))
    return math.inf if first is None else float(first)


def read(connection: sa.Connection, query: sa.Select[Any]) -> dict[Any, Sums]:
    """The sums by the key, which is the first column or, of several, a tuple of them."""
    found = {}
    for row in connection.execute(query):
        # PostgreSQL sums to number types of its own.
        leases, begun, *figures = row[-len(vars(Sums())) :]
        keys = row[: -len(vars(Sums()))]
        key = keys[0] if len(keys) == 1 else tuple(keys)
        found[key] = Sums(int(leases), int(begun), *(float(figure) for figure in figures))
    return found


def of_leases(
    dialect: str, slices: Sequence[Slice], now: float, by: str | None, whose: Whose
) -> sa.Select[Any]:
    """A query of sums by the number of the slice, or for one slice, by what `keys_of` knows."""
    parts = _table(slices)
    leases, keys = _leases(dialect, Period(slices[0].begin, slices[-1].end), now, by, whose)
    held, idle = _lain_in(parts, leases).cte("held").c, _looked_at(parts).cte("idle").c
    # A machine's price is for all of its GPUs; what a row of `gpu_use` tells is of one.
    measured, unused = (sa.func.coalesce(each, 0.0) / 3600.0 for each in (idle.measured, idle.idle))
    both = sa.and_(held.id == idle.lease_id, held.n == idle.n)
    key = [held[name] for name in keys] or [held.n]
    return (
        sa.select(
            *key,
            sa.func.count(),
            sa.func.sum(held.begun),
            sa.func.sum(held.hours),
            sa.func.sum(held.hours * held.gpus / held.slots_per_gpu),
            sa.func.sum(unused / held.slots_per_gpu),
            sa.func.sum(measured / held.slots_per_gpu),
            sa.func.sum(held.hours * held.price_per_hour),
            sa.func.sum(sa.case((held.gpus > 0, unused * held.price_per_hour / held.gpus), else_=0.0)),
        )
        .select_from(sa.outerjoin(held.id.table, idle.lease_id.table, both))
        .group_by(*key)
    )


def _leases(
    dialect: str, period: Period, now: float, by: str | None, whose: Whose
) -> tuple[sa.CTE, list[str]]:
    """What lay in the period at all, and the names of the key's columns."""
    keys = keys_of(_lease, by)
    query = sa.select(
        _lease.id,
        *(column.label(name) for name, column in keys.items()),
        _lease.granted_at.label("begin"),
        sa.func.coalesce(_lease.released_at, now).label("end"),
        (_lease["count"] * 1.0).label("gpus"),
        _lease.slots_per_gpu,
        _lease.price_per_hour,
    )
    in_period = (
        # A sum, which no index knows: most leases were granted before, and few released since.
        _lease.granted_at + 0.0 < period.end,
        sa.or_(_lease.released_at.is_(None), _lease.released_at > period.begin),
    )
    # Once and first: an index knows them, and what follows goes through them again and again.
    found = (
        query.where(*in_period, *whose.filters(_lease, dialect))
        .cte("lease_of_period")
        .prefix_with("MATERIALIZED")
    )
    return found, list(keys)


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
    told = [column for column in leases.c if column.name not in ("begin", "end")]
    # A clock that was set back may have ended a lease before it began: such a one lay in none.
    lain = sa.and_(parts.c.begin < leases.c.end, parts.c.end > leases.c.begin, end > begin)
    begun = sa.case((leases.c.begin >= parts.c.begin, 1), else_=0)
    return sa.select(
        parts.c.n, *told, ((end - begin) / 3600.0).label("hours"), begun.label("begun")
    ).select_from(sa.join(leases, parts, lain))


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
