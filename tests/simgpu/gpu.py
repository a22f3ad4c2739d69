"""One simulated GPU and its MIG slices: what a test changes while programs run."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from .figures import idle_figures
from .models import Model, Profile, Wish, parse_slices
from .state import ERRORS, Part, Value

_NAMESPACE = uuid.UUID("6a1d6b1e-53c9-4d3e-9a5f-0d8f0d5c7e10")
# A lost GPU that the driver still knows by name: these calls work, all others say lost.
_IDENTITY = tuple(f"nvmlDeviceGet{what}" for what in ("HandleByIndex", "HandleByUUID", "UUID", "Index"))


@dataclass
class SimulatedSlice:
    """A MIG slice. ``gi`` and ``ci`` are its GPU and compute instance; the capabilities are device minors."""

    uuid: str
    profile: Profile
    gi: int
    gi_capability: int
    values: dict[str, Value]
    _changed: Callable[[], None] = field(repr=False)
    ci: int = 0

    @property
    def ci_capability(self) -> int:
        return self.gi_capability + 1 + self.ci

    def set(self, **values: Value) -> None:
        """Changes figures of the slice, such as ``memory_used_mib``; None answers NOT_SUPPORTED."""
        _update(self.values, values)
        self._changed()


@dataclass(frozen=True)
class _Process:
    line: str  # as the state has it
    memory_mib: int
    on: SimulatedSlice | None


class SimulatedGPU:
    """A GPU whose every figure and failure a test can change. Programs that run see it at their next call."""

    def __init__(self, wish: Wish, minor: int, changed: Callable[[], None]) -> None:
        self.minor = minor
        self.model: Model = wish.model
        self.name = wish.model.name
        self.uuid = f"GPU-{uuid.uuid5(_NAMESPACE, f'{self.name} {minor}')}"
        self.values = idle_figures(wish.model, self.uuid, minor)
        self.links: dict[str, str | int] = {}
        self.slices: list[SimulatedSlice] = []
        self._failures: dict[str, int] = {}
        self._processes: dict[int, _Process] = {}
        self._changed = changed
        if wish.slices is not None:
            self._partition(wish.slices)

    def set(self, **values: Value) -> None:
        """Changes figures by their name in the state; None answers NOT_SUPPORTED.

        Among them ``utilisation``, ``memory_utilisation`` (%), ``memory_used_mib``, ``temperature`` (C),
        ``power_mw``, ``clock_sm_mhz``, ``event_reasons`` (bits), ``ecc_uncorrected_volatile``.
        Raises KeyError for a name that no GPU has.
        """
        _update(self.values, values)
        self._changed()

    def set_field(self, number: int, value: Value, scope: int | None = None) -> None:
        """Sets what nvmlDeviceGetFieldValues answers for a field, such as 230, the recovery action."""
        self.values[f"field.{number}" if scope is None else f"field.{number}.{scope}"] = value
        self._changed()

    def lose(self, *, known: bool = False) -> None:
        """Every call on the GPU answers GPU_IS_LOST; a ``known`` one still gives handle and UUID."""
        self._failures["fail.*"] = ERRORS["GPU_IS_LOST"]
        for call in _IDENTITY if known else ():
            self._failures[f"fail.{call}"] = 0
        self._changed()

    def fail(self, call: str, error: str = "UNKNOWN") -> None:
        """The NVML function ``call`` (without version) answers an error of NVIDIA's naming."""
        self._failures[f"fail.{call}"] = ERRORS[error]
        self._changed()

    def hang(self, call: str, seconds: float) -> None:
        """The NVML function ``call``, or ``*`` for every one, takes so long on this GPU."""
        self._failures[f"hang.{call}"] = int(seconds * 1000)
        self._changed()

    def recover(self) -> None:
        """Undoes `lose`, `fail` and `hang`."""
        self._failures.clear()
        self._changed()

    def add_process(
        self,
        pid: int,
        *,
        memory_mib: int = 512,
        utilisation: int | None = 0,
        kind: str = "compute",
        on: SimulatedSlice | None = None,
    ) -> None:
        """Lists a running process as one that uses the GPU; ``kind`` is compute, graphics or mps."""
        namespace = os.stat(f"/proc/{pid}/ns/pid").st_ino
        with open(f"/proc/{pid}/status") as status:
            there = next(line.split()[-1] for line in status if line.startswith("NSpid:"))
        samples = "- - - -" if utilisation is None else f"{utilisation} {utilisation // 2} 0 0"
        instance = f"{on.gi} {on.ci}" if on else "4294967295 4294967295"
        letter = kind[0]
        line = f"{pid} {namespace} {there} {letter} {memory_mib} {samples} {instance}"
        self._processes[pid] = _Process(line, memory_mib, on)
        self._count_memory(memory_mib, on)
        self._changed()

    def remove_process(self, pid: int) -> None:
        """Takes a process and its memory off the GPU."""
        process = self._processes.pop(pid)
        self._count_memory(-process.memory_mib, process.on)
        self._changed()

    def partition(self, *slices: str) -> None:
        """Switches MIG on and cuts the card anew, as in ``partition("1x3g.40gb", "4x1g.10gb")``."""
        self._partition(tuple(profile for text in slices for profile in parse_slices(text)))
        self._changed()

    def parts(self) -> list[Part]:
        """The GPU as parts of the state."""
        processes = [process.line for process in self._processes.values()]
        card: dict[str, Value | list[str]] = {**self.values, **self.links, **self._failures}
        if processes:
            card["process"] = processes
        return [("gpu", card), *(("mig", one.values) for one in self.slices)]

    def _count_memory(self, mib: int, on: SimulatedSlice | None) -> None:
        for values in [self.values, *([on.values] if on else [])]:
            used = values.get("memory_used_mib")
            if isinstance(used, int):
                values["memory_used_mib"] = max(0, used + mib)

    def _partition(self, profiles: tuple[Profile, ...]) -> None:
        if not self.model.mig:
            raise ValueError(f"{self.name} has no MIG.")
        if sum(profile.slices for profile in profiles) > 7:
            raise ValueError(f"{self.name} has seven slices, not {sum(p.slices for p in profiles)}.")
        self.values.update(mig_mode=1, mig_mode_pending=1, utilisation=None, memory_utilisation=None)
        self.slices = []
        free = {1: 7, 2: 3, 3: 1, 4: 1, 7: 0}  # where the driver begins to number instances of a size
        for profile in profiles:
            gi = next(n for n in range(free[profile.slices], 15) if all(n != one.gi for one in self.slices))
            self.slices.append(self._slice(profile, gi))

    def _slice(self, profile: Profile, gi: int) -> SimulatedSlice:
        name = f"MIG-{uuid.uuid5(_NAMESPACE, f'{self.uuid} {profile.name} {gi}')}"
        # The minors of /proc/driver/nvidia-caps/mig-minors: 135 a card, 9 a GPU instance.
        capability = 3 + self.minor * 135 + gi * 9
        inherited = ("brand", "architecture", "cuda_major", "cuda_minor", "ecc", "ecc_pending")
        values: dict[str, Value] = {key: self.values[key] for key in inherited}
        values |= {"name": f"{self.name} MIG {profile.name}", "uuid": name, "gi": gi, "ci": 0}
        values |= {"gi_capability": capability, "ci_capability": capability + 1, "gpu_slices": profile.slices}
        values |= {"memory_mib": profile.memory_mib, "memory_used_mib": 12, "memory_reserved_mib": 0}
        values |= {"bar1_mib": 16384, "ecc_uncorrected_volatile": 0, "utilisation": None}
        return SimulatedSlice(name, profile, gi, capability, values, self._changed)


def _update(values: dict[str, Value], changes: dict[str, Value]) -> None:
    unknown = changes.keys() - values.keys()
    if unknown:
        raise KeyError(f"No such figure: {sorted(unknown)}. There are {sorted(values)}.")
    values.update(changes)
