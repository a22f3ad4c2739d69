"""The REST API of GPUs, leases and the line; openapi.json describes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from tornado.iostream import StreamClosedError

from .handlers import APIHandler, Refusal, text

_LONGEST_REASON = 300
# As JupyterHub does: a page holds a stream that is silent for twice as long for lost.
_KEEP_ALIVE_SECONDS = 8.0
# A page that does not read what it is sent is let go; it comes back and gets all of it anew.
_MOST_UNREAD_CHARACTERS = 4 * 2**20


class StateHandler(APIHandler):
    """GET api/state[?line=all]"""

    arguments = ("line",)

    async def get(self) -> None:
        asked = self.get_query_arguments("line")
        if asked not in ([], ["all"]):
            raise Refusal(400, "line: expected all, or nothing.")
        self.answer(self.service.told(self.viewer, whole_line=bool(asked)))


class EventsHandler(APIHandler):
    """GET api/events: a stream of server-sent events for one page."""

    async def get(self) -> None:
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("X-Accel-Buffering", "no")
        self._gone = asyncio.Event()
        self._written: asyncio.Future[None] | None = None
        self._unread = 0
        end = self.begin()
        try:
            while not self._gone.is_set():
                try:
                    await asyncio.wait_for(self._gone.wait(), _KEEP_ALIVE_SECONDS)
                except TimeoutError:
                    self._send(": still here\n\n")
        finally:
            end()

    def begin(self) -> Callable[[], None]:
        """Send all there is, and every change from now on; returns what ends that."""
        return self.service.broadcast.add(self.viewer, self._send)

    def _send(self, told: str) -> None:
        if self._gone.is_set():
            return
        self._unread = len(told) + (0 if self._written is None or self._written.done() else self._unread)
        if self._unread > _MOST_UNREAD_CHARACTERS:
            self._gone.set()
            return
        self.write(told)
        self._written = asyncio.ensure_future(self._flush())

    async def _flush(self) -> None:
        try:
            await self.flush()
        except StreamClosedError:
            self._gone.set()

    def on_connection_close(self) -> None:
        """The page was closed."""
        self._gone.set()


class DrainHandler(APIHandler):
    """POST and DELETE api/gpus/{uuid}/drain"""

    async def prepare(self) -> None:
        await super().prepare()
        if not self.viewer.is_admin:
            raise Refusal(403, "Only an admin takes GPUs out of service.")

    async def post(self, uuid: str) -> None:
        reason = text(self.fields(reason=str)["reason"], _LONGEST_REASON, "The reason")
        await self.ask_hub("drain", gpu=uuid, reason=reason or f"by {self.viewer.name}")
        self.answer({})

    async def delete(self, uuid: str) -> None:
        await self.ask_hub("undrain", gpu=uuid)
        self.answer({})


class LeaseHandler(APIHandler):
    """A route of one open lease or ticket."""

    def lease(self, lease_id: str) -> dict[str, Any]:
        """The lease. Raises `Refusal` (404)."""
        try:
            return self.service.live.lease(int(lease_id))
        except KeyError as error:
            raise Refusal(404, "That machine or place in line has been given back already.") from error

    def managed(self, lease_id: str) -> dict[str, Any]:
        """The lease, for those who may end it. Raises `Refusal` (403, 404)."""
        lease = self.lease(lease_id)
        if not self.viewer.may_end(lease):
            raise Refusal(403, "That is not yours: ask its holder, or an admin.")
        return lease


class EndHandler(LeaseHandler):
    """POST api/leases/{id}/end"""

    async def post(self, lease_id: str) -> None:
        lease = self.managed(lease_id)
        reason = text(self.fields(reason=str)["reason"], _LONGEST_REASON, "The reason")
        who = "by its user" if self.viewer.owns(lease) else f"by {self.viewer.name}"
        await self.ask_hub("end", lease=lease["id"], reason=f"ended {who}{': ' if reason else ''}{reason}")
        self.answer({})


class MoveHandler(LeaseHandler):
    """POST api/leases/{id}/move"""

    async def post(self, lease_id: str) -> None:
        lease, to = self.lease(lease_id), self.fields(to=str)["to"]
        if not self.viewer.is_admin:
            raise Refusal(403, "Only an admin moves people in the line.")
        if to not in ("first", "last", "fair"):
            raise Refusal(400, "to: expected first, last or fair.")
        if lease["granted_at"] is not None:
            raise Refusal(409, "That one does not wait any more.")
        await self.ask_hub("move", lease=lease["id"], to=to)
        self.answer({})


class ExtendHandler(LeaseHandler):
    """POST api/leases/{id}/extend"""

    async def post(self, lease_id: str) -> None:
        lease, seconds = self.managed(lease_id), self.fields(seconds=(int, float))["seconds"]
        if seconds is None or not 0 < seconds <= 366 * 86400:
            raise Refusal(400, "seconds: expected by how much, up to a year.")
        if lease["granted_at"] is None:
            raise Refusal(409, "That one still waits; its time has not begun.")
        self.answer(await self.ask_hub("extend", lease=lease["id"], seconds=seconds))


class OpenAPIHandler(APIHandler):
    """GET openapi.json"""

    async def get(self) -> None:
        self.answer(files(__package__).joinpath("openapi.json").read_text())


class NothingHandler(APIHandler):
    """Any other address below api/."""

    async def prepare(self) -> None:
        await super().prepare()
        raise Refusal(404, "There is nothing here: see openapi.json.")


ROUTES: list[tuple[str, type[APIHandler]]] = [
    (r"api/state", StateHandler),
    (r"api/events", EventsHandler),
    (r"api/gpus/([A-Za-z0-9:._-]{1,96})/drain", DrainHandler),
    (r"api/leases/(\d{1,15})/end", EndHandler),
    (r"api/leases/(\d{1,15})/move", MoveHandler),
    (r"api/leases/(\d{1,15})/extend", ExtendHandler),
    (r"openapi\.json", OpenAPIHandler),
]
