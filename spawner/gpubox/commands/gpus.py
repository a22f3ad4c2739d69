"""`gpubox gpus`, `drain`, `undrain` and `top`: the GPUs of this machine, and what the hub does with them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..host import HostProblem
from ..inventory import GPU
from . import hub
from .words import moment, one_line, print_json, table

if TYPE_CHECKING:
    from ..control.client import HubClient

State = dict[str, Any]


class WhichGPU(HostProblem):
    """No GPU, or several, go by what was said; the message says which there are."""


def add_to(commands: Any) -> None:
    """Add `gpus`, `drain`, `undrain` and `top`."""
    from jupyterlab_gpubox import top

    command = commands.add_parser("gpus", help="the GPUs of this machine and who holds them")
    command.set_defaults(command=gpus)
    command.add_argument("--json", action="store_true", help="for programs")

    command = commands.add_parser("drain", help="hand a GPU out no more; who holds it keeps it")
    command.set_defaults(command=drain)
    _add_gpu(command)
    command.add_argument("--reason", default="", metavar="TEXT", help="is told to users")

    command = commands.add_parser("undrain", help="hand a drained GPU out again")
    command.set_defaults(command=undrain)
    _add_gpu(command)

    command = commands.add_parser("top", help="the GPUs and who uses them, refreshed each second")
    command.set_defaults(command=watch)
    top.add_arguments(command)


def _add_gpu(command: argparse.ArgumentParser) -> None:
    command.add_argument("gpu", metavar="GPU", help="its number, its UUID, or how that begins")
    command.add_argument("--json", action="store_true", help="for programs: its row of gpubox gpus")


# --- who has what ----------------------------------------------------------------------------------


def gpus(arguments: argparse.Namespace) -> int:
    """List the GPUs; status 1 where the driver cannot be asked."""
    from ..inventory import nvidia

    found = nvidia.discover()
    state = _state_if_any()
    if found.problem and state is None:
        raise HostProblem(found.problem)
    rows = described(found.gpus, state)
    if arguments.json:
        print_json(rows)
    else:
        print(_table(rows, with_holders=state is not None))
        for sentence in found.silent:
            print(sentence)
    if found.problem:
        print(f"gpubox: {found.problem}", file=sys.stderr)
    return int(bool(found.problem))


def _state_if_any() -> State | None:
    """The hub's state; None where no hub runs: what the driver lists is told all the same."""
    try:
        return hub.state()
    except hub.NoHubHere:
        return None


def described(listed: Sequence[GPU], state: State | None) -> list[State]:
    """What is known of each GPU, in the driver's order: by the driver, and where it runs, by the hub.

    ``state`` is the hub's word, and None where it has none; ``holders`` who has it, since when.
    """
    if state is None:
        return [{**asdict(gpu), "state": None, "reason": "", "holders": []} for gpu in listed]
    known = {gpu["uuid"]: gpu for gpu in state["gpus"]}
    leases = {lease["id"]: lease for lease in state["leases"]}
    rows = [
        {
            **{name: gpu[name] for name in ("uuid", "model", "memory_mib", "index", "mig_profile", "parent")},
            "problem": gpu["reason"] if gpu["state"] == "lost" else "",
            "state": gpu["state"],
            "reason": gpu["reason"],
            "holders": [
                _holder(leases[held["lease"]], len(held["slots"]) / gpu["slots"])
                for held in gpu["holders"]
                if held["lease"] in leases
            ],
        }
        for gpu in known.values()
    ]
    new = [gpu for gpu in listed if gpu.uuid not in known]
    return rows + described(new, None)


def _holder(lease: State, share: float) -> State:
    told = ("user", "server", "machine", "granted_at")
    return {"lease": lease["id"], **{name: lease[name] for name in told}, "share": share}


def _table(gpus: Sequence[State], with_holders: bool) -> str:
    if not gpus:
        return "No GPU found; CPU machines work."
    head = ("GPU", "MODEL", "MEMORY", "STATE", *(("HELD BY", "SINCE") if with_holders else ()), "UUID")
    rows = [head]
    for gpu in gpus:
        holders = gpu["holders"] or [None]
        for number, holder in enumerate(holders):
            held = (server(holder, holder["share"]), moment(holder["granted_at"])) if holder else ("-", "-")
            # A GPU that several share has a line each, the first with what they have in common.
            facts = _facts(gpu) if number == 0 else ("", "", "", "")
            rows.append((*facts, *(held if with_holders else ()), gpu["uuid"] if number == 0 else ""))
    return table(rows)


