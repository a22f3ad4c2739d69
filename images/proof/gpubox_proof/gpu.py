"""Why a framework sees no GPU: the driver, a library, or how the framework was built.

`fault` decides, from two plain records: what the machine has (`Machine`) and what the framework was built
for (`Build`). Below it is the probing that fills the first; a step fills the second (steps/cuda.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

Version = tuple[int, int]
Capability = tuple[int, int]

# The oldest Linux driver for each CUDA generation; within one, newer toolkits run on older drivers
# (NVIDIA's "CUDA Compatibility", minor version compatibility).
OLDEST_DRIVER = {11: "450", 12: "525", 13: "580"}

NO_DEVICE = 100
# What cuInit answers (cuda.h) and what it means for the person in front of this box.
CUDA_ERRORS = {
    3: "the driver is shutting down",
    34: "the libcuda.so.1 that is loaded is a toolkit's stub: take its folder out of LD_LIBRARY_PATH",
    NO_DEVICE: "the driver shows no GPU to this process",
    101: "the device that was asked for does not exist",
    802: "the GPUs' fabric is not ready: nvidia-fabricmanager must run on the host",
    803: "libcuda.so.1 and the host's kernel driver differ in version: the host's driver was updated and"
    " its machine, or this box, not restarted since",
    804: "a CUDA compatibility library is in the way, which this kind of GPU does not support:"
    " take libcuda.so.1 from the host's driver",
    999: "the driver answers 'unknown error', most often because /dev/nvidia-uvm cannot be opened:"
    " run `nvidia-modprobe -u` on the host",
}


@dataclass(frozen=True)
class Card:
    """One GPU as CUDA shows it to this box."""

    name: str
    capability: Capability


@dataclass(frozen=True)
class Machine:
    """What this box has of GPUs and of their driver."""

    devices: tuple[str, ...] = ()  # the device files: /dev/nvidia0, /dev/nvidiactl ...
    driver: str | None = None  # "580.65.06", of the host's kernel module
    cuda: Version | None = None  # the newest CUDA that the driver runs
    libcuda_error: str | None = None  # why libcuda.so.1 cannot be loaded
    cuda_error: int = 0  # what cuInit answered
    cards: tuple[Card, ...] = ()
    visible_devices: str | None = None  # CUDA_VISIBLE_DEVICES, where it is set

    @property
    def has_gpu(self) -> bool:
        """Whether a GPU was given to this box, working or not."""
        return bool(self.cards) or any(_is_gpu_file(device) for device in self.devices)


@dataclass(frozen=True)
class Build:
    """What a framework was built for, and what it sees."""

    framework: str
    sees: int = 0  # GPUs
    cuda: Version | None = None  # None: built without CUDA
    architectures: tuple[str, ...] = ()  # "sm_90", "compute_120": what it has code for, where it tells
    missing: str | None = None  # the dynamic linker's words about a library that it needs
    complaint: str | None = None  # the framework's own words


def fault(machine: Machine, build: Build) -> str | None:
    """The sentence that says why the framework sees no GPU; None where it sees one, or there is none.

    From the ground up, so that the first cause is named and not what follows from it.
    """
    if build.sees or not machine.has_gpu:
        return None
    if build.cuda is None:
        return f"{build.framework} is built without CUDA: it uses the CPU."
    of_driver, of_build = fault_of_driver(machine), fault_of_build(machine, build, build.cuda)
    return of_driver or of_build or _unknown(machine, build)


def fault_of_driver(machine: Machine) -> str | None:
    """What keeps every framework of this box from the GPU."""
    if machine.libcuda_error:
        return (
            "The driver's library libcuda.so.1 is not in this box, though its GPU is: the container was"
            " started without CDI, or with NVIDIA_DRIVER_CAPABILITIES that leave out `compute`"
            f" ({machine.libcuda_error})."
        )
    if machine.cuda_error == NO_DEVICE and machine.visible_devices is not None:
        return (
            f"The setting CUDA_VISIBLE_DEVICES={machine.visible_devices} names no GPU of this box and"
            " so hides what there is: unset it."
        )
    if machine.cuda_error:
        meaning = CUDA_ERRORS.get(machine.cuda_error, "see CUresult in CUDA's documentation")
        return f"CUDA does not start (error {machine.cuda_error}): {meaning}."
    if not machine.cards:
        return "CUDA starts and shows no GPU: where the GPU is in MIG mode, it has no slice yet."
    return None


def fault_of_build(machine: Machine, build: Build, cuda: Version) -> str | None:
    """What keeps this framework from a GPU that others may well use."""
    if machine.cuda and machine.cuda[0] < cuda[0]:
        oldest = OLDEST_DRIVER.get(cuda[0])
        needs = f"driver {oldest} or newer" if oldest else "a newer driver"
        return (
            f"{build.framework} is built for CUDA {dotted(cuda)}, which needs {needs}; this machine's driver"
            f" {machine.driver or '(version unknown)'} runs CUDA up to {dotted(machine.cuda)}."
        )
    if build.missing:
        return f"{build.framework} needs a library that cannot be loaded: {build.missing}."
    for card in machine.cards:
        if build.architectures and not runs_on(card.capability, build.architectures):
            needed = f"{card.name} (sm_{card.capability[0]}{card.capability[1]})"
            offered = ", ".join(build.architectures)
            return f"{build.framework} has no code for {needed}: it was built for {offered}."
    return None


def _unknown(machine: Machine, build: Build) -> str:
    """What can be said when driver, libraries and architectures all look right."""
    words = f" Its own words: {build.complaint}" if build.complaint else ""
    card = machine.cards[0].name
    return f"{build.framework} sees no GPU, though CUDA shows {card} and its libraries load.{words}"


def runs_on(capability: Capability, architectures: Iterable[str]) -> bool:
    """Whether code for these architectures runs on such a GPU.

    Machine code (sm_86) runs on the same major number and an equal or higher minor; PTX (compute_80) is
    compiled for whatever is newer. A letter at the end (sm_90a) ties code to exactly that GPU.
    """
    return any(_fits(capability, architecture) for architecture in architectures)


def _fits(capability: Capability, architecture: str) -> bool:
    kind, _, number = architecture.partition("_")
    digits = number.rstrip("af")
    if not digits.isdigit():
        return False
    built_for = (int(digits[:-1] or 0), int(digits[-1]))
    if number.endswith("a"):
        return built_for == capability
    if kind == "compute":
        return built_for <= capability
    return built_for[0] == capability[0] and built_for[1] <= capability[1]


def version(text: str | None) -> Version | None:
    """`(13, 2)` of "13.2", "13.2.1" or "13"; None of what is no version."""
    parts = (text or "").split(".")
    if not parts[0].isdigit():
        return None
    minor = parts[1] if len(parts) > 1 and parts[1].isdigit() else "0"
    return int(parts[0]), int(minor)


def of_number(number: int) -> Version | None:
    """`(13, 2)` of CUDA's own 13020; None of 0, which it answers when there is none."""
    return (number // 1000, number % 1000 // 10) if number else None


def dotted(cuda: Version) -> str:
    """A version as people write it: `13.2`."""
    return f"{cuda[0]}.{cuda[1]}"


def _is_gpu_file(device: str) -> bool:
    """Whether it is a GPU's own file: /dev/nvidia0, not /dev/nvidiactl or /dev/nvidia-uvm."""
    return device.removeprefix("/dev/nvidia").isdigit()


# --- probing -----------------------------------------------------------------------------------------


def look(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> Machine:
    """What this box has. Never fails: what cannot be found out is left out."""
    devices = tuple(sorted(f"/dev/{file.name}" for file in (root / "dev").glob("nvidia*")))
    machine = Machine(devices, _kernel_driver(root), visible_devices=environment.get("CUDA_VISIBLE_DEVICES"))
    try:
        libcuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return replace(machine, libcuda_error=str(error))
    number = ctypes.c_int()
    libcuda.cuDriverGetVersion(ctypes.byref(number))
    error = libcuda.cuInit(0)
    cards = () if error else tuple(_cards(libcuda))
    return replace(machine, cuda=of_number(number.value), cuda_error=error, cards=cards)


def _kernel_driver(root: Path) -> str | None:
    """The version of the host's driver, from NVML, else from its kernel module, which containers see."""
    with contextlib.suppress(Exception):  # no package, no library, no driver: the file below may know
        import pynvml

        pynvml.nvmlInit()
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        pynvml.nvmlShutdown()
        return driver
    try:
        words = (root / "proc/driver/nvidia/version").read_text().split()
    except OSError:
        return None
    return next((word for word in words if word[0].isdigit() and "." in word), None)


def _cards(libcuda: ctypes.CDLL) -> Iterable[Card]:
    count = ctypes.c_int()
    libcuda.cuDeviceGetCount(ctypes.byref(count))
    for index in range(count.value):
        device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        name = ctypes.create_string_buffer(100)
        libcuda.cuDeviceGet(ctypes.byref(device), index)
        libcuda.cuDeviceGetName(name, len(name), device)
        libcuda.cuDeviceGetAttribute(ctypes.byref(major), 75, device)  # COMPUTE_CAPABILITY_MAJOR
        libcuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)
        yield Card(name.value.decode(errors="replace"), (major.value, minor.value))


def unloadable(libraries: Iterable[str]) -> str | None:
    """The dynamic linker's words about the first of these libraries that it cannot load."""
    for library in libraries:
        try:
            ctypes.CDLL(library)
        except OSError as error:
            return str(error)
    return None


def summary(machine: Machine) -> str:
    """The proof's first line: what GPU this box has, and its driver's level."""
    if not machine.has_gpu:
        return "No GPU in this box: everything runs on the CPU."
    names = ", ".join(card.name for card in machine.cards) or "there is one, and CUDA does not reach it"
    level = f", CUDA up to {dotted(machine.cuda)}" if machine.cuda else ""
    return f"GPU: {names}; driver {machine.driver or 'unknown'}{level}."
