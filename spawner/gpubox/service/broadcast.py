"""Server-sent events to any number of pages: each text is made once for all who may see the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from . import view as views
from .live import Figures, Live, State
from .viewer import Audience, Viewer

Send = Callable[[str], None]


def event(name: str, told: Any) -> str:
    """One server-sent event (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
    return f"event: {name}\ndata: {json.dumps(told, separators=(',', ':'))}\n\n"


class Broadcast:
    """The pages that are open, by audience."""

    def __init__(self, live: Live, *, names: bool) -> None:
        self._live = live
        self._names = names
        self._pages: dict[Audience, dict[Send, Viewer]] = {}
        # What each was told last that is nobody else's.
        self._own: dict[Send, tuple[str, ...]] = {}
        live.on_state(self._on_state)
        live.on_figures(self._on_figures)

    def __len__(self) -> int:
        return sum(len(pages) for pages in self._pages.values())

    def add(self, viewer: Viewer, send: Send) -> Callable[[], None]:
        """Send a page all there is, and every change from now on; returns what ends it."""
        self._pages.setdefault(viewer.audience, {})[send] = viewer
        send(event("state", self._view(self._live.state, viewer.audience)))
        send(event("figures", self._live.figures))
        send(_templates(self._live.state))
        self._tell_own(self._live.state, viewer, send)

        def end() -> None:
            self._own.pop(send, None)
            pages = self._pages.get(viewer.audience, {})
            pages.pop(send, None)
            if not pages:
                self._pages.pop(viewer.audience, None)

        return end

    def _view(self, state: State, audience: Audience) -> State:
        return views.view(state, audience, names=self._names)

    def _on_state(self, before: State, after: State) -> None:
        for audience, pages in self._pages.items():
            told = views.change(self._view(before, audience), self._view(after, audience))
            text = event("change", told) if told else ""
            if _templates(before) != _templates(after):
                text += _templates(after)
            for send, viewer in list(pages.items()):
                if text:
                    send(text)
                self._tell_own(after, viewer, send)

    def _tell_own(self, state: State, viewer: Viewer, send: Send) -> None:
        own = event("mine", views.mine(state, viewer)), event("saves", views.saves(state, viewer))
        before = self._own.get(send, ())
        self._own[send] = own
        for text in own:
            if text not in before:
                send(text)

    def _on_figures(self, changed: Figures) -> None:
        text = event("figures", changed)
        for pages in self._pages.values():
            for send in list(pages):
                send(text)


def _templates(state: State) -> str:
    """That somebody's templates are others than before: what they are, each page asks for itself."""
    return event("templates", {"revision": state["templates"]["revision"]})
