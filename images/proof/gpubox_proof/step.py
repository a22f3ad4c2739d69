"""One step in a process of its own: `python -m gpubox_proof.step ROW REPORT` writes a report as JSON.

Whatever the framework does, from an exception to a broken library, ends in the report's sentence; only a
crash or a hang is left to the runner.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import failure, gpu
from .rows import Row, named


@dataclass(frozen=True)
class Seen:
    """What a step saw when its framework worked."""

    version: str
    device: str = "cpu"
    note: str = ""  # what else is worth a word in the table
    build: gpu.Build | None = None  # of frameworks that can use a GPU


def run(row: Row, machine: gpu.Machine) -> dict[str, object]:
    """The report of a row's step."""
    module, _, function = row.step.partition(":")
    try:
        step: Callable[[], Seen] = getattr(importlib.import_module(f"gpubox_proof.steps.{module}"), function)
        seen = step()
    # A library may call sys.exit or raise what is no Exception (PyO3's panics): it is a row all the same.
    except BaseException as error:
        traceback.print_exc()
        return {"ok": False, "sentence": failure.of_exception(error, row.name)}
    report = {"ok": True, "version": seen.version, "device": seen.device, "note": seen.note, "sentence": ""}
    if seen.build and (fault := gpu.fault(machine, seen.build)):
        if seen.build.cuda:
            report |= {"ok": False, "sentence": fault}
        else:  # the CPU is what it was built for
            report |= {"note": f"{seen.note}; {fault}".removeprefix("; ")}
    return report


def main(name: str, file: str) -> None:
    """Run a step, write its report, and go without the destructors of a dozen libraries."""
    row = named(name)
    report = run(row, gpu.look() if row.gpu else gpu.Machine())
    Path(file).write_text(json.dumps(report))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
