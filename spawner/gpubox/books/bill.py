"""The bill: what was used in a period and what that cost, by user, group, machine type, month or day."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any, Literal, get_args

import sqlalchemy as sa

from . import sums
from .closed import closed_months, of_months
from .periods import Period, Slice, cut
from .problem import BooksProblem
from .sums import Sums, Whose, together

Key = Literal["user", "group", "machine", "month", "day"]
KEYS: tuple[Key, ...] = get_args(Key)
NO_GROUP = "(no group)"


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
    with engine.connect() as connection:
        ledger = _Ledger(connection, period, now, Whose(user, None if groups is None else tuple(groups)))
        if by in ("month", "day"):
            rows = ledger.in_order("month" if by == "month" else "day")
            total = sum((one for _, one in rows[1:]), rows[0][1]) if rows else Sums()
        else:
            found = ledger.by("groups" if by == "group" else by)
            total = together(found.values())
            if by == "group":
                found = _of_each_group(found, groups)
            rows = sorted(found.items(), key=lambda row: (-row[1].gpu_hours, -row[1].hours, row[0]))
    return Bill(by, period, tuple(_usage(*row) for row in rows), _usage("all", total))


def _usage(name: str, of: Sums) -> Usage:
    return Usage(name, **{figure: value for figure, value in asdict(of).items() if figure != "begun"})


def _of_each_group(found: Mapping[str, Sums], asked: Collection[str] | None) -> dict[str, Sums]:
    """For each group, or of those asked for, the sum of all sets of groups (in JSON) that it is in."""
    sets: dict[str, list[Sums]] = {}
    for text, one in found.items():
        for group in json.loads(text) or [NO_GROUP]:
            if asked is None or group in asked:
                sets.setdefault(group, []).append(one)
    return {group: together(each) for group, each in sets.items()}


class _Ledger:
    """A period of the ledger, in runs: of closed months the sums that are kept, of the rest the leases."""

    def __init__(self, connection: sa.Connection, period: Period, now: float, whose: Whose) -> None:
        self._connection, self._period, self._now, self._whose = connection, period, now, whose
        self._closed = closed_months(connection, period, now)
        self._first = sums.first_of(connection)

    def in_order(self, by: Literal["month", "day"]) -> list[tuple[str, Sums]]:
        """What lay in each month or day; those to come left out unless there is something in them."""
        slices = cut(self._period, by)
        found: dict[float, Sums] = {}
        for is_closed, run in self._runs(slices):
            if is_closed:
                found |= self._read(of_months(self._dialect, run, "month", self._whose))
            else:
                told = self._read(sums.of_leases(self._dialect, run, self._now, None, self._whose))
                found |= {run[number].begin: one for number, one in told.items()}
        return [
            (one.name, found.get(one.begin, Sums()))
            for one in slices
            if one.begin in found or one.begin < self._now
        ]

    def by(self, key: str) -> dict[str, Sums]:
        """What each user, machine type or set of groups used of the whole."""
        found: dict[str, Sums] | None = None
        for is_closed, run in self._runs(self._months()):
            if is_closed:
                query = of_months(self._dialect, run, key, self._whose)
            else:
                whole = Slice("all", run[0].begin, run[-1].end)
                query = sums.of_leases(self._dialect, [whole], self._now, key, self._whose)
            told = self._read(query)
            if found is None:
                found = told
            else:
                found |= {name: found.get(name, Sums()) + one for name, one in told.items()}
        return found or {}

    def _months(self) -> list[Slice]:
        """The period, cut where that is of use; what is to come is in the last part."""
        if not self._closed:
            return [Slice("all", self._period.begin, self._period.end)]
        until_now = Period(self._period.begin, min(self._period.end, self._now))
        *months, last = cut(until_now, "month")
        return [*months, replace(last, end=self._period.end)]

    def _runs(self, slices: Iterable[Slice]) -> Iterator[tuple[bool, list[Slice]]]:
        """Slices that follow each other and are closed months, or are not; without those before any lease."""
        since_then = (one for one in slices if one.end > self._first)
        for is_closed, run in groupby(since_then, lambda one: (one.begin, one.end) in self._closed):
            yield is_closed, list(run)

    @property
    def _dialect(self) -> str:
        return self._connection.engine.dialect.name

    def _read(self, query: sa.Select[Any]) -> dict[Any, Sums]:
        return sums.read(self._connection, query)
