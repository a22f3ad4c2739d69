"""What the person sees: progress while it runs, a table at the end, or JSON."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TextIO

from .gpu import Machine, summary
from .runner import Result


class Progress:
    """What runs now: one line that changes on a terminal, else a line for each row that is done."""

    def __init__(self, rows: int, stream: TextIO) -> None:
        self.rows, self.done, self.stream = rows, 0, stream
        self.running: list[str] = []
        self.is_terminal = stream.isatty()
        self.begin = time.monotonic()
        self.one_at_a_time = threading.Lock()  # steps begin in threads of the runner

    def started(self, name: str) -> None:
        """Told when a step begins."""
        with self.one_at_a_time:
            self.running.append(name)
            self._draw()

    def ended(self, result: Result) -> None:
        """Told when a step has ended."""
        with self.one_at_a_time:
            self.running.remove(result.name)
            self.done += 1
            self._draw()
        if not self.is_terminal:
            word = "ok" if result.ok else result.sentence
            line = f"{self.done}/{self.rows} {result.name} {result.seconds:.1f} s: {word}"
            print(line, file=self.stream, flush=True)

    def close(self) -> None:
        """Leave the line empty for what comes next."""
        if self.is_terminal:
            print("\r\033[K", end="", file=self.stream, flush=True)

    def _draw(self) -> None:
        if self.is_terminal:
            seconds = time.monotonic() - self.begin
            now = f"; now {', '.join(self.running)}" if self.running else ""
            line = f"{self.done} of {self.rows} done, {seconds:.0f} s{now}"
            print(f"\r\033[K{line[:78]}", end="", file=self.stream, flush=True)


HEAD = ("framework", "version", "device", "seconds")


def table(results: Sequence[Result], machine: Machine, seconds: float) -> str:
    """The table, for people."""
    cells = [HEAD, *((one.name, one.version, one.device, f"{one.seconds:.1f}") for one in results)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEAD))]
    verdicts = ["", *(_verdict(one) for one in results)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=True)), verdict]).rstrip()
        for row, verdict in zip(cells, verdicts, strict=True)
    ]
    return "\n".join([summary(machine), "", *lines, "", _total(results, seconds)])


def _verdict(result: Result) -> str:
    if not result.ok:
        return f"WRONG  {result.sentence}"
    return f"ok  ({result.note})" if result.note else "ok"


def _total(results: Sequence[Result], seconds: float) -> str:
    wrong = [one.name for one in results if not one.ok]
    if not wrong:
        return f"All {len(results)} work ({seconds:.0f} s)."
    return f"{len(wrong)} of {len(results)} do not work: {', '.join(wrong)} ({seconds:.0f} s)."


def model(results: Sequence[Result], machine: Machine, seconds: float) -> dict[str, Any]:
    """The same for programs."""
    return {
        "ok": all(one.ok for one in results),
        "seconds": round(seconds, 2),
        "python": sys.version.split()[0],
        "machine": asdict(machine),
        "rows": [asdict(one) | {"seconds": round(one.seconds, 2)} for one in results],
    }