def _facts(gpu: State) -> tuple[str, str, str, str]:
    model = f"{gpu['model']} MIG {gpu['mig_profile']}" if gpu["mig_profile"] else gpu["model"]
    memory = "shared" if gpu["memory_mib"] is None else f"{gpu['memory_mib'] / 1024:.0f} GiB"
    words = gpu["state"] or ("lost" if gpu["problem"] else "ok")
    reason = gpu["reason"] or gpu["problem"]
    return str(gpu["index"]), model, memory, f"{words}: {reason}" if reason else words


def server(lease: State, share: float = 1.0) -> str:
    """Whose it is: ``ada/big-run (25%)``."""
    whole = one_line(f"{lease['user']}/{lease['server']}" if lease["server"] else lease["user"])
    return whole if share >= 1 else f"{whole} ({share:.0%})"


# --- out of service, and back ----------------------------------------------------------------------


def drain(arguments: argparse.Namespace) -> int:
    """Take a GPU out of service, and say what becomes of who holds it."""

    async def drained(client: HubClient) -> State:
        gpu = find(arguments.gpu, (await client.state())["gpus"])
        await client.do("drain", gpu=gpu["uuid"], reason=arguments.reason)
        return _one(gpu["uuid"], await client.state())

    gpu = hub.ask(drained)
    if arguments.json:
        return print_json(gpu)
    if not gpu["holders"]:
        print(f"{_name(gpu)} is drained: nobody gets it until gpubox undrain {arguments.gpu}.")
        return 0
    print(
        f"{_name(gpu)} is draining: nobody else gets it. Who holds it keeps it until the machine is stopped:"
    )
    for holder in gpu["holders"]:
        name = f"{holder['user']}/{holder['server']}"
        print(f"  {server(holder)}, since {moment(holder['granted_at'])} (stop it now: gpubox end {name})")
    return 0


def undrain(arguments: argparse.Namespace) -> int:
    """Put a GPU back into service, and say who got it."""

    async def undrained(client: HubClient) -> State:
        gpu = find(arguments.gpu, (await client.state())["gpus"])
        await client.do("undrain", gpu=gpu["uuid"])
        return _one(gpu["uuid"], await client.state())

    gpu = hub.ask(undrained)
    if arguments.json:
        return print_json(gpu)
    if gpu["state"] == "lost":
        print(f"{_name(gpu)} is drained no more, but lost: {gpu['reason']}")
    elif gpu["holders"]:
        print(f"{_name(gpu)} serves again, and {', '.join(server(one) for one in gpu['holders'])} has it.")
    else:
        print(f"{_name(gpu)} serves again.")
    return 0


def _one(uuid: str, state: State) -> State:
    return next(gpu for gpu in described((), state) if gpu["uuid"] == uuid)


def _name(gpu: State) -> str:
    return f"GPU {gpu['index']} ({_facts(gpu)[1]}, {gpu['uuid']})"


def find(words: str, gpus: Sequence[State]) -> State:
    """The one GPU of that number, UUID, or beginning of a UUID. Raises `WhichGPU` where it is not one."""
    by_number = [gpu for gpu in gpus if words == str(gpu["index"])]
    exact = [gpu for gpu in gpus if words == gpu["uuid"]]
    beginning = [
        gpu
        for gpu in gpus
        if words and (gpu["uuid"].startswith(words) or gpu["uuid"].partition("-")[2].startswith(words))
    ]
    found = by_number or exact or beginning
    if len(found) == 1:
        return found[0]
    listed = "\n".join(f"  {gpu['index']}  {gpu['uuid']}" for gpu in found or gpus)
    if not found:
        raise WhichGPU(
            f"There is no GPU {words!r}; there are:\n{listed}" if gpus else "There is no GPU here."
        )
    raise WhichGPU(f"{words!r} is {len(found)} GPUs; say which by its UUID:\n{listed}")


def watch(arguments: argparse.Namespace) -> int:
    """Show the GPUs and who uses them, refreshed; status 1 where a driver is in trouble."""
    from jupyterlab_gpubox import top

    return top.watch(seconds=arguments.seconds, once=arguments.once)
