"""`gpubox queue` and `gpubox end`: who waits, and ending a machine or a wait."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from ..host import HostProblem
from . import hub
from .gpus import server
from .words import duration, print_json, table

if TYPE_CHECKING:
    from ..control.client import HubClient

State = dict[str, Any]


class WhichServer(HostProblem):
    """No server, or several, go by what was said; the message says which there are."""


def add_to(commands: Any) -> None:
    """Add `queue` and `end`."""
    command = commands.add_parser("queue", help="who waits for what, in which place, for how long yet")
    command.set_defaults(command=queue)
    command.add_argument("--json", action="store_true", help="for programs")

    command = commands.add_parser("end", help="stop a server and free its GPUs, or end a wait")
    command.set_defaults(command=end)
    command.add_argument(
        "server", metavar="USER[/SERVER]", help="whose; their only one, where no server is named"
    )
    command.add_argument("--reason", default="", metavar="TEXT", help="is written beside the lease")


def queue(arguments: argparse.Namespace) -> int:
    """List who waits, in the order of serving."""
    state = hub.state()
    tickets = waiting(state)
    if arguments.json:
        return print_json(tickets)
    if not tickets:
        print("Nobody waits.")
        return 0
    head = ("PLACE", "WHO", "MACHINE", "WAITS FOR", "EXPECTED")
    now = time.time()
    rows = [
        (
            f"{one['position']} of {one['waiting']}",
            server(one),
            one["machine"],
            duration(now - one["requested_at"]),
            _expected(one, now),
        )
        for one in tickets
    ]
    print(table([head, *rows]))
    return 0


def waiting(state: State) -> list[State]:
    """The line with who stands in it."""
    leases = {lease["id"]: lease for lease in state["leases"]}
    told = ("user", "server", "machine", "requested_at")
    return [
        {**place, **{name: leases[place["lease"]][name] for name in told}}
        for place in state["line"]
        if place["lease"] in leases
    ]


def _expected(place: State, now: float) -> str:
    if place["blocked"]:
        return str(place["blocked"])
    if place["expected_at"] is None:
        return "nobody can say"
    ahead = place["expected_at"] - now
    words = "any moment" if ahead < 60 else f"in about {duration(ahead)}"
    return f"{words} (by {place['basis']})" if place["basis"] else words


def end(arguments: argparse.Namespace) -> int:
    """Stop a server or end a wait; returns when it is done."""
    reason = "ended on the command line" + (f": {arguments.reason}" if arguments.reason else "")

    async def ended(client: HubClient) -> State:
        lease = find(arguments.server, (await client.state())["leases"])
        await client.do("end", lease=lease["id"], reason=reason)
        return lease

    lease = hub.ask(ended)
    if lease["granted_at"] is None:
        print(f"{server(lease)} waits for {lease['title']} no more.")
    else:
        freed = f" and has given back {', '.join(lease['gpus'])}" if lease["gpus"] else ""
        print(f"{server(lease)} ({lease['title']}) is stopped{freed}.")
    return 0


def find(words: str, leases: list[State]) -> State:
    """The open lease of ``user``, ``user/server`` or ``user/`` (the default server). Raises `WhichServer`."""
    user, slash, name = words.partition("/")
    theirs = [lease for lease in leases if lease["user"] == user]
    found = [lease for lease in theirs if lease["server"] == name] if slash else theirs
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{lease['user']}/{lease['server']}" for lease in theirs)
    if found:
        raise WhichServer(f"{user} has {len(found)}; say which: {listed}")
    has = f"has: {listed}" if theirs else "has no machine and waits for none."
    raise WhichServer(f"There is no {words}: {user} {has}")
