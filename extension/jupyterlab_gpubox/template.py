"""`gpubox template save` in a box: keep the machine as a template, from a terminal on it.

Asks the hub's service with the machine's own token, which may save this machine and no other.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

from .box import Box, find_box

_ANSWER_SECONDS = 30.0
# The service's stream is silent for eight seconds at most, or the line is dead.
_SILENCE_SECONDS = 30.0
_PATIENCE_SECONDS = 60.0
_AGAIN_SECONDS = 1.0
_INTERRUPTED = 130
_ELSEWHERE = "To share, rename or delete it: the hub's page Templates."

Save = dict[str, Any]


class Trouble(Exception):
    """What was asked for cannot be; str() is the sentence."""


def main(argv: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """Save, tell how far that is, and end with it; Ctrl-C ends it and keeps nothing.

    Returns the exit status: 0 saved, 1 not saved, 130 cancelled.
    """
    arguments = _parser().parse_args(argv)
    try:
        hub = _hub(environment)
        return _save(hub, arguments.name, arguments.note)
    except Trouble as trouble:
        print(f"gpubox: {trouble}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gpubox template", description="This machine, kept to start from again and to share."
    )
    doing = parser.add_subparsers(required=True, metavar="COMMAND")
    save = doing.add_parser(
        "save",
        help="keep this machine as a template",
        description="Keeps what was installed and changed outside homes. Under a name that you have"
        " already it becomes the next version of that template.",
    )
    save.add_argument("--name", required=True, help="lower-case letters, digits, '-', '.' and '_'")
    save.add_argument("--note", default="", metavar="TEXT", help="what it is for")
    return parser


def _save(hub: Hub, name: str, note: str) -> int:
    begun = hub.ask("templates/save", {"server": hub.server, "name": name, "note": note})
    line = Line()
    try:
        save = _followed(hub, begun, line)
    except KeyboardInterrupt:
        hub.ask("templates/cancel", {"save": begun["id"]})
        saves = hub.ask("templates")["saves"]
        save = next((one for one in saves if one["id"] == begun["id"]), {"state": "cancelled", "words": ""})
    line.end()
    if save["state"] == "cancelled":
        print(f"gpubox: {save['words'] or 'Cancelled.'}", file=sys.stderr)
        return _INTERRUPTED
    if save["state"] != "done":
        raise Trouble(save["words"])
    print(f"{save['words']} It takes {save['size_bytes'] / 1e9:.2f} GB. {_ELSEWHERE}")
    if save["secrets"]:
        print("These files look like secrets. Nobody else sees this version before you say there that they")
        print("are none:")
        # Somebody's names of files: as repr(), what in them could steer the terminal is seen.
        print("\n".join(f"  {path!r}" for path in save["secrets"]))
    return 0


def _followed(hub: Hub, begun: Save, line: Line) -> Save:
    known = False
    for saves in hub.saves():
        found: Save | None = next((one for one in saves if one["id"] == begun["id"]), None)
        if found is None and known:
            raise Trouble("The hub began anew meanwhile, so nothing was kept. Save again.")
        if found is None:
            continue
        known = True
        if found["ended_at"]:
            return found
        line.tell(found["words"], found["size_bytes"])
    raise Trouble("The hub does not answer any more. Whether it was saved, its page Templates tells.")


class Line:
    """What is done now: one line that changes in a terminal, else a line for each."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._told = ""

    def tell(self, words: str, size_bytes: int) -> None:
        """Say it, unless it was said last."""
        told = f"{words} ({size_bytes / 1e9:.2f} GB) ..." if size_bytes else f"{words} ..."
        if told == self._told:
            return
        self._told = told
        if self._is_terminal:
            sys.stdout.write(f"\r\x1b[K{told}")
            sys.stdout.flush()
        else:
            print(told, flush=True)

    def end(self) -> None:
        """What comes next begins at the line's beginning."""
        if self._is_terminal and self._told:
            sys.stdout.write("\r\x1b[K")


class Hub:
    """The hub's service, asked in this machine's name."""

    def __init__(self, box: Box, token: str) -> None:
        self.server = box.server
        self._url = box.service.rstrip("/") + "/api/"
        self._headers = {"Authorization": f"token {token}", "Content-Type": "application/json"}
        # The hub is beside the machine: the token goes to no proxy.
        self._opener = build_opener(ProxyHandler({}))

    def ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer to a GET, or to a POST of ``body``. Raises `Trouble` with the hub's sentence."""
        data = None if body is None else json.dumps(body).encode()
        try:
            with self._open(path, data, _ANSWER_SECONDS) as answer:
                told: dict[str, Any] = json.load(answer)
        except HTTPError as error:
            raise Trouble(_sentence(error)) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Trouble("The hub does not answer now. Try again in a minute.") from error
        return told

    def saves(self) -> Iterator[list[Save]]:
        """The saves of this machine, whenever they change; ends when the hub was not heard for a while."""
        heard_at = time.monotonic()
        path = f"box/events?server={quote(self.server, safe='')}"
        while time.monotonic() - heard_at < _PATIENCE_SECONDS:
            try:
                with self._open(path, None, _SILENCE_SECONDS) as stream:
                    kind = ""
                    for raw in stream:
                        heard_at = time.monotonic()
                        name, _, value = raw.decode(errors="replace").rstrip("\n").partition(": ")
                        if name == "event":
                            kind = value
                        elif name == "data" and kind == "saves":
                            yield json.loads(value)["saves"]
            except HTTPError as error:
                if error.code in (401, 403):
                    raise Trouble(_sentence(error)) from error
            except (OSError, http.client.HTTPException, ValueError):
                pass
            time.sleep(_AGAIN_SECONDS)

    def _open(self, path: str, data: bytes | None, timeout: float) -> Any:
        # The address is the hub's own, told by it at the start.
        request = Request(self._url + path, data=data, headers=self._headers)  # noqa: S310
        return self._opener.open(request, timeout=timeout)


def _hub(environment: Mapping[str, str]) -> Hub:
    box, token = find_box(environment), environment.get("JUPYTERHUB_API_TOKEN", "")
    if box is None or not box.service or not token:
        raise Trouble("This is no machine of a gpubox hub, or of one without its service.")
    return Hub(box, token)


def _sentence(error: HTTPError) -> str:
    try:
        message = json.load(error)["message"]
    except (ValueError, KeyError, TypeError, OSError):
        message = ""
    return message if isinstance(message, str) and message else f"The hub says no (status {error.code})."
