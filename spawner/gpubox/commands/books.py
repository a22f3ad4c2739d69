"""`gpubox leases` and `gpubox usage`: who holds what, what was used and what it cost."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .words import moment, print_json, table

if TYPE_CHECKING:
    from ..books import Bill, Period, Usage

_BY = ("user", "group", "machine", "month", "day")
# Below this part of its GPU-hours looked at, a bill's idle hours are worth a word.
_MOSTLY = 0.9


def add_to(commands: Any) -> None:
    """Add `leases` and `usage`."""
    command = commands.add_parser("leases", help="who holds which machine, since when, at what cost")
    command.set_defaults(command=leases)
    command.add_argument("--json", action="store_true", help="for programs")
    _add_database(command)

    command = commands.add_parser("usage", help="hours, GPU-hours, idle ones and cost of a month")
    command.set_defaults(command=usage)
    this_month = datetime.now().strftime("%Y-%m")
    command.add_argument("--month", default=this_month, metavar="YYYY-MM", help="the month (this one)")
    command.add_argument(
        "--from", dest="first", metavar="YYYY-MM-DD", help="the first day, instead of a month"
    )
    command.add_argument("--to", dest="last", metavar="YYYY-MM-DD", help="the last day (today)")
    command.add_argument("--by", choices=_BY, default="user", help="a line each (user)")
    command.add_argument("--user", metavar="NAME", help="of this user alone")
    command.add_argument(
        "--group", action="append", metavar="NAME", help="of this group's members; may be repeated"
    )
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for programs")
    form.add_argument("--csv", action="store_true", help="for spreadsheets")
    _add_database(command)


def _add_database(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--database", metavar="URL", help="the hub's c.GPUHub.database_url (the one in the state directory)"
    )


def leases(arguments: argparse.Namespace) -> int:
    """List the machines that are held now."""
    from .. import books

    held = books.held(books.open_books(_ledger(arguments)), time.time())
    if arguments.json:
        return print_json([asdict(one) for one in held])
    rows = [
        (
            one.user,
            one.server or "-",
            one.machine,
            ", ".join(one.gpus) or "-",
            moment(one.granted_at),
            f"{one.hours:.1f}",
            f"{one.cost:.2f}",
        )
        for one in held
    ]
    head = ("USER", "SERVER", "MACHINE", "GPUS", "SINCE", "HOURS", "COST")
    print(table([head, *rows], right=(5, 6)) if rows else "No machine is held.")
    return 0


def usage(arguments: argparse.Namespace) -> int:
    """What was used in a month or between two days, and what it cost."""
    from .. import books

    period, words = _period(arguments)
    ledger = books.open_books(_ledger(arguments))
    bill = books.usage(ledger, period, time.time(), arguments.by, user=arguments.user, groups=arguments.group)
    if arguments.json:
        return print_json(books.as_dict(bill))
    if arguments.csv:
        print(books.as_csv(bill), end="")
        return 0
    print(_table(bill) if bill.total.leases else f"Nothing was used {words}.")
    return 0


def _period(arguments: argparse.Namespace) -> tuple[Period, str]:
    from .. import books

    if arguments.first is None and arguments.last is None:
        return books.month(arguments.month), f"in {arguments.month}"
    last = arguments.last or datetime.now().strftime("%Y-%m-%d")
    first = arguments.first or f"{last[:7]}-01"
    return books.days(first, last), f"from {first} to {last}"


def _table(bill: Bill) -> str:
    head = (bill.by.upper(), "LEASES", "HOURS", "GPU-HOURS", "IDLE", "COST", "IDLE COST")
    text = table([head, *(_row(one) for one in [*bill.rows, bill.total])], right=range(1, 7))
    share = bill.total.measured_share
    if share is None or share >= _MOSTLY:
        return text
    return f"{text}\nIdle is known for the {share:.0%} of the GPU-hours in which the GPUs were looked at."


def _row(one: Usage) -> tuple[str, ...]:
    was_looked_at = one.measured_gpu_hours > 0
    return (
        one.name,
        str(one.leases),
        f"{one.hours:.1f}",
        f"{one.gpu_hours:.1f}",
        f"{one.idle_gpu_hours:.1f}" if was_looked_at else "-",
        f"{one.cost:.2f}",
        f"{one.idle_cost:.2f}" if was_looked_at else "-",
    )


def _ledger(arguments: argparse.Namespace) -> str:
    """The database of leases: the one that was named, else where a hub of this machine keeps it."""
    from .. import paths

    return arguments.database or f"sqlite:///{paths.state_dir() / 'gpubox.sqlite'}"
