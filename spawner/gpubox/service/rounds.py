"""What runs in the service beside its pages: sampling, the culler, notices, their delivery.

Each is a task of its own; one that fails is logged and begun anew, and takes nothing else along.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

import sqlalchemy as sa

from ..budget import Budgets
from ..rules import Rule
from .activities import Activities
from .boxes import BoxStreams
from .closing import Closing
from .culler import Culler
from .delivery import Delivery
from .live import Live
from .metrics import Metrics
from .notices import Notices
from .sampling import Sampling
from .settings import GPUService
from .store import Store

log = logging.getLogger(__name__)
_AGAIN_SECONDS = 5.0


class Rounds:
    """Everything, put together: `open` it, then `run` it until that is cancelled."""

    def __init__(
        self,
        live: Live,
        ledger: sa.Engine,
        options: GPUService,
        rules: Sequence[Rule],
        environment: Mapping[str, str],
    ) -> None:
        self.live = live
        self.store = Store(ledger)
        self.activities = Activities(self.store, live)
        self.notices = Notices(self.store, live)
        self.boxes = BoxStreams(live, self.notices)
        self.delivery = Delivery(self.notices, options)
        self.sampling = Sampling(
            live,
            self.activities,
            self.store,
            sample_seconds=options.sample_seconds,
            busy_percent=options.busy_percent,
        )
        hub = environment["JUPYTERHUB_API_URL"], environment["JUPYTERHUB_API_TOKEN"]
        self.culler = Culler(live, self.activities, self.sampling, self.notices, options, hub)
        self._budgets = Budgets(ledger, rules)
        self.closing = Closing(ledger, self.store)
        self.metrics = Metrics(live, ledger, self.sampling.clocks, self._budgets)

    async def open(self) -> None:
        """Know what was known before this process."""
        await self.activities.open()
        await self.notices.load()
        await self.metrics.open()
        await self.culler.open()

    async def run(self) -> None:
        """Run all of it until cancelled; what is not written yet is written then."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for what, begin in self._tasks().items():
                    tasks.create_task(again_and_again(what, begin), name=what)
        finally:
            await asyncio.shield(self._close())

    def _tasks(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return {
            "following the hub": self.live.follow,
            "sampling the GPUs": self.sampling.run,
            "signs of life": self.activities.run,
            "notices": self.notices.run,
            "notices of budgets": lambda: self.notices.tell_budgets(self._budgets.of),
            "sending notices": self.delivery.run,
            "stopping idle machines": self.culler.run,
            "closing months": self.closing.run,
            "summing up the ledger": self.metrics.run,
        }

    async def _close(self) -> None:
        await self.sampling.close()
        await self.store.close()


async def again_and_again(what: str, begin: Callable[[], Awaitable[None]]) -> None:
    """Run it until cancelled, begun anew whenever it fails."""
    while True:
        try:
            await begin()
        except Exception:
            log.exception("%s failed; beginning anew.", what.capitalize())
        await asyncio.sleep(_AGAIN_SECONDS)
