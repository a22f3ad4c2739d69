"""Somebody's machine, as the gateway needs it: running, with an address and a token for one connection.

The machine is started by the hub's own API, as its user would; a place in line that nobody waits for any more
is given up. What JupyterHub tells of a start is told on, sentence by sentence.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from ..control.client import HubClient, HubRefused, NoHub

Tell = Callable[[str], None]

_AGAIN_SECONDS = 1.0
# A stream of JupyterHub's that is silent for longer than its keep-alive is lost.
_SILENCE_SECONDS = 60.0


class Refused(Exception):
    """No session; the message is a sentence for the person who wants one."""


@dataclass(frozen=True)
class Login:
    """Who somebody is, and which of their servers they want. ``key`` is the number of the key that they came
    with, 0 where it was a token; ``token`` is that one, and what they may do is what it may."""

    user: str
    server: str
    key: int = 0
    token: str = ""

    @property
    def machine(self) -> str:
        """The server in words."""
        return f"machine {self.server!r}" if self.server else "machine"


@dataclass(frozen=True)
class Account:
    """A user of the hub: since when (Unix seconds), the names of their servers beside the first (which has
    none), and which of all are on their way."""

    created_at: float
    servers: tuple[str, ...]
    starting: tuple[str, ...]


@dataclass(frozen=True)
class Reach:
    """Where a running server answers, and a token that opens it: for a minute, or until `Machines.done`."""

    url: str
    token: str
    token_id: int


class _Start:
    """A start that connections of this gateway wait for; whether one of them asked for it."""

    def __init__(self) -> None:
        self.waiting = 0
        self.is_ours = False


class Machines:
    """The machines of a hub. ``hub`` is its control socket, the rest its public API and a token of the
    service."""

    def __init__(self, hub: HubClient, session: aiohttp.ClientSession, api_url: str, token: str) -> None:
        self._hub = hub
        self._session = session
        self._api = api_url.rstrip("/")
        self._token = token
        self._starts: dict[tuple[str, str], _Start] = {}

    # --- who somebody is -------------------------------------------------------------------------

    async def account(self, user: str) -> Account | None:
        """The user's account at the hub; None where there is none. Raises `NoHub`."""
        try:
            told = await self._hub.do("account", user=user)
        except HubRefused as error:
            if error.status != 404:
                raise NoHub(str(error)) from error
            return None
        return Account(told["created_at"], tuple(told["servers"]), tuple(told["starting"]))

    async def owner(self, token: str) -> dict[str, Any] | None:
        """What the hub says of a token: its user's name and its scopes; None where it is none. Raises
        `NoHub`."""
        if not token.isascii() or not token.isprintable():
            return None
        try:
            status, told = await self._ask("GET", "/user", token)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoHub("The hub does not answer.") from error
        if status >= 500:
            raise NoHub("The hub does not answer.")
        return told if status == 200 and told.get("kind") == "user" else None

    # --- their machine -----------------------------------------------------------------------------

    async def reach(self, login: Login) -> Reach | None:
        """The running server; None where it does not run. Raises `Refused`."""
        try:
            told = await self._hub.do("reach", user=login.user, server=login.server)
        except HubRefused as error:
            if error.status == 409:
                return None
            raise Refused(str(error)) from error
        except NoHub as error:
            raise Refused("The hub does not answer at the moment. Try again in a minute.") from error
        return Reach(told["url"], told["token"], told["token_id"])

    async def done(self, reach: Reach) -> None:
        """The connection is open, or has failed: nobody needs its token any more."""
        try:
            await self._hub.do("revoke", token_id=reach.token_id)
        except (HubRefused, NoHub):
            pass  # it expires by itself

    async def start(self, login: Login, tell: Tell) -> None:
        """Start the server and wait until it runs, for as long as that takes; one that is on its way is
        waited for.

        Raises `Refused`. Cancelled, the start ends with it, if it was begun here and nobody else waits for it
        here.
        """
        async with self._waiting(login) as start:
            is_told = False
            while True:
                try:
                    if await self._begin(login, start):
                        return
                    async for event in self._events(login):
                        is_told = False
                        if event.get("failed"):
                            raise Refused(
                                _plain(event.get("message")) or "Your machine could not be started."
                            )
                        if event.get("ready"):
                            return
                        if "phase" in event:
                            tell(_plain(event.get("message")))
                except (NoHub, aiohttp.ClientError, TimeoutError):
                    if not is_told:
                        tell("The hub does not answer; waiting for it")
                    is_told = True
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _begin(self, login: Login, start: _Start) -> bool:
        """Ask for the server; whether it runs already."""
        account = await self._account_or_refuse(login)
        status, told = await self._ask("POST", _path(login), login.token or self._token)
        message = str(told.get("message", ""))
        if status in (201, 202):
            start.is_ours = start.is_ours or login.server not in account.starting
            return False  # 201 does not mean that it runs: its events tell
        if status == 400 and "already running" in message:
            return True
        if status == 400 and "pending" in message:
            return False  # it is being stopped
        if status in (401, 403):
            raise Refused(f"This token may not start your {login.machine}.")
        if status in (429, 502, 503, 504) and not message:
            return False
        raise Refused(_plain(message) or f"The hub did not start your {login.machine} ({status}).")

    async def _account_or_refuse(self, login: Login) -> Account:
        account = await self.account(login.user)
        if account is None or (login.server and login.server not in account.servers):
            names = ", ".join(account.servers) if account else ""
            others = f" You have: {names}." if names else ""
            raise Refused(f"You have no machine {login.server!r}.{others} Add it on the hub's home page.")
        return account

    async def _events(self, login: Login) -> AsyncIterator[dict[str, Any]]:
        """The progress events of a start (JupyterHub's server-sent events)."""
        timeout = aiohttp.ClientTimeout(total=None, sock_read=_SILENCE_SECONDS)
        headers = {"Authorization": f"token {login.token or self._token}"}
        async with self._session.get(
            URL(f"{self._api}{_path(login)}/progress", encoded=True), headers=headers, timeout=timeout
        ) as answer:
            if answer.status != 200:
                return
            async for line in answer.content:
                if line.startswith(b"data:"):
                    yield json.loads(line[5:])

    @asynccontextmanager
    async def _waiting(self, login: Login) -> AsyncIterator[_Start]:
        key = login.user, login.server
        start = self._starts.setdefault(key, _Start())
        start.waiting += 1
        try:
            yield start
        except asyncio.CancelledError:
            if start.is_ours and start.waiting == 1:
                await asyncio.shield(self._cancel(login))
            raise
        finally:
            start.waiting -= 1
            if not start.waiting:
                self._starts.pop(key, None)

    async def _cancel(self, login: Login) -> None:
        """Leave the line, or end the start; a machine that runs by now is left alone."""
        try:
            if await self.reach(login) is None:
                await self._ask("DELETE", _path(login), login.token or self._token)
        except (Refused, aiohttp.ClientError, TimeoutError):
            pass  # the hub is down: it ends what nobody waits for by itself

    async def _ask(self, method: str, path: str, token: str) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"token {token}"}
        timeout = aiohttp.ClientTimeout(total=60)
        async with self._session.request(
            method, URL(f"{self._api}{path}", encoded=True), headers=headers, timeout=timeout
        ) as answer:
            try:
                told = await answer.json(content_type=None)
            except ValueError:
                told = {}
            return answer.status, told if isinstance(told, dict) else {}


def _path(login: Login) -> str:
    person = quote(login.user, safe="")
    server = quote(login.server, safe="")
    return f"/users/{person}/servers/{server}" if server else f"/users/{person}/server"


def _plain(message: object) -> str:
    """One line for a terminal, whatever the message has in it."""
    return " ".join(str(message or "").split())
