"""NVIDIA GPUs, as the driver's NVML library tells them: cards, MIG slices, how near they are, what ails them.

One look opens NVML and closes it again, since an open handle keeps a laptop's GPU awake. A driver in
trouble can hold a call for 45 seconds: call `discover` in a thread. Xid errors, which only a watcher
with NVML open hears of, are in ``xid``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pynvml

from . import GPU, Inventory

log = logging.getLogger(__name__)
T = TypeVar("T")

# "This GPU, this driver or this user has no such thing": not a failure.
_NOTHING_THERE = {
    pynvml.NVML_ERROR_NOT_SUPPORTED,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    pynvml.NVML_ERROR_NO_PERMISSION,
    pynvml.NVML_ERROR_NOT_FOUND,
    pynvml.NVML_ERROR_INVALID_ARGUMENT,
    pynvml.NVML_ERROR_NO_DATA,
}
_MODULE_TROUBLE = {
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: (
        "The NVIDIA driver is installed but not loaded: run `modprobe nvidia` and look at `dmesg`."
    ),
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
        "The NVIDIA driver was updated while the old one runs: restart this machine, or load its new"
        " kernel modules and then restart the hub."
    ),
    pynvml.NVML_ERROR_NO_PERMISSION: (
        "This user may not use the NVIDIA driver: check the permissions of /dev/nvidiactl."
    ),
}
_AILMENTS = {
    pynvml.NVML_ERROR_GPU_IS_LOST: "The GPU has fallen off the bus: restart this machine.",
    pynvml.NVML_ERROR_RESET_REQUIRED: "The GPU needs a reset: run `nvidia-smi --gpu-reset` when it is idle.",
}
# NVML_FI_DEV_GET_GPU_RECOVERY_ACTION (drivers from R565): what the driver itself says is to be done.
_RECOVERY_ACTIONS = {
    1: "The driver asks for a reset of this GPU: run `nvidia-smi --gpu-reset` when it is idle.",
    2: "The driver asks for a restart of this machine to recover this GPU.",
    3: "The driver asks to stop all work between this GPU and its peers, then to reset it.",
    4: "The driver asks to drain this GPU and then to reset it.",
    6: "The driver asks for a reset of the bus of this GPU: restart this machine.",
    7: "The driver asks for a restart of this machine to recover this GPU.",
}
_PROHIBITED = "Its compute mode is 'prohibited', so that no program can use it: run `nvidia-smi -c 0`."
_RETIRED = "Memory pages with uncorrectable errors wait to be retired: reset this GPU or restart its machine."
_REMAP_FAILED = "Its broken memory rows could not be replaced: NVIDIA asks to have this GPU replaced."

# How near two GPUs are. With NVLink, the number of links between them is added.
_NVLINK = 100
_NEARNESS = {
    pynvml.NVML_TOPOLOGY_INTERNAL: 60,
    pynvml.NVML_TOPOLOGY_SINGLE: 50,
    pynvml.NVML_TOPOLOGY_MULTIPLE: 40,
    pynvml.NVML_TOPOLOGY_HOSTBRIDGE: 30,
    pynvml.NVML_TOPOLOGY_NODE: 20,
    pynvml.NVML_TOPOLOGY_SYSTEM: 10,
}
_PROFILE_IN_NAME = re.compile(r"\bMIG ((?:\d+c\.)?\d+g\.\d+gb\S*)")


class GPUAils(Exception):
    """A call failed because the GPU does; the message is a sentence for `GPU.problem`."""


@dataclass(frozen=True)
class _Card:
    handle: Any
    gpu: GPU


def discover() -> Inventory:
    """All GPUs of this machine, in the driver's order. MIG slices stand for a card with MIG on.

    Never raises for what a driver does; a driver that fails gives an inventory with ``problem``. May
    take as long as the driver does. A GPU so broken that it does not tell its UUID is absent.
    """
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        if error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
            return Inventory()
        return Inventory(problem=_driver_trouble(error), answered=False)
    try:
        return _look()
    except pynvml.NVMLError as error:
        return Inventory(problem=_driver_trouble(error), answered=False)
    except GPUAils as ails:  # from a call that concerns no GPU of its own
        return Inventory(problem=str(ails), answered=False)
    finally:
        _close()


def query(call: Callable[..., T], *asked: Any, default: T) -> T:
    """One NVML call: its answer, or ``default`` where the GPU has no such thing or the call fails.

    Raises `GPUAils` where the GPU itself is lost or needs a reset. Every call that may fail for one
    GPU goes through here.
    """
    try:
        return call(*asked)
    except pynvml.NVMLError as error:
        if error.value in _AILMENTS:
            raise GPUAils(_AILMENTS[error.value]) from error
        if error.value not in _NOTHING_THERE:
            log.warning("%s failed: %s", call.__name__, error)
        return default


def with_problems(inventory: Inventory, problems: Mapping[str, str]) -> Inventory:
    """The inventory with the problems of `XidWatch.fatal`, by UUID, on those cards and all their slices."""

    def marked(gpu: GPU) -> GPU:
        problem = gpu.problem or problems.get(gpu.uuid) or problems.get(gpu.parent or "") or ""
        return replace(gpu, problem=problem)

    return replace(inventory, gpus=tuple(map(marked, inventory.gpus)))


@dataclass(frozen=True)
class Place:
    """Where a card is on the bus (``0000:01:00.0``), and which programs of this host use it."""

    uuid: str
    bus_id: str
    programs: tuple[str, ...] = ()


def places(uuids: Sequence[str]) -> tuple[Place, ...]:
    """Where these cards are. One that the driver does not list is left out. Blocks as `discover` does."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        return tuple(filter(None, map(_place, uuids)))
    finally:
        _close()


