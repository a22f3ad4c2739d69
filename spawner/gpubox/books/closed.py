"""Months that are over: what they came to never changes, so it is summed up once.

The service writes the sums (`gpubox.service.closing`); here they are made and read. What there are no sums of
is read from the leases, and is the same to the cent.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from .. import db as tables
from . import sums
from .periods import Period, Slice, whole_months
from .sums import Sums, Whose

# What a service that could not write for a while had seen of the month is written by then.
SETTLED_SECONDS = 86400.0
_LONGEST_MONTH = 32 * 86400.0
_month, _use = tables.closed_month.c, tables.closed_use.c


@dataclass(frozen=True)
class Holder:
    """What one user, in the same groups, used of a machine type in a month."""

    user: str
    machine: str
    groups: list[str]
    sums: Sums

    def columns(self) -> dict[str, Any]:
        """As a row of the table, without its month."""
        return {"user": self.user, "machine": self.machine, "groups": self.groups, **asdict(self.sums)}


def closed_months(connection: sa.Connection, period: Period, now: float) -> set[tuple[float, float]]:
    """Begin and end of each month of the period that there are sums of.

    Sums from the future, which a clock that was wrong has left, count for none.
    """
    query = sa.select(_month.begin, _month.end).where(
        _month.begin >= period.begin, _month.end <= period.end, _month.closed_at <= now
    )
    return {(begin, end) for begin, end in connection.execute(query)}


def months_to_close(engine: sa.Engine, now: float) -> list[Slice]:
    """The months that are over and settled, and not summed up yet; the oldest first."""
    with engine.connect() as connection:
        first, settled = sums.first_of(connection), now - SETTLED_SECONDS
        if first >= settled:
            return []
        known = closed_months(connection, Period(0.0, now), now)
    # From the first day of the month in which the first lease began.
    months = whole_months(Period(max(0.0, first - _LONGEST_MONTH), settled))
    return [one for one in months if one.end > first and (one.begin, one.end) not in known]


def sum_up(engine: sa.Engine, month: Slice, now: float) -> list[Holder]:
    """What a month that is over came to, for each holder."""
    with engine.connect() as connection:
        query = sums.of_leases(engine.dialect.name, [month], now, "holder", Whose())
        found = sums.read(connection, query)
    return [Holder(user, machine, json.loads(groups), one) for (user, machine, groups), one in found.items()]


def of_months(dialect: str, months: Sequence[Slice], by: str | None, whose: Whose) -> sa.Select[Any]:
    """A query of sums over closed months, in their order, by what `sums.keys_of` knows, or by ``month``.

    By the month the key is its begin; by anything else each lease counts once.
    """
    keys = [_use.begin] if by == "month" else list(sums.keys_of(_use, by).values())
    figures: dict[str, Any] = {name: _use[name] for name in vars(Sums())}
    if by != "month":
        figures["leases"] = sa.case((_use.begin == months[0].begin, _use.leases), else_=_use.begun)
    return (
        sa.select(*keys, *(sa.func.sum(figure) for figure in figures.values()))
        .where(_use.begin.in_([month.begin for month in months]), *whose.filters(_use, dialect))
        .group_by(*keys)
    )
