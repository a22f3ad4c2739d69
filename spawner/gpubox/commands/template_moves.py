"""`gpubox template export|import|push|pull`: templates that move to another hub."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..host import HostProblem
from . import hub
from .words import say

if TYPE_CHECKING:
    from ..control.client import HubClient

# Who may run this may do all: the control socket is its owner's alone.
ACTOR = {"name": "", "groups": [], "is_admin": True}
_LOOK_SECONDS = 0.3


def add_to(doing: Any) -> None:
    """Add the commands to those of `template`."""
    command = doing.add_parser("export", help="write a template to a file, which docker load reads, too")
    command.set_defaults(command=export)
    command.add_argument("template", metavar="OWNER/NAME[:VERSION]")
    command.add_argument("file", type=Path, metavar="FILE")

    command = doing.add_parser("import", help="take a template in from such a file")
    command.set_defaults(command=import_file)
    command.add_argument("file", type=Path, metavar="FILE")
    _add_whose(command)

    command = doing.add_parser("push", help="send a template to a registry (docker login first)")
    command.set_defaults(command=push)
    command.add_argument("template", metavar="OWNER/NAME[:VERSION]")
    command.add_argument("target", metavar="REGISTRY/NAME[:TAG]")

    command = doing.add_parser("pull", help="take a template in from a registry")
    command.set_defaults(command=pull)
    command.add_argument("source", metavar="REGISTRY/NAME[:TAG]")
    _add_whose(command)


def _add_whose(command: argparse.ArgumentParser) -> None:
    command.add_argument("--owner", required=True, metavar="USER", help="whose it is from now on")
    command.add_argument("--name", default="", help="what it is called; by default as it was")


def export(arguments: argparse.Namespace) -> int:
    """Write a template to a file."""
    return _move("send", template=arguments.template, path=str(arguments.file.absolute()), target="")


def push(arguments: argparse.Namespace) -> int:
    """Send a template to a registry."""
    return _move("send", template=arguments.template, path="", target=arguments.target)


def import_file(arguments: argparse.Namespace) -> int:
    """Take a template in from a file."""
    whose = {"owner": arguments.owner, "name": arguments.name}
    return _move("bring", **whose, path=str(arguments.file.absolute()), source="")


def pull(arguments: argparse.Namespace) -> int:
    """Take a template in from a registry."""
    return _move("bring", owner=arguments.owner, name=arguments.name, path="", source=arguments.source)


def _move(what: str, **fields: str) -> int:
    async def moved(client: HubClient) -> dict[str, Any]:
        begun = await client.do(f"templates/{what}", actor=ACTOR, **fields)
        return await followed(client, begun["id"])

    done = ended(hub.ask(moved))
    print(done["words"])
    warn(done)
    return 0


async def followed(client: HubClient, job: str) -> dict[str, Any]:
    """Tell how far a save or a move is, and end with it; where we are ended, so is it."""
    try:
        return await _told(client, job)
    except asyncio.CancelledError:
        with contextlib.suppress(HostProblem):
            await client.do("templates/cancel", actor=ACTOR, save=job)
        raise


async def _told(client: HubClient, job: str) -> dict[str, Any]:
    told = ""
    while True:
        jobs = (await client.do("templates/jobs", actor=ACTOR))["jobs"]
        found: dict[str, Any] = next(one for one in jobs if one["id"] == job)
        if found["ended_at"]:
            return found
        if found["words"] != told:
            told = found["words"]
            say("template")(told)
        await asyncio.sleep(_LOOK_SECONDS)


def ended(done: dict[str, Any]) -> dict[str, Any]:
    """What has ended, if as it should. Raises `HostProblem` with its words."""
    if done["state"] != "done":
        raise HostProblem(done["words"])
    return done


def warn(done: dict[str, Any]) -> None:
    """Say what looks like a secret."""
    if done["secrets"]:
        print("These look like secrets, and others see the template once it is shared with --accept:")
        print("\n".join(f"  {path!r}" for path in done["secrets"]))
