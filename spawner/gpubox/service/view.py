"""The hub's state as somebody may see it, and what changed between two of them: pure functions.

Everybody of one audience is sent the same text, made once. What is a viewer's own (``mine``) comes
beside it.
"""

from __future__ import annotations

from typing import Any

from .viewer import Audience, Viewer

View = dict[str, Any]
SOMEONE = "someone"
# More of a line than this is shown on request alone: with every change it is sent to every page.
LINE_SHOWN = 100

_KEYS = {"gpus": "uuid", "leases": "id", "line": "lease", "machines": "name"}


def view(state: View, audience: Audience, *, names: bool, whole_line: bool = False) -> View:
    """What the audience may see; ``names`` tells whether everybody may see everybody's."""
    line = state["line"] if whole_line else _head(state["line"])
    shown = {one["lease"] for one in line}
    return {
        **{key: state[key] for key in ("hub", "currency", "gpus", "machines")},
        "leases": [
            _lease(lease, audience, names)
            for lease in state["leases"]
            if lease["granted_at"] is not None or lease["id"] in shown
        ],
        "line": line,
        "waiting": len(state["line"]),
    }


def mine(state: View, viewer: Viewer) -> View:
    """The viewer's own leases and places in line, whole."""
    leases = {lease["id"]: lease for lease in state["leases"] if viewer.owns(lease)}
    return {
        "leases": list(leases.values()),
        "line": [place for place in state["line"] if place["lease"] in leases],
    }


def saves(state: View, viewer: Viewer) -> list[View]:
    """Saves of machines, under way and lately ended: the viewer's own, for an admin everybody's."""
    return [one for one in state["templates"]["saves"] if viewer.is_admin or viewer.name == one["owner"]]


def change(before: View, after: View) -> View:
    """What is to be done to ``before`` to have ``after``: rows to put in their place, and keys gone.

    The line is whole where anything of it changed: its order is what it says.
    """
    told: View = {}
    for part, key in _KEYS.items():
        if before[part] == after[part]:
            continue
        if part == "line":
            told["line"], told["waiting"] = after["line"], after["waiting"]
            continue
        old = {row[key]: row for row in before[part]}
        new = {row[key]: row for row in after[part]}
        told[part] = [row for name, row in new.items() if old.get(name) != row]
        if gone := [name for name in old if name not in new]:
            told.setdefault("gone", {})[part] = gone
    if before["waiting"] != after["waiting"]:
        told["waiting"] = after["waiting"]
    return told


def _head(line: list[View]) -> list[View]:
    return line[:LINE_SHOWN]


def _lease(lease: View, audience: Audience, names: bool) -> View:
    manages = audience.manages(lease["groups"])
    if names or manages:
        shown = {**lease, "holder": lease["user"], "may_manage": manages}
    else:
        shown = {**lease, "holder": SOMEONE, "user": "", "may_manage": False}
    if not manages:
        # What somebody calls their machine, and who belongs where, is theirs.
        shown |= {"server": "", "groups": []}
    return shown
