"""NVIDIA GPUs, as the driver's NVML library tells them to a server that watches them for hours.

What each figure is read from is in ``nvidia_figures``, Xid errors in ``xid``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pynvml

from ..records import COLUMNS, GPU, HEALTH, LINKS, Driver, Use, Value, Vendor
from . import UNLISTED, DriverTrouble, GPULost, NoDriver, Reading, Tier
from .nvidia_figures import (
    BY_TIER,
    MEMORY,
    Ask,
    NoAnswer,
    NoSuchFigure,
    Rates,
    memory_of,
    processes,
    query,
    trouble,
)
from .xid import XidListener

log = logging.getLogger(__name__)

_PROFILE_IN_NAME = re.compile(r"\bMIG ((?:\d+c\.)?\d+g\.\d+gb\S*)")


class NVIDIA:
    """The NVIDIA driver. `VendorModule` says what each method is for."""

    vendor: Vendor = "nvidia"

    def __init__(self) -> None:
        self._is_open = False
        self._cards: list[NVIDIACard] = []
        self._listener = XidListener()

    def open(self) -> Driver:
        self.close()
        try:
            # nvidia-ml-py looks for a missing library again at every call, and so does the loader.
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            if error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
                raise NoDriver from error
            raise DriverTrouble(trouble(error)) from error
        self._is_open = True
        version = cuda = None
        with suppress(NoSuchFigure, NoAnswer, GPULost):
            version = query(pynvml.nvmlSystemGetDriverVersion)
            number = query(pynvml.nvmlSystemGetCudaDriverVersion_v2)  # 12040 for 12.4
            cuda = f"{number // 1000}.{number % 1000 // 10}"
        return Driver("nvidia", "ok", version, cuda)

    def close(self) -> None:
        self._cards = []
        self._listener.forget()  # its event set goes with NVML
        if self._is_open:
            self._is_open = False
            with suppress(pynvml.NVMLError):
                pynvml.nvmlShutdown()

    def cards(self) -> Sequence[NVIDIACard]:
        try:
            count = query(pynvml.nvmlDeviceGetCount)
        except (NoSuchFigure, NoAnswer, GPULost) as error:
            raise DriverTrouble(trouble(error)) from error
        del self._cards[count:]
        self._cards += [NVIDIACard(place) for place in range(len(self._cards), count)]
        return tuple(self._cards)

    def errors(self) -> Mapping[str, int]:
        return self._listener.listen({card.id: card.handle for card in self._cards if card.answers})

    def stop_listening(self) -> None:
        self._listener.stop()


_UNNAMED = "NVIDIA GPU"


@dataclass(frozen=True)
class _Slice:
    handle: Any
    gpu: GPU


class NVIDIACard:
    """A card, or the MIG slices that it is cut into. `vendors.Card` says what each method is for."""

    def __init__(self, place: int) -> None:
        self.handle: Any = None
        self.answers = False
        self._gpu = GPU(id=f"nvidia-{place}", index=place, vendor="nvidia", name=_UNNAMED)
        self._is_listed = True
        self._slices: tuple[_Slice, ...] = ()
        # What this GPU or its driver does not have, as (GPU id, first figure): not asked again every second.
        self._unsupported: set[tuple[str, str]] = set()
        self._rates = Rates()

    @property
    def id(self) -> str:
        return self._gpu.id

    @property
    def gpus(self) -> tuple[GPU, ...]:
        if not self._is_listed:
            return ()
        return tuple(one.gpu for one in self._slices) or (self._gpu,)

    def read(self, tiers: Tier) -> Reading:
        if tiers == Tier.LINKS:  # on a thread beside the one that reads the rest: changes nothing
            return self._read(tiers)
        self.answers = False
        if self.handle is None or Tier.HEALTH in tiers:
            self._look()
        before = self._mute_slices()
        try:
            reading = self._read(tiers)
            cut_anew = self._mute_slices() > before
        except GPULost:
            if not self._slices:
                raise
            cut_anew = True
        if cut_anew:  # since they were listed, it seems: their old handles are worth nothing
            self._look()
            reading = self._read(tiers)
        self.answers = True
        return reading

    # --- who is here -----------------------------------------------------------------------------

    def _look(self) -> None:
        """Finds the card at its place, again, and whether it is cut into slices. Raises `GPULost`."""
        self._unsupported.clear()
        try:
            handle = query(pynvml.nvmlDeviceGetHandleByIndex, self._gpu.index)
            uuid = query(pynvml.nvmlDeviceGetUUID, handle)
        except NoSuchFigure as error:
            if self.handle is not None:
                raise GPULost(UNLISTED) from error
            self._is_listed = False  # of the list, but not for this user
            return
        except NoAnswer as error:
            raise GPULost(f"The driver does not say which GPU this is ({error}): look at `dmesg`.") from error
        if uuid != self._gpu.id:
            self._gpu = replace(self._gpu, id=uuid, name=_UNNAMED)
            self._rates = Rates()
        if self._gpu.name == _UNNAMED:  # one that is lost may tell its UUID and no more
            name = _or_none(pynvml.nvmlDeviceGetName, handle) or _UNNAMED
            self._gpu = replace(self._gpu, name=name, memory_total_mib=_total_mib(handle))
        self.handle, self._is_listed = handle, True
        mig, _ = _or_none(pynvml.nvmlDeviceGetMigMode, handle) or (0, 0)
        self._slices = tuple(self._find_slices(handle)) if mig else ()

    def _find_slices(self, card: Any) -> list[_Slice]:
        known = {one.gpu.id: one.gpu for one in self._slices}
        found = []
        for place in range(_or_none(pynvml.nvmlDeviceGetMaxMigDeviceCount, card) or 0):
            handle = _or_none(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, card, place)
            uuid = _or_none(pynvml.nvmlDeviceGetUUID, handle) if handle else None
            if uuid:
                found.append(_Slice(handle, known.get(uuid) or self._slice(uuid, handle)))
        return found

    def _slice(self, uuid: str, handle: Any) -> GPU:
        return replace(
            self._gpu,
            id=uuid,
            parent=self._gpu.id,
            mig_profile=_mig_profile(handle),
            memory_total_mib=_total_mib(handle),
        )

    def _mute_slices(self) -> set[str]:
        """Slices that do not even tell their memory."""
        return {gpu for gpu, figure in self._unsupported if figure == MEMORY.names[0] and gpu != self.id}

    # --- what it shows ---------------------------------------------------------------------------

    def _read(self, tiers: Tier) -> Reading:
        figures = {gpu.id: self._figures(tiers, gpu) for gpu in self.gpus}
        uses = self._uses() if Tier.PROCESSES in tiers else None
        return Reading(self._gpu.id, self.gpus, figures, uses)

    def _figures(self, tiers: Tier, gpu: GPU) -> dict[str, Value]:
        figures: dict[str, Value] = {}
        if gpu.parent is None:
            for tier, asks in BY_TIER.items():
                if tier in tiers and self._is_listed:
                    figures |= self._asked(asks, gpu.id, self.handle)
            if Tier.LINKS in tiers and self._is_listed:
                figures |= self._rates.read(self.handle)
            return figures
        # The driver tells power, temperature and clocks of the card alone, and of a slice no utilisation.
        for tier, names in ((Tier.CORE, COLUMNS), (Tier.HEALTH, HEALTH), (Tier.LINKS, LINKS)):
            if tier in tiers:
                figures |= dict.fromkeys(names)
        if Tier.CORE in tiers:
            del figures[MEMORY.names[0]]
            figures |= self._asked((MEMORY,), gpu.id, self._handle_of(gpu))
        return figures

    def _asked(self, asks: Sequence[Ask], gpu: str, handle: Any) -> dict[str, Value]:
        figures: dict[str, Value] = {}
        for ask in asks:
            known_as = (gpu, ask.names[0])
            if known_as in self._unsupported:
                figures |= dict.fromkeys(ask.names)
                continue
            try:
                figures |= zip(ask.names, ask.read(handle), strict=True)
            except NoSuchFigure:
                self._unsupported.add(known_as)
                figures |= dict.fromkeys(ask.names)
            except NoAnswer:
                continue
        return figures

    def _uses(self) -> tuple[Use, ...] | None:
        try:
            return tuple(
                Use(gpu.id, pid, memory_mib)
                for gpu in self.gpus
                for pid, memory_mib in processes(self._handle_of(gpu), gpu.id, self._unsupported).items()
            )
        except NoAnswer:
            return None

    def _handle_of(self, gpu: GPU) -> Any:
        return next((one.handle for one in self._slices if one.gpu.id == gpu.id), self.handle)


def _or_none(call: Any, *asked: Any) -> Any:
    try:
        return query(call, *asked)
    except (NoSuchFigure, NoAnswer):
        return None


def _total_mib(handle: Any) -> int | None:
    try:
        return memory_of(handle).total // 2**20 or None
    except (NoSuchFigure, NoAnswer):
        return None


def _mig_profile(handle: Any) -> str:
    """``1g.10gb`` from the slice's name, ``NVIDIA A100-SXM4-80GB MIG 1g.10gb``, else from its share."""
    found = _PROFILE_IN_NAME.search(_or_none(pynvml.nvmlDeviceGetName, handle) or "")
    if found:
        return found[1]
    share = _or_none(pynvml.nvmlDeviceGetAttributes_v2, handle)
    return f"{share.gpuInstanceSliceCount}g.{round(share.memorySizeMB / 1024)}gb" if share else "unknown"
