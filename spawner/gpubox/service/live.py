"""What the service knows now: the hub's state, followed by the control socket, and the GPUs' figures.

Who wants to be told of changes subscribes; a subscriber is called on the event loop and must not block.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from ..control.client import HubClient, NoHub

log = logging.getLogger(__name__)
State = dict[str, Any]
Figures = dict[str, dict[str, float | None]]
"""By the GPU's UUID: ``utilisation_percent``, ``memory_used_mib``, ``temperature_c``, ``power_watts``; None
where it is not told."""

_AGAIN_SECONDS = 1.0
EMPTY: State = {
    "hub": "",
    "currency": "",
    "gpus": [],
    "leases": [],
    "line": [],
    "machines": [],
    "templates": {"revision": 0, "saves": []},
}


class Live:
    """The newest state and figures. ``hub_answers`` is False while the hub cannot be asked."""

    def __init__(self, hub: HubClient) -> None:
        self.hub = hub
        self.state: State = EMPTY
        self.figures: Figures = {}
        self.hub_answers = False
        self.known = asyncio.Event()
        self._on_state: list[Callable[[State, State], None]] = []
        self._on_figures: list[Callable[[Figures], None]] = []

    def on_state(self, listener: Callable[[State, State], None]) -> Callable[[], None]:
        """Call ``listener(before, after)`` with every change; returns what ends it.

        At the first state ``before`` is `EMPTY`.
        """
        self._on_state.append(listener)
        return lambda: self._on_state.remove(listener)

    def on_figures(self, listener: Callable[[Figures], None]) -> Callable[[], None]:
        """Call ``listener`` with the figures of GPUs that have changed; returns what ends it."""
        self._on_figures.append(listener)
        return lambda: self._on_figures.remove(listener)

    def set_figures(self, figures: Figures) -> None:
        """Take a reading of all GPUs."""
        changed = {uuid: row for uuid, row in figures.items() if self.figures.get(uuid) != row}
        self.figures = figures
        if changed:
            for listener in list(self._on_figures):
                listener(changed)

    def lease(self, lease_id: int) -> State:
        """An open lease or ticket. Raises KeyError."""
        for lease in self.state["leases"]:
            if lease["id"] == lease_id:
                return dict(lease)
        raise KeyError(lease_id)

    async def follow(self) -> None:
        """Follow the hub for as long as this task runs."""
        run, version = "", 0
        while True:
            try:
                told = await self.hub.state(run, version)
            except NoHub:
                if self.hub_answers:
                    log.warning("The hub does not answer; asking again until it does.")
                self.hub_answers = False
                run = ""
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            self.hub_answers = True
            if (told["run"], told["version"]) != (run, version):
                run, version = told["run"], told["version"]
                self._take(told)

    async def until(self, holds: Callable[[State], bool], timeout: float) -> bool:
        """Wait until a state is known for which ``holds`` is true; False where it did not come in time."""
        changed = asyncio.Event()
        end = self.on_state(lambda before, after: changed.set())
        try:
            async with asyncio.timeout(timeout):
                while not holds(self.state):
                    await changed.wait()
                    changed.clear()
        except TimeoutError:
            return False
        finally:
            end()
        return True

    def _take(self, state: State) -> None:
        before, self.state = self.state, state
        self.known.set()
        for listener in list(self._on_state):
            try:
                listener(before, state)
            except Exception:
                log.exception("A change of the hub's state could not be passed on.")
