"""`gpubox top`: the panel's records as a table in a terminal, refreshed each second.

What is drawn is a pure function of the records; around it are the terminal and its keys.
"""

from __future__ import annotations

import argparse
import os
import select
import shutil
import sys
import termios
import tty
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from .owners import Owners
from .procfs import Procfs
from .records import GPU, Driver, Owner, ProcessList, Snapshot, Value
from .sampler import Intervals, Sampler

_RED, _YELLOW, _DIM, _BOLD, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[2m", "\x1b[1m", "\x1b[0m"
_FULL_PERCENT, _WARM_PERCENT = 95, 80
_NO_LIMIT = 10_000
_NONE_HERE = "No GPU found on this machine."


def main(argv: Sequence[str] | None = None) -> int:
    """Show the GPUs until `q` or Ctrl+C; once, if the output is no terminal. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="gpubox top", description="The GPUs and who uses them, refreshed each second."
    )
    add_arguments(parser)
    arguments = parser.parse_args(argv)
    return watch(seconds=arguments.seconds, once=arguments.once)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command, for whoever has it as a part."""
    parser.add_argument("--once", action="store_true", help="print the table once")
    parser.add_argument(
        "--seconds", type=_interval, default=1.0, metavar="N", help="refresh each N seconds (1; 0.2 or more)"
    )


def _interval(text: str) -> float:
    with suppress(ValueError):
        if 0.2 <= float(text) <= 3600:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds (0.2 to 3600)")


def watch(*, seconds: float = 1.0, once: bool = False) -> int:
    """Sample and draw. Returns 0, also where there is no GPU; 1 where a driver is in trouble."""
    sampler = Sampler(Intervals(core_seconds=seconds, idle_seconds=max(10.0, seconds)))
    owners = Owners(_Names(sampler).known)
    try:
        with sampler.watch():
            sampler.ask()
            if once or not (sys.stdout.isatty() and sys.stdin.isatty()):
                print("\n".join(_lines(sampler, owners, width=_NO_LIMIT)))
            else:
                _redraw(sampler, owners, seconds)
    except KeyboardInterrupt:
        pass
    finally:
        sampler.stop()
    return int(any(driver.state == "trouble" for driver in sampler.snapshot().drivers))


def _redraw(sampler: Sampler, owners: Owners, seconds: float) -> None:
    colour = "NO_COLOR" not in os.environ
    with _own_screen():
        while True:
            width, height = shutil.get_terminal_size()
            lines = _lines(sampler, owners, width=width, colour=colour)[: height - 1]
            # Home, each line cleared to its end, the rest of the screen cleared: nothing flickers.
            sys.stdout.write("\x1b[H" + "".join(f"{line}\x1b[K\r\n" for line in lines) + "\x1b[J")
            sys.stdout.flush()
            if select.select([sys.stdin], [], [], seconds)[0] and sys.stdin.read(1) in "qQ\x1b":
                return


@contextmanager
def _own_screen() -> Iterator[None]:
    """The terminal's second screen, with keys told at once; what was there before comes back."""
    before = termios.tcgetattr(sys.stdin)
    sys.stdout.write("\x1b[?1049h\x1b[?25l")
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        sys.stdout.write("\x1b[?25h\x1b[?1049l")
        sys.stdout.flush()


def _lines(sampler: Sampler, owners: Owners, *, width: int, colour: bool = False) -> list[str]:
    snapshot = sampler.snapshot()
    listed = owners.processes(snapshot.uses, snapshot.gpus)
    return render(snapshot, listed, width=width, colour=colour)


class _Names:
    """On a machine of one's own every process has its name, whoever started it: there are no notebooks here
    that it could be called after, and no other users to keep it from."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self._proc = Procfs()

    def known(self) -> Mapping[int, Owner]:
        """All processes on the GPUs that are to be seen."""
        if not self._proc.is_of_the_host():
            return {}
        names = {use.pid: self._proc.name(use.pid) for use in self._sampler.snapshot().uses}
        return {pid: Owner("server") for pid, name in names.items() if name}


# --- what is drawn ---------------------------------------------------------------------------------


def render(snapshot: Snapshot, listed: ProcessList, *, width: int = 100, colour: bool = False) -> list[str]:
    """The lines of one picture, each at most ``width`` characters wide, colours aside."""
    paint = _paint if colour else _unpainted
    lines = [paint(_head(snapshot.drivers)[:width], _BOLD), ""]
    lines += [paint(driver.message[:width], _RED) for driver in snapshot.drivers if driver.message]
    if not snapshot.gpus:
        return [*lines, _NONE_HERE] if not any(driver.message for driver in snapshot.drivers) else lines
    rows = [_GPU_HEAD, *(_gpu_row(gpu) for gpu in snapshot.gpus)]
    table = _table(rows, width, stretch=1)
    lines.append(paint(table[0], _DIM))
    for gpu, line in zip(snapshot.gpus, table[1:], strict=True):
        lines.append(paint(line, _gpu_colour(gpu)))
        if gpu.message:
            lines.append(paint(f"    {gpu.message}"[:width], _RED))
    uses = _process_rows(snapshot, listed)
    if uses:
        head, *body = _table([_PROCESS_HEAD, *uses], width, stretch=2)
        lines += ["", paint(head, _DIM), *body]
    if listed.message:
        lines += ["", listed.message[:width]]
    return lines


_GPU_HEAD = ("GPU", "NAME", "USE", "MEMORY", "POWER", "TEMP", "CLOCK", "")
_PROCESS_HEAD = ("GPU", "PID", "PROCESS", "MEMORY")


def _head(drivers: Sequence[Driver]) -> str:
    words = []
    for driver in drivers:
        if driver.state != "none":
            cuda = f", CUDA {driver.cuda}" if driver.cuda else ""
            words.append(f"{driver.vendor.upper()} driver {driver.version or '?'}{cuda}")
    return "gpubox top   " + "   ".join(words)


def _gpu_row(gpu: GPU) -> tuple[str, ...]:
    figure = gpu.figures.get
    limit = figure("power_limit_watts")
    reasons = figure("throttle_reasons")
    notes = list(reasons) if isinstance(reasons, tuple) else []
    if gpu.stale:
        notes.insert(0, f"{max(gpu.stale.values()):.0f} s old")
    if gpu.state == "lost":
        notes.insert(0, "LOST")
    name = (
        f"{gpu.name} {gpu.mig_profile}" if gpu.mig_profile and gpu.mig_profile not in gpu.name else gpu.name
    )
    return (
        str(gpu.index),
        name,
        _number(figure("utilisation_percent"), "%"),
        f"{_gib(figure('memory_used_mib'))} / {_gib(gpu.memory_total_mib)}",
        _number(figure("power_watts"), " W") + (f" / {_number(limit, ' W')}" if limit is not None else ""),
        _number(figure("temperature_celsius"), " °C"),
        _number(figure("clock_sm_mhz"), " MHz"),
        ", ".join(notes),
    )


def _process_rows(snapshot: Snapshot, listed: ProcessList) -> list[tuple[str, ...]]:
    place = {gpu.id: str(gpu.index) for gpu in snapshot.gpus}
    rows = [
        (place.get(one.gpu, "?"), str(one.pid), one.name or one.owner.name, _gib(one.memory_mib))
        for one in listed.processes
    ]
    for others in listed.others:
        words = f"{others.count} other process{'es' if others.count > 1 else ''}"
        rows.append((place.get(others.gpu, "?"), "", words, _gib(others.memory_mib)))
    return sorted(rows)


def _number(value: Value, unit: str) -> str:
    return f"{value:.0f}{unit}" if isinstance(value, int | float) else "n/a"


def _gib(mib: Value) -> str:
    return f"{mib / 1024:.1f} GiB" if isinstance(mib, int | float) else "n/a"


def _gpu_colour(gpu: GPU) -> str:
    used, total = gpu.figures.get("memory_used_mib"), gpu.memory_total_mib
    if gpu.state == "lost":
        return _RED
    if gpu.stale:
        return _DIM
    full = 100 * used / total if isinstance(used, int | float) and total else 0
    return _RED if full >= _FULL_PERCENT else _YELLOW if full >= _WARM_PERCENT else ""


def _table(rows: Sequence[Sequence[str]], width: int, stretch: int) -> list[str]:
    """Aligned columns; the column ``stretch`` gives way where the table is wider than ``width``."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    over = sum(widths) + 2 * (len(widths) - 1) - width
    widths[stretch] = max(8, widths[stretch] - max(0, over))
    return [
        "  ".join(_fit(cell, wide) for cell, wide in zip(row, widths, strict=True)).rstrip()[:width]
        for row in rows
    ]


def _fit(cell: str, width: int) -> str:
    return cell.ljust(width) if len(cell) <= width else cell[: width - 1] + "…"


def _paint(text: str, colour: str) -> str:
    return f"{colour}{text}{_PLAIN}" if colour else text


def _unpainted(text: str, colour: str) -> str:
    return text
