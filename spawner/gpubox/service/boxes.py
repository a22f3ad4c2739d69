"""What boxes and their users are told: the box's stream, open notices, "please let go"."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from .activities import held
from .api import EventsHandler, LeaseHandler
from .broadcast import Send, event
from .handlers import APIHandler, Refusal, text
from .live import Live, State
from .notices import Notices, Wanted, subject
from .store import Notice
from .view import SOMEONE
from .words import machine

ASK_SECONDS = 600.0
_LONGEST_WORDS = 300
_LONGEST_BEGINNING = 230  # of a subject's 255 characters
_OF_LEASE = (
    *("id", "server", "machine", "title", "granted_at", "ends_at", "ends_because", "latest_end"),
    "price_per_hour",
)


def told(notice: Notice) -> dict[str, Any]:
    """A notice as its user is told it."""
    names = ("id", "kind", "server", "sentence", "told_at", "due_at")
    return {name: getattr(notice, name) for name in names}


class BoxStreams:
    """The boxes that listen, by user and server: each is told of its lease, of its user's notices, and how
    far it is saved as a template."""

    def __init__(self, live: Live, notices: Notices) -> None:
        self._live, self._notices = live, notices
        self._streams: dict[tuple[str, str], set[Send]] = {}
        self._shown: dict[tuple[str, str], str] = {}
        live.on_state(self._on_state)
        notices.on_told.append(lambda notice: self._tell(notice, event("notice", told(notice))))
        notices.on_closed.append(lambda notice: self._tell(notice, event("closed", {"id": notice.id})))

    def add(self, user: str, server: str, send: Send) -> Callable[[], None]:
        """Send a box all there is, and every change from now on; returns what ends it."""
        key = (user, server)
        self._streams.setdefault(key, set()).add(send)
        lease = held(self._live, user, server)
        if lease is not None:
            self._shown[key] = _shown(lease, self._live.state)
            send(self._shown[key])
        send(_saves(self._live.state, key))
        # What was closed while it did not listen, it may still show.
        for notice in self._notices.lately_closed(user):
            if notice.server in (None, server):
                send(event("closed", {"id": notice.id}))
        for notice in self._notices.open(user, server):
            send(event("notice", told(notice)))

        def end() -> None:
            streams = self._streams.get(key, set())
            streams.discard(send)
            if not streams:
                self._streams.pop(key, None)
                self._shown.pop(key, None)

        return end

    def _on_state(self, before: State, after: State) -> None:
        for key, streams in self._streams.items():
            if (saves := _saves(after, key)) != _saves(before, key):
                for send in list(streams):
                    send(saves)
        for lease in after["leases"]:
            key = (lease["user"], lease["server"])
            # One that has ended is told nothing new, nor is any while the hub begins anew.
            if lease["granted_at"] is None or key not in self._streams:
                continue
            text = _shown(lease, after)
            if self._shown.get(key) != text:
                self._shown[key] = text
                for send in list(self._streams[key]):
                    send(text)

    def _tell(self, notice: Notice, text: str) -> None:
        for (user, server), streams in list(self._streams.items()):
            if user == notice.user and notice.server in (None, server):
                for send in list(streams):
                    send(text)


def _shown(lease: State, state: State) -> str:
    return event("lease", {name: lease[name] for name in _OF_LEASE} | {"currency": state["currency"]})


def _saves(state: State, key: tuple[str, str]) -> str:
    saves = state["templates"]["saves"]
    return event("saves", {"saves": [one for one in saves if (one["owner"], one["server"]) == key]})


class BoxEventsHandler(EventsHandler):
    """GET api/box/events?server=NAME: a stream for one of the caller's own machines."""

    async def get(self) -> None:
        self._server = self.get_query_argument("server", "")
        if held(self.service.live, self.viewer.name, self._server) is None:
            raise Refusal(404, "No machine of yours of that name runs now.")
        await super().get()

    def begin(self) -> Callable[[], None]:
        """Send all there is, and every change from now on; returns what ends it."""
        return self.service.rounds.boxes.add(self.viewer.name, self._server, self._send)


class NoticesHandler(APIHandler):
    """GET api/notices"""

    async def get(self) -> None:
        name = self.viewer.name
        mine = self.service.rounds.notices.open(name) if name else []
        self.answer({"notices": [told(notice) for notice in mine]})


class CloseHandler(APIHandler):
    """POST api/notices/{id}/close"""

    async def post(self, number: str) -> None:
        self.fields()
        notices = self.service.rounds.notices
        notice = notices.find(int(number))
        if notice is None or notice.user != self.viewer.name:
            raise Refusal(404, "You have no open notice of that number.")
        await notices.close(notice.id)
        self.answer({})


class AskHandler(LeaseHandler):
    """POST api/leases/{id}/ask"""

    async def post(self, lease_id: str) -> None:
        words = text(self.fields(words=str)["words"], _LONGEST_WORDS, "The words")
        lease, name = self.lease(lease_id), self.viewer.name
        if not name:
            raise Refusal(403, "Only people ask for machines.")
        if self.viewer.owns(lease):
            raise Refusal(409, "That machine is your own.")
        if lease["granted_at"] is None:
            raise Refusal(409, "That one still waits: there is nothing to let go of.")
        now = time.time()
        self._check_patience(lease["id"], now)
        sentence = asking(name if self.service.names else SOMEONE, lease, words)
        about = f"{asked_by(lease['id'], name)} {now:.3f}"
        told = await self.service.rounds.notices.tell(
            Wanted(lease["user"], lease["server"], "ask", about, sentence), now
        )
        if told is None:
            raise Refusal(429, "You have just asked.")
        self.answer({})

    def _check_patience(self, lease: int, now: float) -> None:
        asked = self.service.rounds.notices.last_told(asked_by(lease, self.viewer.name))
        if asked is not None and 0 <= now - asked < ASK_SECONDS:
            minutes = max(1, round((ASK_SECONDS - (now - asked)) / 60))
            raise Refusal(429, f"You have asked already; ask again in {minutes} min.")


def asked_by(lease: int, asker: str) -> str:
    """How the subjects begin of all that somebody asks about a lease; a time follows."""
    return subject("ask", lease, quote(asker, safe=""))[:_LONGEST_BEGINNING]


def asking(asker: str, lease: State, words: str) -> str:
    """What the holder is told."""
    who = asker.capitalize() if asker == SOMEONE else asker
    return f"{who} asks whether you can let go of {machine(lease)}{f': {words}' if words else '.'}"


ROUTES: list[tuple[str, type[APIHandler]]] = [
    (r"api/box/events", BoxEventsHandler),
    (r"api/notices", NoticesHandler),
    (r"api/notices/(\d{1,15})/close", CloseHandler),
    (r"api/leases/(\d{1,15})/ask", AskHandler),
]