def _place(uuid: str) -> Place | None:
    try:
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        bus_id = pynvml.nvmlDeviceGetPciInfo(handle).busId
        lists = (pynvml.nvmlDeviceGetComputeRunningProcesses, pynvml.nvmlDeviceGetGraphicsRunningProcesses)
        running: list[Any] = [process for call in lists for process in _asked(call, handle)]
        pids = {int(process.pid) for process in running}
    except (pynvml.NVMLError, GPUAils):
        return None
    return Place(uuid, str(bus_id), tuple(f"{_program(pid)} ({pid})" for pid in sorted(pids)))


def _asked(call: Callable[..., Sequence[Any]], handle: Any) -> Sequence[Any]:
    nothing: Sequence[Any] = ()
    return query(call, handle, default=nothing)


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() or "a program"
    except OSError:
        return "a program"


def _look() -> Inventory:
    listed = [_card(index) for index in range(pynvml.nvmlDeviceGetCount())]
    cards = [card for card in listed if isinstance(card, _Card)]
    cuda = query(pynvml.nvmlSystemGetCudaDriverVersion_v2, default=None)  # 12040 for 12.4
    return Inventory(
        gpus=tuple(gpu for card in cards for gpu in _offered(card, cards)),
        driver_version=query(pynvml.nvmlSystemGetDriverVersion, default=None),
        cuda_version=(cuda // 1000, cuda % 1000 // 10) if cuda else None,
        silent=tuple(card for card in listed if isinstance(card, str)),
    )


def _driver_trouble(error: pynvml.NVMLError) -> str:
    known = _MODULE_TROUBLE.get(error.value)
    return known or f"The NVIDIA driver fails ({error}): look at `nvidia-smi` and `dmesg`."


def _close() -> None:
    try:
        pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        log.warning("NVML did not close: %s", error)


# --- cards ---------------------------------------------------------------------------------------


def _card(index: int) -> _Card | str:
    """The card at a place in the driver's order; a sentence where it does not even say who it is."""
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        uuid = pynvml.nvmlDeviceGetUUID(handle)
    except pynvml.NVMLError as error:
        return f"GPU {index} of the driver's list does not answer ({error}): it is left out."
    gpu = GPU(uuid=uuid, model="NVIDIA GPU", index=index)
    try:
        gpu = replace(gpu, model=query(pynvml.nvmlDeviceGetName, handle, default=gpu.model))
        gpu = replace(gpu, memory_mib=_memory_mib(handle))
        gpu = replace(gpu, problem=_ailment(handle))
    except GPUAils as ails:
        gpu = replace(gpu, problem=str(ails))
    return _Card(handle, gpu)


def _memory_mib(handle: Any) -> int | None:
    memory = query(pynvml.nvmlDeviceGetMemoryInfo, handle, default=None)
    return memory.total // 2**20 or None if memory else None


def _ailment(handle: Any) -> str:
    """What is wrong with a GPU that answers: the sentence, or nothing."""
    action = _recovery_action(handle)
    if action:
        return _RECOVERY_ACTIONS.get(action, f"The driver asks for recovery action {action} on this GPU.")
    *_, failed = query(pynvml.nvmlDeviceGetRemappedRows, handle, default=(0, 0, 0, 0))
    if failed:
        return _REMAP_FAILED
    # Before Ampere, a page with a double bit error stays in use until the next reset.
    waiting = query(pynvml.nvmlDeviceGetRetiredPagesPendingStatus, handle, default=0)
    if waiting and query(
        pynvml.nvmlDeviceGetTotalEccErrors,
        handle,
        pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
        pynvml.NVML_VOLATILE_ECC,
        default=0,
    ):
        return _RETIRED
    mode = query(pynvml.nvmlDeviceGetComputeMode, handle, default=pynvml.NVML_COMPUTEMODE_DEFAULT)
    return _PROHIBITED if mode == pynvml.NVML_COMPUTEMODE_PROHIBITED else ""


def _recovery_action(handle: Any) -> int:
    fields = [pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION]
    answers: Sequence[Any] = query(pynvml.nvmlDeviceGetFieldValues, handle, fields, default=())
    for field in answers:
        if field.nvmlReturn in _AILMENTS:
            raise GPUAils(_AILMENTS[field.nvmlReturn])
        if field.nvmlReturn == pynvml.NVML_SUCCESS:
            return int(field.value.uiVal)
    return 0


# --- what a card offers: itself, or its MIG slices -------------------------------------------------


def _offered(card: _Card, cards: list[_Card]) -> Iterator[GPU]:
    try:
        mig, _ = query(pynvml.nvmlDeviceGetMigMode, card.handle, default=(0, 0))
        if mig:
            yield from _slices(card)
        else:
            yield replace(card.gpu, links=dict(_links(card, cards)))
    except GPUAils as ails:
        yield replace(card.gpu, problem=str(ails))


def _slices(card: _Card) -> Iterator[GPU]:
    """A card's slices. One whose card ails does so, too."""
    for place in range(query(pynvml.nvmlDeviceGetMaxMigDeviceCount, card.handle, default=0)):
        handle = query(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, card.handle, place, default=None)
        uuid = query(pynvml.nvmlDeviceGetUUID, handle, default=None) if handle else None
        if uuid:
            yield replace(
                card.gpu,
                uuid=uuid,
                memory_mib=_memory_mib(handle),
                mig_profile=_mig_profile(handle),
                parent=card.gpu.uuid,
            )


def _mig_profile(handle: Any) -> str:
    """``1g.10gb`` from the slice's name, ``NVIDIA A100-SXM4-80GB MIG 1g.10gb``, else from its share."""
    found = _PROFILE_IN_NAME.search(query(pynvml.nvmlDeviceGetName, handle, default=""))
    if found:
        return found[1]
    share = query(pynvml.nvmlDeviceGetAttributes_v2, handle, default=None)
    return f"{share.gpuInstanceSliceCount}g.{round(share.memorySizeMB / 1024)}gb" if share else "unknown"


# --- how near GPUs are -----------------------------------------------------------------------------


def _links(card: _Card, cards: list[_Card]) -> Iterator[tuple[str, int]]:
    bonds = _nvlinks(card.handle)
    for other in cards:
        if other is card or other.gpu.problem:
            continue
        try:
            nearness = _nearness(card.handle, other.handle, bonds)
        except GPUAils:  # one of the two, and who knows which: the next look tells
            nearness = 0
        if nearness:
            yield other.gpu.uuid, nearness


def _nearness(one: Any, other: Any, bonds: Mapping[str, int]) -> int:
    place = query(lambda: pynvml.nvmlDeviceGetPciInfo(other).busId, default="")
    links = bonds.get(place, 0) or bonds.get("switch", 0)
    status = query(pynvml.nvmlDeviceGetP2PStatus, one, other, pynvml.NVML_P2P_CAPS_INDEX_NVLINK, default=None)
    if status == pynvml.NVML_P2P_STATUS_OK:
        return _NVLINK + links
    level = query(pynvml.nvmlDeviceGetTopologyCommonAncestor, one, other, default=None)
    return _NEARNESS.get(level, 0) if level is not None else 0


def _nvlinks(handle: Any) -> dict[str, int]:
    """Active NVLinks by what they end at: another GPU's PCI place, or ``switch``."""
    bonds: dict[str, int] = {}
    for link in range(pynvml.NVML_NVLINK_MAX_LINKS):
        active = query(pynvml.nvmlDeviceGetNvLinkState, handle, link, default=None)
        if active is None:
            break
        if not active:
            continue
        kind = query(pynvml.nvmlDeviceGetNvLinkRemoteDeviceType, handle, link, default=None)
        if kind == pynvml.NVML_NVLINK_DEVICE_TYPE_SWITCH:
            end = "switch"
        else:
            remote = query(pynvml.nvmlDeviceGetNvLinkRemotePciInfo, handle, link, default=None)
            end = remote.busId if remote else ""
        bonds[end] = bonds.get(end, 0) + 1
    return bonds
