"""`gpubox template save|list|share|unshare|rm|prune`: machines as their users set them up, kept to share.

Moving them between hubs is in ``template_moves``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from . import hub, template_moves
from .line import find
from .words import moment, print_json, table

if TYPE_CHECKING:
    from ..control.client import HubClient

_ACTOR = template_moves.ACTOR


def add_to(commands: Any) -> None:
    """Add `template`, with a command for each thing to do."""
    topic = commands.add_parser("template", help="machines kept to start from again, and to share")
    doing = topic.add_subparsers(required=True, metavar="COMMAND")

    command = doing.add_parser("list", help="all templates, what they take, and who may use them")
    command.set_defaults(command=listed)
    command.add_argument("--json", action="store_true", help="for programs")

    command = doing.add_parser("save", help="keep a running machine as a template of its user")
    command.set_defaults(command=save)
    command.add_argument("server", metavar="USER[/SERVER]", help="whose; their only one, where none is named")
    command.add_argument("--name", required=True, help="lower-case letters, digits, '-', '.' and '_'")
    command.add_argument("--note", default="", metavar="TEXT", help="what it is for")

    for name, words, does in (
        ("share", "let others start from a template", share),
        ("unshare", "let them no more; what they have started goes on", unshare),
    ):
        command = doing.add_parser(name, help=words)
        command.set_defaults(command=does)
        command.add_argument("template", metavar="OWNER/NAME")
        who = command.add_mutually_exclusive_group(required=True)
        who.add_argument("--user", metavar="NAME")
        who.add_argument("--group", metavar="NAME")
        who.add_argument("--everyone", action="store_true", help="everybody on this hub")
        if name == "share":
            command.add_argument("--accept", action="store_true", help="what looks like a secret is none")

    command = doing.add_parser("rm", help="delete a template, or one version of it")
    command.set_defaults(command=remove)
    command.add_argument("template", metavar="OWNER/NAME[:VERSION]")

    template_moves.add_to(doing)

    command = doing.add_parser("prune", help="list images of templates that nothing names any more")
    command.set_defaults(command=prune)
    command.add_argument("--yes", action="store_true", help="remove them")


def _do(what: str, **fields: Any) -> dict[str, Any]:
    return hub.ask(lambda client: client.do(f"templates/{what}", **fields))


def listed(arguments: argparse.Namespace) -> int:
    """List all templates, a line a version."""
    templates = _do("overview", actor=_ACTOR)["templates"]
    if arguments.json:
        return print_json(templates)
    if not templates:
        print("There are no templates.")
        return 0
    # A container's image takes what it adds to the one that it came from, a disk all that is on it.
    head = ("TEMPLATE", "OF", "TAKES", "FROM", "SAVED", "SHARED WITH", "NOTE")
    rows = [
        (
            f"{one['reference']}:{version['number']}",
            "virtual machine" if version["engine"] else "container",
            f"{version['size_bytes'] / 1e9:.2f} GB",
            version["base"],
            moment(version["saved_at"]),
            ", ".join(share["name"] or share["kind"] for share in one["shares"]) or "-",
            one["note"],
        )
        for one in templates
        for version in one["versions"]
    ]
    print(table([head, *rows], right=(2,)))
    return 0


def save(arguments: argparse.Namespace) -> int:
    """Save a machine, tell how far it is, and end with it; Ctrl-C ends it and keeps nothing."""

    async def saved(client: HubClient) -> dict[str, Any]:
        lease = find(arguments.server, (await client.state())["leases"])
        what = {"owner": lease["user"], "server": lease["server"], "name": arguments.name}
        begun = await client.do("templates/save", actor=_ACTOR, note=arguments.note, **what)
        return await template_moves.followed(client, begun["id"])

    done = template_moves.ended(hub.ask(saved))
    print(f"{done['words']} It takes {done['size_bytes'] / 1e9:.2f} GB.")
    template_moves.warn(done)
    return 0


def _with(arguments: argparse.Namespace) -> dict[str, str]:
    if arguments.everyone:
        return {"kind": "everyone", "name": ""}
    kind = "user" if arguments.user else "group"
    return {"kind": kind, "name": arguments.user or arguments.group}


def share(arguments: argparse.Namespace) -> int:
    """Share a template."""
    who = _with(arguments)
    _do("share", actor=_ACTOR, template=arguments.template, accept=arguments.accept, **who)
    print(f"{arguments.template} is shared with {who['name'] or 'everyone'}.")
    return 0


def unshare(arguments: argparse.Namespace) -> int:
    """Share a template with somebody no more."""
    who = _with(arguments)
    _do("unshare", actor=_ACTOR, template=arguments.template, **who)
    print(f"{arguments.template} is shared with {who['name'] or 'everyone'} no more.")
    return 0


def remove(arguments: argparse.Namespace) -> int:
    """Delete a template or a version."""
    _do("remove", actor=_ACTOR, template=arguments.template)
    print(f"{arguments.template} is deleted.")
    return 0


def prune(arguments: argparse.Namespace) -> int:
    """List what nothing names any more; remove it with --yes."""
    images = _do("prune", really=arguments.yes)["images"]
    for image in images:
        print(image)
    if not images:
        print("There is nothing to remove.")
    elif not arguments.yes:
        print("To remove them: gpubox template prune --yes")
    return 0
