"""The line to the hub's service: notices, the lease's end and how far a save is come in, what shows life goes
out; and wishes.

The box asks and is never asked: with its own token it keeps one stream of events open, and reports once a
minute when a kernel, a terminal, the desktop or a GPU was last at work; at once, should that begin after a
silence. A service that is gone is no error: it is asked again, and the box works on.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import random
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest

log = logging.getLogger(__name__)

REPORT_SECONDS = 60.0
LOOK_SECONDS = 5.0
# A token that is refused is refused again; it is asked all the same, since the hub may have been at fault.
REFUSED_SECONDS = 300.0
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 1.0, 60.0
# The service sends something at least this often, or the line is dead.
_SILENCE_SECONDS = 65.0
_ANSWER_SECONDS = 30.0
_LONGEST_EVENT_BYTES = 1 << 20

Life = Mapping[str, float | None]
"""When the server last showed each kind of life (``kernel_at``, ...), Unix seconds; None for never."""


class HubLink:
    """What this box has heard from the service, and a way to answer.

    ``tell`` is called with each frame for the pages; ``life`` says what to report.
    """

    def __init__(
        self,
        service: str,
        server: str,
        token: str,
        *,
        tell: Callable[[str, dict[str, Any]], None],
        life: Callable[[], Life],
        report_seconds: float | None = None,
    ) -> None:
        self._url = service.rstrip("/") + "/api/"
        self._server = server
        self._headers = {"Authorization": f"token {token}"}
        self._tell = tell
        self._life = life
        self._report_seconds = REPORT_SECONDS if report_seconds is None else report_seconds
        self.lease: dict[str, Any] | None = None
        self.notices: dict[int, dict[str, Any]] = {}
        # Saves of this machine as a template: under way, and lately ended.
        self.saves: list[dict[str, Any]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._is_told_silent = self._is_told_refused = False
        self._refused_until = 0.0  # time.monotonic()
        self._heard_at = 0.0
        self._rest = b""

    def start(self) -> None:
        """Begin to listen and to report; called on the event loop."""
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._report())]

    async def stop(self) -> None:
        """End both."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def frames(self) -> list[tuple[str, dict[str, Any]]]:
        """What a page that has just come is told."""
        known = [("lease", self.lease)] if self.lease is not None else []
        saves = ("saves", {"saves": self.saves})
        return [*known, saves, *(("notice", notice) for notice in self.notices.values())]

    # --- answers ---------------------------------------------------------------------------------

    async def extend(self, seconds: float) -> tuple[int, dict[str, Any]]:
        """Ask for more time: the service's status and answer."""
        return await self._about_lease("extend", {"seconds": seconds})

    async def keep(self) -> tuple[int, dict[str, Any]]:
        """Say that the machine is needed though it idles: the service's status and answer."""
        return await self._about_lease("keep", {})

    async def close(self, notice: int) -> tuple[int, dict[str, Any]]:
        """Close a notice, here and in every other page: the service's status and answer."""
        status, answer = await self._ask("POST", f"notices/{notice}/close", {})
        if status in (200, 404):
            self._take("closed", {"id": notice})
        return status, answer

    async def templates(self) -> tuple[int, dict[str, Any]]:
        """The service's status, and the templates of the machine's user, with how much room they have.

        Whoever else may use this server sees no more of them than their names, notes and newest versions.
        """
        status, told = await self._ask("GET", "templates")
        if status != 200:
            return status, told
        mine = [
            {"name": one["name"], "note": one["note"], "version": one["versions"][-1]["number"]}
            for one in told.get("templates", ())
            if one["mine"] and one["versions"]
        ]
        return 200, {"templates": mine, **{key: told.get(key) for key in ("used_bytes", "limit_bytes")}}

    async def save(self, name: str, note: str) -> tuple[int, dict[str, Any]]:
        """Begin to save this machine as a template: the service's status and answer."""
        told = {"server": self._server, "name": name, "note": note}
        return await self._ask("POST", "templates/save", told)

    async def cancel_save(self, save: str) -> tuple[int, dict[str, Any]]:
        """End a save of this machine: the service's status and answer."""
        return await self._ask("POST", "templates/cancel", {"save": save})

    async def _about_lease(self, what: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self.lease is None:
            return 503, {"message": "The hub has not told yet which machine this is. Try again in a minute."}
        return await self._ask("POST", f"leases/{self.lease['id']}/{what}", body)

    async def _ask(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        request = HTTPRequest(
            self._url + path,
            method=method,
            headers={**self._headers, "Content-Type": "application/json"},
            body=None if body is None else json.dumps(body),
            request_timeout=_ANSWER_SECONDS,
        )
        try:
            answer = await AsyncHTTPClient().fetch(request, raise_error=False)
            told = json.loads(answer.body or b"{}")
        except (HTTPClientError, OSError, ValueError):
            return 503, {"message": "The hub does not answer now. Try again in a minute."}
        if not isinstance(told, dict) or answer.code == 599:
            return 503, {"message": "The hub does not answer now. Try again in a minute."}
        return answer.code, told

    # --- the stream ------------------------------------------------------------------------------

    async def _listen(self) -> None:
        wait = _FIRST_WAIT_SECONDS
        while True:
            began = time.monotonic()
            reason = await self._listen_once()
            if time.monotonic() - began > _LONGEST_WAIT_SECONDS:
                wait = _FIRST_WAIT_SECONDS  # it worked for a while
            if not self._is_told_silent:
                self._is_told_silent = True
                log.info("The hub's service is not heard (%s); asking again until it is.", reason)
            refused = self._refused_until - time.monotonic()
            # Boxes that lost the same service do not come back all at once.
            await asyncio.sleep(max(refused, wait) * random.uniform(1, 1.5))  # noqa: S311
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS)

    def _mind(self, status: int) -> None:
        """Leave the service alone for a while if it does not take our token; says so once."""
        if status not in (401, 403):
            return
        self._refused_until = time.monotonic() + REFUSED_SECONDS
        if not self._is_told_refused:
            self._is_told_silent = self._is_told_refused = True
            log.warning(
                "The hub's service refuses this machine's token (status %d): no notices, no reports."
                " It is asked again every %.0f minutes.",
                status,
                REFUSED_SECONDS / 60,
            )

    async def _listen_once(self) -> str:
        """Listen until the stream ends; returns why it did."""
        self._rest = b""
        self._heard_at = time.monotonic()
        client = AsyncHTTPClient(force_instance=True, defaults={"request_timeout": 0})
        request = HTTPRequest(
            f"{self._url}box/events?server={quote(self._server, safe='')}",
            headers=self._headers,
            streaming_callback=self._hear,
            request_timeout=0,
            connect_timeout=_ANSWER_SECONDS,
        )
        fetching = asyncio.ensure_future(client.fetch(request, raise_error=False))
        try:
            while not fetching.done():
                await asyncio.wait({fetching}, timeout=_SILENCE_SECONDS / 4)
                if not fetching.done() and time.monotonic() - self._heard_at > _SILENCE_SECONDS:
                    return "it fell silent"
            answer = fetching.result()
            self._mind(answer.code)
            return f"status {answer.code}"
        except (HTTPClientError, OSError) as error:
            return str(error)
        finally:
            fetching.cancel()
            client.close()

    def _hear(self, chunk: bytes) -> None:
        self._heard_at = time.monotonic()
        *events, self._rest = (self._rest + chunk).split(b"\n\n")
        self._rest = self._rest[:_LONGEST_EVENT_BYTES]
        for event in events:
            fields = dict(
                line.split(": ", 1) for line in event.decode(errors="replace").splitlines() if ": " in line
            )
            try:
                told = json.loads(fields.get("data", ""))
            except ValueError:
                continue  # a comment that keeps the line open, or an answer that is no stream
            if isinstance(told, dict) and "event" in fields:
                self._is_told_silent = self._is_told_refused = False
                self._take(fields["event"], told)

    def _take(self, kind: str, told: dict[str, Any]) -> None:
        if kind == "saves" and isinstance(told.get("saves"), list):
            if told["saves"] != self.saves:
                self.saves = told["saves"]
                self._tell("saves", {"saves": self.saves})
            return
        if not isinstance(told.get("id"), int):
            return  # of a service that is newer than this image
        if kind == "lease":
            if told == self.lease:
                return
            self.lease = told
        elif kind == "notice":
            if self.notices.get(told["id"]) == told:
                return
            self.notices[told["id"]] = told
        elif kind == "closed":
            if self.notices.pop(told["id"], None) is None:
                return
        else:
            return
        self._tell(kind, told)

    # --- reports ---------------------------------------------------------------------------------

    async def _report(self) -> None:
        told: Life = {}
        told_at = -math.inf  # time.monotonic(), as all but the signs of life themselves
        while True:
            life, now = self._life(), time.monotonic()
            is_due = now - told_at >= self._report_seconds or wakes(told, life, time.time() - (now - told_at))
            if is_due and now >= self._refused_until:
                status, _ = await self._ask("POST", "box/activity", {"server": self._server, **life})
                self._mind(status)
                told, told_at = life, now
            await asyncio.sleep(min(LOOK_SECONDS, self._report_seconds))


def wakes(told: Life, life: Life, told_at: float) -> bool:
    """Whether what was idle, as far as has been told at ``told_at``, is so no longer."""
    before, newest = (max((at for at in one.values() if at), default=0.0) for one in (told, life))
    return newest > before and told_at - before >= REPORT_SECONDS


def find_link(
    box: Any,
    *,
    tell: Callable[[str, dict[str, Any]], None],
    life: Callable[[], Life],
    environment: Mapping[str, str] = os.environ,
) -> HubLink | None:
    """The link of this box; None where its hub has no service, or no hub started it."""
    token = environment.get("JUPYTERHUB_API_TOKEN", "")
    if box is None or not box.service or not token:
        return None
    return HubLink(box.service, box.server, token, tell=tell, life=life)
