"""The desktop with its viewers: what the routes talk to. One a server, made when a page first asks for it."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any

from ..life import DESKTOP
from .fastlane import FastLane
from .rfb import INPUT, Kind
from .session import Session
from .viewers import Viewers

Listener = Callable[[dict[str, Any]], None]
# What programs on the desktop may ask the pages to open.
_OPENABLE = frozenset({"lab"})


class Desk:
    """The desktop of a Jupyter server; ``settings`` are its web application's."""

    def __init__(self, settings: MutableMapping[str, Any], log: logging.Logger) -> None:
        self._settings = settings
        self._listeners: dict[Listener, str] = {}
        self.viewers = Viewers()
        self.session = Session(self._tell_state, self._said, log)
        self.fast_lane = FastLane(self.session)
        atexit.register(self.session.kill)

    def told(self) -> dict[str, Any]:
        """What GET gpubox/api/desktop answers."""
        state = self.session.state
        found = state.renderer
        return {
            "state": state.name,
            "message": state.message,
            "phase": state.phase,
            "renderer": {"name": found.name, "is_hardware": found.is_hardware} if found else None,
            "viewers": len(self.viewers),
            "fast_lane": self.fast_lane.is_there,
        }

    def listen(self, viewer: str, listener: Listener) -> Callable[[], None]:
        """Have a viewer's page told of every change, from now on; the answer ends it."""
        self._listeners[listener] = viewer
        listener({"type": "state", **self.told()})
        listener(self._role(viewer))

        def deaf() -> None:
            self._listeners.pop(listener, None)

        return deaf

    def join(self, viewer: str, name: str, *, is_view_only: bool) -> Callable[[], None]:
        """A viewer opened a connection; the answer is to be called once it closed."""
        self.viewers.join(viewer, name, is_view_only=is_view_only)
        self._tell_roles()
        is_there = True

        def leave() -> None:
            nonlocal is_there
            if is_there:
                is_there = False
                self.viewers.leave(viewer)
                self._tell_roles()

        return leave

    def take_control(self, viewer: str) -> None:
        """This viewer's page is to control."""
        self.viewers.take_control(viewer)
        self._tell_roles()

    def lets_pass(self, viewer: str, kind: Kind) -> bool:
        """Whether a viewer's message goes on to the display; a person's own doing counts as activity."""
        passes = self.viewers.may_send(viewer, kind)
        if passes and kind in INPUT:
            self.note_activity()
        return passes

    def note_activity(self) -> None:
        """Somebody typed or pointed just now."""
        self._settings[DESKTOP] = datetime.now(UTC)

    def _role(self, viewer: str) -> dict[str, Any]:
        return {
            "type": "role",
            "controls": self.viewers.controller == viewer,
            "controller": self.viewers.controller_name,
            "viewers": len(self.viewers),
        }

    def _tell_state(self) -> None:
        for listener in list(self._listeners):
            listener({"type": "state", **self.told()})

    def _tell_roles(self) -> None:
        for listener, viewer in list(self._listeners.items()):
            listener(self._role(viewer))

    def _said(self, word: str) -> None:
        """`open lab`: the page of the one who controls opens it, or every page where that one has none."""
        verb, _, what = word.partition(" ")
        if verb != "open" or what not in _OPENABLE:
            return
        asked = [own for own, viewer in self._listeners.items() if viewer == self.viewers.controller]
        for listener in asked or list(self._listeners):
            listener({"type": "open", "what": what})
