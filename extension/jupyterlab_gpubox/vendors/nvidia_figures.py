"""Which NVML call tells which figure of an NVIDIA GPU, and what an error of one means."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pynvml

from ..records import Value
from . import DriverTrouble, GPULost, Tier

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
_LOST = {
    pynvml.NVML_ERROR_GPU_IS_LOST: "The GPU has fallen off the bus: restart this machine.",
    pynvml.NVML_ERROR_RESET_REQUIRED: "The GPU needs a reset: run `nvidia-smi --gpu-reset` when it is idle.",
}
_TROUBLE = {
    pynvml.NVML_ERROR_UNINITIALIZED: "The NVIDIA driver was closed: it is opened again in a moment.",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: (
        "The NVIDIA driver is installed but not loaded: run `modprobe nvidia` on the machine, and look at"
        " `dmesg`."
    ),
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
        "The NVIDIA driver was updated while the old one runs: restart the machine, or load its new kernel"
        " modules and then restart this server."
    ),
}
_NO_DEVICE = "This user may not use the NVIDIA driver: check the permissions of /dev/nvidiactl."

_WORDS = {
    pynvml.nvmlClocksEventReasonApplicationsClocksSetting: "application clocks",
    pynvml.nvmlClocksEventReasonSwPowerCap: "power cap",
    pynvml.nvmlClocksEventReasonHwSlowdown: "hardware slowdown",
    pynvml.nvmlClocksEventReasonSyncBoost: "sync boost",
    pynvml.nvmlClocksEventReasonSwThermalSlowdown: "thermal slowdown",
    pynvml.nvmlClocksEventReasonHwThermalSlowdown: "hardware thermal slowdown",
    pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown: "power brake",
    pynvml.nvmlClocksEventReasonDisplayClockSetting: "display clocks",
}
_ALL_LINKS = 0xFFFFFFFF  # the scope of an NVLink field that asks for the sum


class NoSuchFigure(Exception):
    """This GPU, this driver or this user has no such thing."""


class NoAnswer(Exception):
    """The call failed for once, for no reason that says more."""


def query(call: Callable[..., T], *asked: Any) -> T:
    """One NVML call: every call after nvmlInit goes through here.

    Raises `NoSuchFigure`, `NoAnswer`, `GPULost` or `DriverTrouble`.
    """
    try:
        return call(*asked)
    except pynvml.NVMLError as error:
        raise _meaning(error) from error


def _meaning(error: pynvml.NVMLError) -> Exception:
    if error.value in _NOTHING_THERE:
        return NoSuchFigure(str(error))
    if error.value in _LOST:
        return GPULost(_LOST[error.value])
    if error.value in _TROUBLE:
        return DriverTrouble(_TROUBLE[error.value])
    return NoAnswer(str(error))


def trouble(error: Exception) -> str:
    """The sentence for a driver that cannot be opened or does not list its GPUs."""
    code = getattr(error, "value", None)
    if code == pynvml.NVML_ERROR_NO_PERMISSION:
        return _NO_DEVICE
    known = _TROUBLE.get(code) if code else None
    return known or f"The NVIDIA driver fails ({error}): look at `nvidia-smi` and `dmesg`."


def throttle_words(bits: int) -> tuple[str, ...]:
    """Why the clocks are held down, in words. That the GPU is idle is no reason of that kind."""
    return tuple(word for bit, word in _WORDS.items() if bits & bit)


# --- figures ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ask:
    """The figures that one call tells, and the call: it gives their values in this order."""

    names: tuple[str, ...]
    read: Callable[[Any], Sequence[Value]]


def _first_known(*calls: Callable[[], T]) -> T:
    """The answer of the first of these calls that the driver has: older ones are named last."""
    for call in calls[:-1]:
        try:
            return call()
        except NoSuchFigure:
            continue
    return calls[-1]()


def memory_of(handle: Any) -> Any:
    """Memory in bytes: what the driver reserves for itself is not used, as in nvidia-smi, nvitop and drivers
    from R510."""
    return _first_known(
        lambda: query(pynvml.nvmlDeviceGetMemoryInfo, handle, pynvml.nvmlMemory_v2),
        lambda: query(pynvml.nvmlDeviceGetMemoryInfo, handle),
    )


def _utilisation(handle: Any) -> Sequence[Value]:
    rates = query(pynvml.nvmlDeviceGetUtilizationRates, handle)
    return rates.gpu, rates.memory


def _memory_used(handle: Any) -> Sequence[Value]:
    memory = memory_of(handle)
    return (memory.used // 2**20 if memory.total else None,)  # unified memory: no total, no figure


def _ecc_errors(kind: int) -> Callable[[Any], Sequence[Value]]:
    return lambda handle: (query(pynvml.nvmlDeviceGetTotalEccErrors, handle, kind, pynvml.NVML_VOLATILE_ECC),)


def _retired(handle: Any) -> Sequence[Value]:
    """From Ampere on rows of memory are remapped, before it pages were retired."""

    def rows() -> int:
        corrected, uncorrected, _, _ = query(pynvml.nvmlDeviceGetRemappedRows, handle)
        return corrected + uncorrected

    def pages() -> int:
        causes = (
            pynvml.NVML_PAGE_RETIREMENT_CAUSE_MULTIPLE_SINGLE_BIT_ECC_ERRORS,
            pynvml.NVML_PAGE_RETIREMENT_CAUSE_DOUBLE_BIT_ECC_ERROR,
        )
        return sum(len(query(pynvml.nvmlDeviceGetRetiredPages, handle, cause)) for cause in causes)

    return (_first_known(rows, pages),)


def _throttle(handle: Any) -> Sequence[Value]:
    bits = _first_known(
        lambda: query(pynvml.nvmlDeviceGetCurrentClocksEventReasons, handle),
        lambda: query(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle),  # drivers before R535
    )
    return (throttle_words(bits),)


def _watts(call: Callable[[Any], int]) -> Callable[[Any], Sequence[Value]]:
    return lambda handle: (round(query(call, handle) / 1000, 1),)


def _clock(which: int) -> Callable[[Any], Sequence[Value]]:
    return lambda handle: (query(pynvml.nvmlDeviceGetClockInfo, handle, which),)


def _temperature(handle: Any) -> Sequence[Value]:
    return (query(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),)


MEMORY = Ask(("memory_used_mib",), _memory_used)
BY_TIER = {
    Tier.CORE: (
        Ask(("utilisation_percent", "memory_utilisation_percent"), _utilisation),
        MEMORY,
        Ask(("power_watts",), _watts(pynvml.nvmlDeviceGetPowerUsage)),
        Ask(("temperature_celsius",), _temperature),
        Ask(("clock_sm_mhz",), _clock(pynvml.NVML_CLOCK_SM)),
    ),
    Tier.HEALTH: (
        Ask(("power_limit_watts",), _watts(pynvml.nvmlDeviceGetEnforcedPowerLimit)),
        Ask(("clock_memory_mhz",), _clock(pynvml.NVML_CLOCK_MEM)),
        Ask(("throttle_reasons",), _throttle),
        Ask(("ecc_corrected",), _ecc_errors(pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED)),
        Ask(("ecc_uncorrected",), _ecc_errors(pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED)),
        Ask(("retired_pages",), _retired),
    ),
}


# --- processes and links ---------------------------------------------------------------------------

# By pointer, so that drivers before R510, which lack version 3, answer "function not found".
_LISTS = {
    "compute": pynvml.nvmlDeviceGetComputeRunningProcesses_v3,
    "graphics": pynvml.nvmlDeviceGetGraphicsRunningProcesses_v3,
    "mps": pynvml.nvmlDeviceGetMPSComputeRunningProcesses_v3,
}


def processes(handle: Any, gpu: str, unsupported: set[tuple[str, str]]) -> dict[int, int | None]:
    """The processes on a GPU: memory (MiB, None where the driver does not say) by pid.

    Kinds of process that the driver does not list are noted in ``unsupported``.
    """
    found: dict[int, int | None] = {}
    for kind, call in _LISTS.items():
        if (gpu, kind) in unsupported:
            continue
        try:
            listed = query(call, handle)
        except NoSuchFigure:
            unsupported.add((gpu, kind))
            continue
        for one in listed:  # a process may be in two lists, with the same memory
            found[one.pid] = None if one.usedGpuMemory is None else one.usedGpuMemory // 2**20
    return found


class Rates:
    """What goes over a card's links. PCIe's calls take 20 ms each; NVLink has counters, whose rate is the
    difference since the last look."""

    def __init__(self) -> None:
        self._counted: dict[str, tuple[float, int]] = {}

    def read(self, handle: Any) -> dict[str, Value]:
        """All `records.LINKS`; NVLink's only from the second time on."""
        return dict(self._read(handle))

    def _read(self, handle: Any) -> Iterator[tuple[str, Value]]:
        for name, counter in (
            ("pcie_tx_kib_per_second", pynvml.NVML_PCIE_UTIL_TX_BYTES),
            ("pcie_rx_kib_per_second", pynvml.NVML_PCIE_UTIL_RX_BYTES),
        ):
            try:
                yield name, query(pynvml.nvmlDeviceGetPcieThroughput, handle, counter)
            except NoSuchFigure:
                yield name, None
            except NoAnswer:
                continue
        yield from self._nvlink(handle)

    def _nvlink(self, handle: Any) -> Iterator[tuple[str, Value]]:
        fields = {
            "nvlink_tx_kib_per_second": pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX,
            "nvlink_rx_kib_per_second": pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX,
        }
        try:
            asked = [(field, _ALL_LINKS) for field in fields.values()]
            answers: Sequence[Any] = query(pynvml.nvmlDeviceGetFieldValues, handle, asked)
        except NoSuchFigure:
            yield from dict.fromkeys(fields).items()
            return
        except NoAnswer:
            return
        for name, answer in zip(fields, answers, strict=True):
            if answer.nvmlReturn == pynvml.NVML_SUCCESS:
                yield from self._rate(name, answer.value.ullVal)
            elif answer.nvmlReturn in _NOTHING_THERE:
                yield name, None

    def _rate(self, name: str, kib: int) -> Iterator[tuple[str, Value]]:
        now = time.monotonic()
        then, before = self._counted.get(name, (now, kib))
        self._counted[name] = (now, kib)
        if now > then and kib >= before:  # a counter that was set back begins anew
            yield name, round((kib - before) / (now - then))
