"""Xid errors: what the NVIDIA driver reports when a GPU fails, and which leave it useless until a reset.

Only a program that has NVML open hears of them. That keeps a laptop's GPU awake, so the watch is for
machines whose GPUs never sleep, and runs only where the admin asks for it.
"""

from __future__ import annotations

import ctypes
import logging
import threading
from typing import Any

import pynvml

log = logging.getLogger(__name__)

# The Xids for which NVIDIA's catalog names a reset of the GPU, or a restart, as the immediate action:
# https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html (buckets RESET_GPU, RESTART_BM, and
# the workflows of 48 and 74, which end in one). Not 155: it also tells of NVLinks that were put to sleep.
# Not 154: it says that the recovery action changed, which ``nvidia.discover`` reads itself.
FATAL_XIDS = {
    46: "the GPU stopped processing",
    48: "uncorrectable memory error",
    62: "its micro-controller halted",
    64: "broken memory could not be retired",
    74: "NVLink error",
    79: "the GPU has fallen off the bus",
    95: "uncontained memory error",
    109: "context switch timeout",
    110: "security fault",
    119: "its firmware does not answer",
    120: "its firmware failed",
    136: "NVLink training failed",
    140: "unrecovered memory error",
    143: "the GPU could not be initialised",
    156: "broken parts wait to be retired",
    158: "fatal timeout",
}
_RESTART = {79}
_WAIT_MS = 1000  # how long a stop may take


class XidWatch:
    """Listens for Xid errors of all GPUs on a thread of its own, and remembers the fatal ones by UUID.

    It holds NVML open while it runs: start it only where the admin says so. A driver that fails or is
    reloaded is tried again after ``retry_seconds``. Errors on a MIG slice are its card's.
    """

    def __init__(self, *, retry_seconds: float = 5.0) -> None:
        self._retry_seconds = retry_seconds
        self._lock = threading.Lock()
        self._fatal: dict[str, str] = {}
        self._watched: frozenset[str] = frozenset()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to listen; returns at once. A watch that runs stays as it is."""
        if self._thread is None or not self._thread.is_alive():
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name="xid-watch", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ends the listening within a second or so, and closes NVML. What was heard is kept."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * _WAIT_MS / 1000)

    @property
    def watched(self) -> frozenset[str]:
        """UUIDs of the cards that are listened to now: empty without a driver that can be asked."""
        return self._watched

    def fatal(self) -> dict[str, str]:
        """For each card (by UUID) that needs a reset, a sentence that says why."""
        with self._lock:
            return dict(self._fatal)

    def clear(self, uuid: str) -> None:
        """Forgets a card's error: it was reset, and a check has passed."""
        with self._lock:
            self._fatal.pop(uuid, None)

    # --- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        said = ""
        while not self._stopping.is_set():
            try:
                pynvml.nvmlInit()
                try:
                    self._listen()
                finally:
                    self._watched = frozenset()
                    pynvml.nvmlShutdown()
            except pynvml.NVMLError as error:
                if str(error) != said:  # a driver that is gone stays so for long
                    log.warning("Xid errors cannot be watched for now: %s", error)
                said = str(error)
            self._stopping.wait(self._retry_seconds)

    def _listen(self) -> None:
        """Waits for errors until told to stop. Raises NVMLError when the driver does not let us."""
        events = pynvml.nvmlEventSetCreate()
        try:
            uuids = _register_all(events)
            self._watched = frozenset(uuids.values())
            while uuids and not self._stopping.is_set():
                try:
                    event = pynvml.nvmlEventSetWait_v2(events, _WAIT_MS)
                except pynvml.NVMLError_Timeout:
                    continue
                self._note(uuids.get(_address(event.device), ""), int(event.eventData))
        finally:
            pynvml.nvmlEventSetFree(events)

    def _note(self, uuid: str, xid: int) -> None:
        what = FATAL_XIDS.get(xid)
        log.warning("%s reports Xid %d (%s).", uuid, xid, what or "no reset needed")
        if what is None:
            return
        remedy = "restart this machine" if xid in _RESTART else "run `nvidia-smi --gpu-reset` when it is idle"
        with self._lock:
            self._fatal.setdefault(uuid, f"Xid {xid}, {what}: {remedy}.")


def _register_all(events: Any) -> dict[int, str]:
    """Registers every GPU that reports Xids; their UUIDs by the address of their handles."""
    uuids = {}
    for index in range(pynvml.nvmlDeviceGetCount()):
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            uuid = pynvml.nvmlDeviceGetUUID(handle)
            pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, events)
        except pynvml.NVMLError as error:
            log.warning("GPU %d does not report Xid errors: %s", index, error)
            continue
        uuids[_address(handle)] = uuid
    return uuids


def _address(handle: Any) -> int:
    return ctypes.cast(handle, ctypes.c_void_p).value or 0
