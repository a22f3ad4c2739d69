"""What the GPUs' figures were: ten minutes in full, a day by the minute. Rings of 4-byte floats, which do
not grow: 8 GPUs take 0.7 MB."""

from __future__ import annotations

import math
import threading
import time
from array import array
from collections.abc import Mapping, Sequence
from typing import TypedDict

from .records import COLUMNS

FINE_SECONDS = 10 * 60
COARSE_SECONDS = 24 * 3600
_MINUTE = 60
_FRACTIONAL = {"power_watts"}  # the others are whole numbers where they are no means

Row = Sequence[float | None]  # a GPU's values, in the order of COLUMNS
Series = dict[str, list[float | None]]
_NOTHING: Row = (None,) * len(COLUMNS)


class Rows(TypedDict):
    """A range of the history, as docs/panel-api.md has it."""

    range: str
    times: list[float]
    columns: list[str]
    gpus: dict[str, Series]
    peaks: dict[str, Series]


class NoSuchRange(ValueError):
    """The history has no range of this name; the message names those that there are."""


class History:
    """The figures of `records.COLUMNS` of every GPU, by `GPU.id`. May be used from several threads.

    ``fine`` has a row a tick, ``coarse`` one a minute with means and peaks, the last of them still growing.
    Times are Unix seconds; when the clock is set back, what is later than the new time is dropped.
    """

    def __init__(self, core_seconds: float = 1) -> None:
        self._lock = threading.Lock()
        self._fine = _Ring(max(1, math.ceil(FINE_SECONDS / core_seconds)))
        self._means = _Ring(COARSE_SECONDS // _MINUTE)
        self._peaks = _Ring(COARSE_SECONDS // _MINUTE)
        self._minute = _Minute(0)

    def add(self, at: float, values: Mapping[str, Row]) -> None:
        """Adds a tick's values by GPU. One without any is not named, and without any GPU there is no row."""
        if not values:
            return
        start = at // _MINUTE * _MINUTE
        with self._lock:
            self._fine.put(at, values)
            if start != self._minute.start:
                self._minute = _Minute(start)
            self._minute.add(values)
            self._means.put(start, self._minute.means())
            self._peaks.put(start, self._minute.peaks)

    def rows(self, name: str, now: float | None = None) -> Rows:
        """The rows of the range ``fine`` or ``coarse``, oldest first. Raises `NoSuchRange`."""
        now = time.time() if now is None else now
        if name not in ("fine", "coarse"):
            raise NoSuchRange(f"There is no range '{name}'. There are 'fine' and 'coarse'.")
        with self._lock:  # only to copy: making lists of it takes longer than a tick may wait
            if name == "fine":
                times, gpus = self._fine.since(now - FINE_SECONDS)
                high: _Copy = {}
            else:
                times, gpus = self._means.since(now - COARSE_SECONDS)
                _, high = self._peaks.since(now - COARSE_SECONDS)
        return Rows(
            range=name,
            times=times.tolist(),
            columns=list(COLUMNS),
            gpus={gpu: _series(columns, are_means=name == "coarse") for gpu, columns in gpus.items()},
            peaks={gpu: _series(columns, are_means=False) for gpu, columns in high.items()},
        )


_Copy = dict[str, list["array[float]"]]


def _series(columns: Sequence[array[float]], *, are_means: bool) -> Series:
    return {
        name: [
            None if value != value else round(value, 1 if are_means or name in _FRACTIONAL else None)
            for value in column
        ]
        for name, column in zip(COLUMNS, columns, strict=True)
    }


class _Minute:
    """The means and peaks of a minute that is not over."""

    def __init__(self, start: float) -> None:
        self.start = start
        self.peaks: dict[str, list[float | None]] = {}
        self._sums: dict[str, list[float]] = {}
        self._counts: dict[str, list[int]] = {}

    def add(self, values: Mapping[str, Row]) -> None:
        for gpu, row in values.items():
            peaks = self.peaks.setdefault(gpu, list(_NOTHING))
            sums = self._sums.setdefault(gpu, [0.0] * len(COLUMNS))
            counts = self._counts.setdefault(gpu, [0] * len(COLUMNS))
            for i, value in enumerate(row):
                if value is not None:
                    peak = peaks[i]
                    peaks[i] = value if peak is None else max(peak, value)
                    sums[i] += value
                    counts[i] += 1

    def means(self) -> dict[str, Row]:
        return {
            gpu: [
                total / count if count else None for total, count in zip(sums, self._counts[gpu], strict=True)
            ]
            for gpu, sums in self._sums.items()
        }


class _Ring:
    """The last rows, by GPU and column: NaN where there was no value."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._times = array("d", bytes(8 * size))
        self._columns: _Copy = {}
        self._absent: dict[str, int] = {}  # for how many rows each GPU has not been there
        self._first = 0
        self._count = 0

    def put(self, at: float, values: Mapping[str, Row]) -> None:
        """Adds a row, or overwrites the last one where it is of the same time."""
        while self._count and self._times[self._place(-1)] > at:
            self._count -= 1
        if not (self._count and self._times[self._place(-1)] == at):
            if self._count == self._size:
                self._first = (self._first + 1) % self._size
            else:
                self._count += 1
        place = self._place(-1)
        self._times[place] = at
        for gpu in values.keys() - self._columns.keys():
            self._columns[gpu] = [array("f", [math.nan]) * self._size for _ in COLUMNS]
        for gpu, columns in self._columns.items():
            row = values.get(gpu, _NOTHING)
            self._absent[gpu] = 0 if gpu in values else self._absent[gpu] + 1
            for column, value in zip(columns, row, strict=True):
                column[place] = math.nan if value is None else value
        for gpu in [gpu for gpu, rows in self._absent.items() if rows >= self._size]:
            del self._columns[gpu], self._absent[gpu]

    def since(self, earliest: float) -> tuple[array[float], _Copy]:
        """A copy of the rows from then on, of the GPUs that were there."""
        skipped = 0
        while skipped < self._count and self._times[self._place(skipped)] < earliest:
            skipped += 1
        length = self._count - skipped
        copies = {
            gpu: [self._copy(column, skipped) for column in columns]
            for gpu, columns in self._columns.items()
            if self._absent[gpu] < length
        }
        return self._copy(self._times, skipped), copies

    def _place(self, nth: int) -> int:
        return (self._first + (nth if nth >= 0 else self._count + nth)) % self._size

    def _copy(self, column: array[float], skipped: int) -> array[float]:
        begin, end = self._first + skipped, self._first + self._count
        if end <= self._size:
            return column[begin:end]
        if begin >= self._size:
            return column[begin - self._size : end - self._size]
        return column[begin:] + column[: end - self._size]
