"""Sums up each month once it is over, so that a bill over years is read in a moment."""

from __future__ import annotations

import asyncio
import time

import sqlalchemy as sa

from .. import books
from .store import Store

_LOOK_SECONDS = 3600.0


class Closing:
    """Closes the months that are over, one after the other, and looks again every hour."""

    def __init__(self, ledger: sa.Engine, store: Store) -> None:
        self._ledger, self._store = ledger, store

    async def run(self) -> None:
        """Until cancelled; a month that is under way then is begun anew by the next process."""
        while True:
            await self.close(time.time())
            await asyncio.sleep(_LOOK_SECONDS)

    async def close(self, now: float) -> None:
        """Sum up what is over at that time."""
        await self._store.run(self._store.forget_future, now)
        for month in await asyncio.to_thread(books.months_to_close, self._ledger, now):
            holders = await asyncio.to_thread(books.sum_up, self._ledger, month, now)
            await self._store.run(self._store.close_month, month, holders, now)
