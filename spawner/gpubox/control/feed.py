"""The state as it changes: a version for each change, and a way to wait for the next."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from .state import State

# Whatever nobody tells (a server became ready, an estimate grew older) is seen after this long.
_LOOK_AGAIN_SECONDS = 2.0
# Changes that come together are told together.
_GATHER_SECONDS = 0.1
# With nobody asking, nothing is put together.
_ASLEEP_AFTER_SECONDS = 60.0


class StateFeed:
    """The newest state, its version, and who waits for a newer one.

    ``read`` puts the state together; ``moved`` returns when something may have changed, or after as many
    seconds as it is given. ``run`` names this run of the hub: versions of another mean nothing.
    """

    def __init__(
        self, read: Callable[[], Awaitable[State]], moved: Callable[[float], Awaitable[None]]
    ) -> None:
        self.run = secrets.token_hex(8)
        self.version = 0
        self._read = read
        self._moved = moved
        self._state: State = {}
        self._text = ""
        self._changed = asyncio.Event()
        self._reading = asyncio.Lock()
        self._asked_at = 0.0
        self._looking: asyncio.Task[None] | None = None

    async def newest(self) -> str:
        """The state as JSON, read anew."""
        self._asked_at = time.monotonic()
        await self._look()
        return self._text

    async def newer(self, run: str, version: int, timeout: float) -> str:
        """The state as JSON once it is newer than that version of that run, or after ``timeout`` seconds."""
        self._asked_at = time.monotonic()
        if self._looking is None or self._looking.done():
            await self._look()
            self._looking = asyncio.create_task(self._keep_looking())
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while run == self.run and version >= self.version:
                    await self._changed.wait()
        self._asked_at = time.monotonic()
        return self._text

    async def _keep_looking(self) -> None:
        while time.monotonic() - self._asked_at < _ASLEEP_AFTER_SECONDS:
            await self._moved(_LOOK_AGAIN_SECONDS)
            await asyncio.sleep(_GATHER_SECONDS)
            await self._look()

    async def _look(self) -> None:
        async with self._reading:
            state = await self._read()
            if state != self._state:
                self._state = state
                self.version += 1
                self._changed.set()
                self._changed = asyncio.Event()
            self._text = json.dumps(
                {"run": self.run, "version": self.version, "at": time.time(), **state}, separators=(",", ":")
            )
