"""Asking the running hub by its control socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from ..host import HostProblem
from . import short_path

Answer = TypeVar("Answer")


class NoHub(HostProblem):
    """No hub answers; the message says so, and what to do."""


class HubRefused(HostProblem):
    """The hub says no; str() is its sentence, ``status`` its HTTP status (400, 404, 409, 500)."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


class HubClient:
    """One hub, by its state directory (the usual one by default). Use it as an async context manager."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory

    async def __aenter__(self) -> HubClient:
        self._path = short_path(self._directory)
        try:
            path = self._path.__enter__()
        except OSError as error:
            raise NoHub(f"No hub has run here: {error.strerror} ({error.filename}).") from error
        self._session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(path))
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._session.close()
        self._path.__exit__(None, None, None)

    async def state(self, run: str = "", after: int = 0) -> dict[str, Any]:
        """The hub's state (see `control.state`); with a run and a version, once it is newer than that.

        Answers after 25 s at the latest. Raises `NoHub`.
        """
        query = {"run": run, "after": str(after)} if run else {}
        return await self._ask("GET", "/state", params=query, timeout=aiohttp.ClientTimeout(total=60))

    async def settings(self) -> dict[str, Any]:
        """What the service is configured with. Raises `NoHub`."""
        return await self._ask("GET", "/settings")

    async def timings(self) -> dict[str, Any]:
        """How long the phases of starts took (`gpubox.timings`). Raises `NoHub`."""
        return await self._ask("GET", "/timings")

    async def do(self, what: str, **fields: Any) -> dict[str, Any]:
        """Have the hub do something: ``what`` is a method of its `Desk`, or ``templates/save`` and the like.

        Returns when done.

        Raises `HubRefused` with the hub's sentence, `NoHub`.
        """
        timeout = aiohttp.ClientTimeout(total=300)  # to end a machine takes as long as the engine does
        return await self._ask("POST", f"/{what}", json=fields, timeout=timeout)

    async def _ask(self, method: str, path: str, **details: Any) -> dict[str, Any]:
        try:
            async with self._session.request(method, f"http://hub{path}", **details) as response:
                told: dict[str, Any] = await response.json()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise NoHub("The hub does not answer. Is it running? Start it: gpubox run") from error
        if response.status != 200:
            raise HubRefused(told.get("message", "The hub says no."), response.status)
        return told


def ask(question: Callable[[HubClient], Awaitable[Answer]], directory: Path | None = None) -> Answer:
    """Ask where no event loop runs, as a command does: ``ask(lambda hub: hub.state())``.

    Raises `NoHub` and `HubRefused`.
    """

    async def asked() -> Answer:
        async with HubClient(directory) as hub:
            return await question(hub)

    return asyncio.run(asked())
