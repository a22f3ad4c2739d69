"""Prove that every framework of this box works, and say what is wrong with one that does not."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence

from . import gpu, report, rows, runner


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the proof; 0 where every row is ok, 1 where one is not."""
    parser = argparse.ArgumentParser(prog="gpubox-check", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="these rows alone, by how their names begin: keras numpy"
    )
    parser.add_argument("--list", action="store_true", help="print the names of the rows, and run none")
    parser.add_argument(
        "--timeout",
        type=float,
        default=180,
        metavar="SECONDS",
        help="stop a step after so long (default: 180)",
    )
    parser.add_argument(
        "--at-once",
        type=int,
        default=min(2, os.cpu_count() or 1),
        metavar="STEPS",
        help="run so many steps at a time (default: 2, or 1 on one core)",
    )
    options = parser.parse_args(arguments)
    wanted = rows.expected()
    if options.only:
        try:
            wanted = rows.chosen(options.only, wanted)
        except LookupError as error:
            parser.error(str(error.args[0]))
    if options.list:
        print("\n".join(row.name for row in wanted))
        return 0
    return prove(wanted, options.timeout, max(1, options.at_once), as_json=options.json)


def prove(wanted: Sequence[rows.Row], timeout: float, at_once: int, *, as_json: bool) -> int:
    """Run these rows and print what became of them."""
    begin = time.monotonic()
    machine = gpu.look()
    progress = report.Progress(len(wanted), sys.stderr)
    results = {}
    try:
        for result in runner.run_all(wanted, timeout, at_once, lambda row: progress.started(row.name)):
            progress.ended(result)
            results[result.name] = result
    except KeyboardInterrupt:
        progress.close()
        runner.stop_all()
        print("Stopped.", file=sys.stderr)
        return 130
    progress.close()
    ordered = [results[row.name] for row in wanted]
    seconds = time.monotonic() - begin
    if as_json:
        print(json.dumps(report.model(ordered, machine, seconds), indent=1))
    else:
        print(report.table(ordered, machine, seconds))
    return 0 if all(one.ok for one in ordered) else 1


if __name__ == "__main__":
    sys.exit(main())
