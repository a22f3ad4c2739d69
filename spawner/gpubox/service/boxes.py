"""What boxes and their users are told: the box's stream, open notices, "please let go"."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from .activities import held
from .api import EventsHandler, LeaseHandler
from .broadcast import event
from .handlers import APIHandler, Refusal, text
from .live import State
from .notices import Wanted, subject
from .store import Notice
from .view import SOMEONE
from .words import machine

ASK_SECONDS = 600.0
_LONGEST_WORDS = 300
_OF_LEASE = (
    *("id", "server", "machine", "title", "granted_at", "ends_at", "ends_because", "latest_end"),
    "price_per_hour",
)


def told(notice: Notice) -> dict[str, Any]:
    """A notice as its user is told it."""
    names = ("id", "kind", "server", "sentence", "told_at", "due_at")
    return {name: getattr(notice, name) for name in names}


class BoxEventsHandler(EventsHandler):
    """GET api/box/events?server=NAME: a stream for one of the caller's own machines."""

    async def get(self) -> None:
        self._server = self.get_query_argument("server", "")
        if held(self.service.live, self.viewer.name, self._server) is None:
            raise Refusal(404, "No machine of yours of that name runs now.")
        self._lease: dict[str, Any] = {}
        await super().get()

    def begin(self) -> Callable[[], None]:
        """Send all there is, and every change from now on; returns what ends it."""
        notices, live = self.service.rounds.notices, self.service.live
        end = live.on_state(lambda before, after: self._tell_lease(after))
        notices.on_told.append(self._tell)
        notices.on_closed.append(self._tell_closed)
        self._tell_lease(live.state)
        # What was closed while it did not listen, it may still show.
        for notice in notices.lately_closed(self.viewer.name):
            self._tell_closed(notice)
        for notice in notices.open(self.viewer.name, self._server):
            self._tell(notice)

        def stop() -> None:
            end()
            notices.on_told.remove(self._tell)
            notices.on_closed.remove(self._tell_closed)

        return stop

    def _tell_lease(self, state: State) -> None:
        lease = held(self.service.live, self.viewer.name, self._server)
        if lease is None:
            return  # it ends, or the hub has just begun: the box is told nothing new
        shown = {name: lease[name] for name in _OF_LEASE} | {"currency": state["currency"]}
        if shown != self._lease:
            self._lease = shown
            self._send(event("lease", shown))

    def _tell(self, notice: Notice) -> None:
        if self._concerns(notice):
            self._send(event("notice", told(notice)))

    def _tell_closed(self, notice: Notice) -> None:
        if self._concerns(notice):
            self._send(event("closed", {"id": notice.id}))

    def _concerns(self, notice: Notice) -> bool:
        return notice.user == self.viewer.name and notice.server in (None, self._server)


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
        asker = name if self.service.names else SOMEONE.capitalize()
        sentence = f"{asker} asks whether you can let go of {machine(lease)}{f': {words}' if words else '.'}"
        about = subject("ask", lease["id"], name, f"{now:.3f}")
        told = await self.service.rounds.notices.tell(
            Wanted(lease["user"], lease["server"], "ask", about, sentence), now
        )
        if told is None:
            raise Refusal(429, "You have just asked.")
        self.answer({})

    def _check_patience(self, lease: int, now: float) -> None:
        asked = self.service.rounds.notices.last_told(subject("ask", lease, self.viewer.name))
        if asked is not None and 0 <= now - asked < ASK_SECONDS:
            minutes = max(1, round((ASK_SECONDS - (now - asked)) / 60))
            raise Refusal(429, f"You have asked already; ask again in {minutes} min.")


ROUTES: list[tuple[str, type[APIHandler]]] = [
    (r"api/box/events", BoxEventsHandler),
    (r"api/notices", NoticesHandler),
    (r"api/notices/(\d{1,15})/close", CloseHandler),
    (r"api/leases/(\d{1,15})/ask", AskHandler),
]
