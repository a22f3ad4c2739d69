"""`gpubox kept list|rm|prune`: stopped machines whose file systems wait for their next start."""

from __future__ import annotations

import argparse
import time
from typing import Any

from ..host import HostProblem
from ..machines import parse_duration
from . import hub
from .gpus import server
from .words import duration, print_json, table


def add_to(commands: Any) -> None:
    """Add `kept`, with a command for each thing to do."""
    topic = commands.add_parser("kept", help="stopped machines that start again as they were left")
    doing = topic.add_subparsers(required=True, metavar="COMMAND")

    command = doing.add_parser("list", help="whose, since when, and how much was changed in them")
    command.set_defaults(command=listed)
    command.add_argument("--json", action="store_true", help="for programs")

    command = doing.add_parser("rm", help="delete one: its next start begins afresh")
    command.set_defaults(command=remove)
    command.add_argument("server", metavar="USER[/SERVER]", help="whose")

    command = doing.add_parser("prune", help="list those that were left long ago")
    command.set_defaults(command=prune)
    command.add_argument("--older", default="30d", metavar="TIME", help="left longer ago than that: 30d, 2w")
    command.add_argument("--yes", action="store_true", help="delete them")


def _all() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = hub.ask(lambda client: client.do("kept"))["machines"]
    return sorted(found, key=lambda machine: machine["since"])


def _table(machines: list[dict[str, Any]]) -> str:
    head = ("MACHINE OF", "LEFT", "CHANGED", "MADE AS", "IMAGE")
    now = time.time()
    rows = [
        (
            server(one),
            f"{duration(now - one['since'])} ago",
            f"{(one['size_bytes'] or 0) / 1e9:.2f} GB",
            one["machine"],
            one["image"] + (" (an older one)" if one["is_old"] else ""),
        )
        for one in machines
    ]
    return table([head, *rows], right=(2,))


def listed(arguments: argparse.Namespace) -> int:
    """List what is kept, the oldest first."""
    machines = _all()
    if arguments.json:
        return print_json(machines)
    print(_table(machines) if machines else "No machine is kept.")
    return 0


def remove(arguments: argparse.Namespace) -> int:
    """Delete a kept machine."""
    user, _, name = arguments.server.partition("/")
    _remove(user, name)
    print(f"What was kept of {arguments.server} is deleted.")
    return 0


def prune(arguments: argparse.Namespace) -> int:
    """List what was left long ago; delete it with --yes."""
    try:
        least = parse_duration(arguments.older)
    except ValueError as error:
        raise HostProblem(f"--older {arguments.older}: expected a time such as 30d or 2w.") from error
    now = time.time()
    machines = [machine for machine in _all() if now - machine["since"] >= least]
    if not machines:
        print("There is nothing to delete.")
        return 0
    print(_table(machines))
    if arguments.yes:
        for one in machines:
            _remove(one["user"], one["server"])
        print("They are deleted.")
    else:
        print(f"To delete them: gpubox kept prune --older {arguments.older} --yes")
    return 0


def _remove(user: str, name: str) -> None:
    hub.ask(lambda client: client.do("remove_kept", user=user, server=name))
