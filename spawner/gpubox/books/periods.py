"""Days and months of the local calendar, summer time and all: a day may have 23 or 25 hours."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

from .problem import BooksProblem

_MOST_SLICES = 4000
# Beyond these the clocks of some machines end.
_FIRST_YEAR, _LAST_YEAR = 1971, 9998


@dataclass(frozen=True)
class Period:
    """From ``begin`` until just before ``end``."""

    begin: float
    end: float


@dataclass(frozen=True)
class Slice:
    """A part of a period by its name: ``2026-11`` or ``2026-11-23``."""

    name: str
    begin: float
    end: float


def month(text: str) -> Period:
    """The month ``2026-11``. Raises `BooksProblem` for anything else."""
    first = _parse(text, "%Y-%m", "month", "2026-11")
    return Period(_midnight(first), _midnight(_next_month(first)))


def day(text: str) -> Period:
    """The day ``2026-11-23``. Raises `BooksProblem` for anything else."""
    return days(text, text)


def days(first: str, last: str) -> Period:
    """From the first until the end of the last of two days. Raises `BooksProblem` for what is no day."""
    begin = _parse(first, "%Y-%m-%d", "day", "2026-11-23")
    end = _parse(last, "%Y-%m-%d", "day", "2026-11-23")
    if end < begin:
        raise BooksProblem(f"From {first} to {last} is no time: the last day comes before the first.")
    return Period(_midnight(begin), _midnight(end + timedelta(days=1)))


def cut(period: Period, by: Literal["month", "day"]) -> list[Slice]:
    """The period cut at each local midnight, or at that of each month's first day.

    Raises `BooksProblem` where that would be thousands of parts.
    """
    start = datetime.fromtimestamp(period.begin).date()
    if by == "month":
        start = start.replace(day=1)
    slices: list[Slice] = []
    while (begin := _midnight(start)) < period.end:
        after = _next_month(start) if by == "month" else start + timedelta(days=1)
        name = start.strftime("%Y-%m" if by == "month" else "%Y-%m-%d")
        slices.append(Slice(name, max(begin, period.begin), min(_midnight(after), period.end)))
        if len(slices) > _MOST_SLICES:
            raise BooksProblem(f"That is more than {_MOST_SLICES} {by}s: ask for a shorter time.")
        start = after
    return slices


def whole_months(period: Period) -> list[Slice]:
    """The months that lie in the period from their first until their last moment."""
    return [one for one in cut(period, "month") if (one.begin, one.end) == _month_of(one.begin)]


def _month_of(moment: float) -> tuple[float, float]:
    first = datetime.fromtimestamp(moment).date().replace(day=1)
    return _midnight(first), _midnight(_next_month(first))


def _parse(text: str, form: str, what: str, example: str) -> date:
    try:
        found = datetime.strptime(text, form).date()
    except ValueError as error:
        raise BooksProblem(f"{text!r} is no {what}: write it as {example}.") from error
    if not _FIRST_YEAR <= found.year <= _LAST_YEAR:
        raise BooksProblem(f"{text!r} is no {what} that a machine was leased in: write it as {example}.")
    return found


def _next_month(first: date) -> date:
    return first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)


def _midnight(of: date) -> float:
    # What has no zone is local time. Where the clock skips midnight, the day begins with the skip
    # (`astimezone` would say an hour before); where it shows midnight twice, with the first.
    return datetime(of.year, of.month, of.day).timestamp()
