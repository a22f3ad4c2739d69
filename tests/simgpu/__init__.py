"""A simulated NVIDIA driver for tests and demonstrations: NVML, device nodes and CDI, with no GPU.

``with SimulatedDriver("2xH100") as driver:`` installs one (root, and no real driver about), so that
programs with ``driver.environment()`` and containers with a CDI device of ``nvidia.com/gpu`` see its
GPUs; `SimulatedLibrary` serves programs alone and needs no rights. Nothing in the product knows it.
"""

from .driver import SimulatedDriver, SimulatedLibrary
from .gpu import SimulatedGPU, SimulatedSlice
from .library import CannotBuild
from .models import UnknownGPU
from .nodes import SimulationRefused

__all__ = [
    "CannotBuild",
    "SimulatedDriver",
    "SimulatedGPU",
    "SimulatedLibrary",
    "SimulatedSlice",
    "SimulationRefused",
    "UnknownGPU",
]
