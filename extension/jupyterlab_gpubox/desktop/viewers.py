"""Who looks at the desktop, and which one of them controls it: plain data, no sockets.

A viewer is a page, by an id of its own; it is there while any of its connections is. One of those that may
control does: the first, later whoever took control, and the newest when that one has left. The desktop has
the size of its page; the others scale.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .rfb import CHANGES, Kind


@dataclass
class Viewer:
    """A page; ``connections`` is how many it has open."""

    name: str
    is_view_only: bool
    connections: int = 0


@dataclass
class Viewers:
    """Everybody who looks, the newest last."""

    controller: str | None = None
    _viewers: dict[str, Viewer] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._viewers)

    @property
    def controller_name(self) -> str:
        """The name of the one who controls; empty where nobody does."""
        return self._viewers[self.controller].name if self.controller else ""

    def join(self, viewer: str, name: str, *, is_view_only: bool) -> None:
        """A connection of a viewer opened. One that was opened to watch only never controls."""
        known = self._viewers.setdefault(viewer, Viewer(name, is_view_only))
        known.connections += 1
        if is_view_only and not known.is_view_only:
            known.is_view_only = True
            if self.controller == viewer:
                self.controller = None
        self._see_to_a_controller()

    def leave(self, viewer: str) -> None:
        """A connection of a viewer closed."""
        known = self._viewers[viewer]
        known.connections -= 1
        if known.connections == 0:
            del self._viewers[viewer]
            if self.controller == viewer:
                self.controller = None
            self._see_to_a_controller()

    def take_control(self, viewer: str) -> bool:
        """Whether this viewer controls now: one that only watches does not."""
        if viewer in self._viewers and not self._viewers[viewer].is_view_only:
            self.controller = viewer
        return self.controller == viewer

    def may_send(self, viewer: str, kind: Kind) -> bool:
        """Whether a message of this kind goes on to the desktop. All who may control can type and point;
        the size is the controlling one's. Nobody switches anything off: the desktop is no machine."""
        if kind not in CHANGES:
            return True
        known = self._viewers.get(viewer)
        if known is None or known.is_view_only or kind is Kind.POWER:
            return False
        return kind is not Kind.DESKTOP_SIZE or self.controller == viewer

    def _see_to_a_controller(self) -> None:
        if self.controller is None:
            able = (viewer for viewer, known in reversed(self._viewers.items()) if not known.is_view_only)
            self.controller = next(able, None)
