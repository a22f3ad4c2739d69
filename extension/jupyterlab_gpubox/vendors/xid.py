"""Xid errors: the codes with which NVIDIA's driver reports that something went wrong on a GPU.

Only who listens hears of them, with an event set of NVML's.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pynvml

log = logging.getLogger(__name__)

_MOST_AT_ONCE = 32  # a GPU in trouble may report faster than it is read


class XidListener:
    """An event set for Xid errors, made when it is first asked and made anew for other cards."""

    def __init__(self) -> None:
        self._events: Any = None
        self._cards: dict[int, str] = {}  # ids by the address of the handle

    def listen(self, handles: Mapping[str, Any]) -> dict[str, int]:
        """The last Xid by card id, of those reported since the last call. Never waits.

        ``handles`` are the cards that answer now, by id.
        """
        cards = {_address(handle): card for card, handle in handles.items()}
        try:
            if cards != self._cards:
                self._register(handles, cards)
            return self._heard() if self._events is not None else {}
        except pynvml.NVMLError as error:
            # One of the cards is lost, and soon no longer among those that answer; or none has such events.
            log.debug("Xid errors cannot be heard from these GPUs: %s", error)
            self.stop()
            self._cards = cards
            return {}

    def stop(self) -> None:
        """Gives the event set back."""
        if self._events is not None:
            with suppress(pynvml.NVMLError):
                pynvml.nvmlEventSetFree(self._events)
        self.forget()

    def forget(self) -> None:
        """Forgets an event set that is gone already."""
        self._events, self._cards = None, {}

    def _register(self, handles: Mapping[str, Any], cards: dict[int, str]) -> None:
        self.stop()
        self._events = pynvml.nvmlEventSetCreate()
        for handle in handles.values():
            # Cards of GeForce or in a container may have no such events: theirs are not heard.
            with suppress(pynvml.NVMLError):
                pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, self._events)
        self._cards = cards

    def _heard(self) -> dict[str, int]:
        heard: dict[str, int] = {}
        for _ in range(_MOST_AT_ONCE):
            try:
                event = pynvml.nvmlEventSetWait_v2(self._events, 0)
            except pynvml.NVMLError_Timeout:
                break
            card = self._cards.get(_address(event.device))
            if card:
                heard[card] = int(event.eventData)
        return heard


def _address(handle: Any) -> int:
    return ctypes.cast(handle, ctypes.c_void_p).value or 0
