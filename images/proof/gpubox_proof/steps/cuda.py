"""What the frameworks were built for and what they see, and the rows that only a CUDA image has."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from .. import gpu
from ..failure import Wrong
from ..rows import CUDA, is_installed
from ..step import Seen
from . import must_equal


def torch_device() -> Any:
    """The device that a step in PyTorch uses: a GPU that its code runs on, else the CPU."""
    import torch

    return torch.device("cuda" if torch_build().sees else "cpu")


def torch_build(framework: str = "PyTorch") -> gpu.Build:
    """PyTorch's build, which is that of all that runs on it."""
    import torch

    cuda = gpu.version(torch.version.cuda)
    if not torch.cuda.is_available():
        return gpu.Build(framework, cuda=cuda, complaint=_complaint() if cuda else None)
    if cuda is None:  # ROCm's build speaks of its GPUs as CUDA's
        return gpu.Build(framework, torch.cuda.device_count())
    # A GPU that is too old for this build is counted by PyTorch all the same, and fails at its first kernel.
    architectures = torch.cuda.get_arch_list()
    cards = [torch.cuda.get_device_capability(card) for card in range(torch.cuda.device_count())]
    sees = sum(gpu.runs_on(capability, architectures) for capability in cards)
    return gpu.Build(framework, sees, cuda, tuple(architectures))


def _complaint() -> str | None:
    """What PyTorch says when it is told to start CUDA."""
    import torch

    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return str(error)
    return None


def tensorflow_build(framework: str = "TensorFlow") -> gpu.Build:
    """TensorFlow's build. It opens CUDA's libraries by name, and goes on without a GPU where one fails."""
    import tensorflow as tf

    told = tf.sysconfig.get_build_info()
    sees, cuda = len(tf.config.list_physical_devices("GPU")), gpu.version(told.get("cuda_version"))
    if cuda is None:
        return gpu.Build(framework, sees)
    architectures = tuple(told.get("cuda_compute_capabilities", ()))
    missing = None if sees else gpu.unloadable(_libraries(cuda[0], told.get("cudnn_version", "9")))
    return gpu.Build(framework, sees, cuda, architectures, missing)


def _libraries(cuda: int, cudnn: str) -> list[str]:
    """CUDA's libraries by the names that TensorFlow opens; two of them count one behind CUDA itself."""
    same = [f"lib{name}.so.{cuda}" for name in ("cudart", "cublas", "cublasLt", "cusparse")]
    return [*same, *(f"lib{name}.so.{cuda - 1}" for name in ("cufft", "cusolver")), f"libcudnn.so.{cudnn}"]


def jax_build(framework: str = "JAX") -> gpu.Build:
    """JAX's build: a plugin beside it, made for one generation of CUDA."""
    import jax

    sees, cuda, complaint = 0, None, None
    for generation in (12, 13):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            importlib.metadata.version(f"jax-cuda{generation}-plugin")
            cuda = (generation, 0)
    try:
        sees = len(jax.devices("gpu"))
    except RuntimeError as error:
        complaint = str(error)
    return gpu.Build(framework, sees, cuda, complaint=complaint)


def driver() -> Seen:
    """The driver starts, and is new enough for this image's CUDA."""
    machine = gpu.look()
    generation = max(
        gpu.version(importlib.metadata.version(name)) or (0, 0) for name in CUDA if is_installed(name)
    )
    build = gpu.Build("This image", sees=0, cuda=generation)
    if not machine.has_gpu:
        return Seen(machine.driver or "", "", "there is no GPU, so no driver is needed")
    fault = gpu.fault_of_driver(machine) or gpu.fault_of_build(machine, build, generation)
    if fault:
        raise Wrong(fault)
    assert machine.cuda
    return Seen(machine.driver or "", machine.cards[0].name, f"CUDA up to {gpu.dotted(machine.cuda)}")


def cuda() -> Seen:
    """Copy bytes to the GPU and back with the CUDA runtime that PyTorch loads; without a GPU, load it."""
    import torch  # noqa: F401 (it is imported for what it loads)

    libraries = re.findall(r"/\S*/libcudart\.so\S*", Path("/proc/self/maps").read_text())
    if not libraries:
        raise Wrong("PyTorch loads no libcudart: it is built without CUDA.")
    runtime, number = ctypes.CDLL(libraries[0]), ctypes.c_int()
    runtime.cudaRuntimeGetVersion(ctypes.byref(number))
    version = gpu.of_number(number.value)
    build = torch_build("CUDA's runtime")
    if build.sees:
        there, sent, back = ctypes.c_void_p(), bytes(range(256)), ctypes.create_string_buffer(256)
        to_gpu, from_gpu = 1, 2
        errors = (
            runtime.cudaMalloc(ctypes.byref(there), ctypes.c_size_t(256)),
            runtime.cudaMemcpy(there, sent, ctypes.c_size_t(256), to_gpu),
            runtime.cudaMemcpy(back, there, ctypes.c_size_t(256), from_gpu),
        )
        if any(errors) or back.raw != sent:
            raise Wrong(f"Bytes do not come back from the GPU as they were sent (errors {errors}).")
    return Seen(gpu.dotted(version) if version else "", str(torch_device()), build=build)


def cudnn() -> Seen:
    """Convolve on the GPU through cuDNN and compare with the CPU; without a GPU, load it."""
    import torch

    device = torch_device()
    if not torch.backends.cudnn.is_available():
        raise Wrong(f"PyTorch finds no cuDNN: {gpu.unloadable(['libcudnn.so.9']) or 'its build has none'}.")
    number = torch.backends.cudnn.version()
    if device.type == "cuda":
        torch.backends.cudnn.conv.fp32_precision = "ieee"
        torch.manual_seed(0)
        layer, pictures = torch.nn.Conv2d(3, 8, 3), torch.randn(2, 3, 32, 32)
        reference = layer(pictures).detach()
        with torch.no_grad():
            must_equal(layer.to(device)(pictures.to(device)).cpu(), reference, "cuDNN's convolution", 1e-3)
    version = f"{number // 10000}.{number // 100 % 100}.{number % 100}"
    return Seen(version, str(device), build=torch_build("cuDNN"))


def cupy() -> Seen:
    """Multiply matrices and run a kernel that is compiled on the spot; without a GPU, import."""
    import cupy as cp
    import numpy as np

    cuda = gpu.of_number(cp.cuda.runtime.runtimeGetVersion())
    try:
        sees, complaint = cp.cuda.runtime.getDeviceCount(), None
    except cp.cuda.runtime.CUDARuntimeError as error:
        sees, complaint = 0, str(error)
    if sees:
        matrix = np.random.default_rng(0).normal(size=(64, 64))
        there = cp.asarray(matrix)
        must_equal(cp.asnumpy(there @ there), matrix @ matrix, "CuPy's product", 1e-8)
        square = cp.ElementwiseKernel("float64 x", "float64 y", "y = x * x", "square")
        must_equal(cp.asnumpy(square(there)), matrix**2, "CuPy's kernel", 1e-8)
    missing = None if sees else gpu.unloadable([f"libnvrtc.so.{cuda[0]}"] if cuda else [])
    build = gpu.Build("CuPy", sees, cuda, missing=missing, complaint=complaint)
    return Seen(cp.__version__, "cuda" if sees else "cpu", "" if sees else "imported, there is no GPU", build)


KERNEL = "__global__ void twice(float *x) { x[threadIdx.x] *= 2; }\nint main() { return 0; }\n"


def nvcc() -> Seen:
    """Compile and link a CUDA program. A published image has no nvcc: its licence forbids to hand it on."""
    if not shutil.which("nvcc"):
        return Seen("", "", "this image comes without nvcc")
    Path("twice.cu").write_text(KERNEL)
    told = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=True).stdout
    compiled = subprocess.run(["nvcc", "-o", "twice", "twice.cu"], capture_output=True, text=True)
    if compiled.returncode:
        raise Wrong(f"nvcc does not compile: {(compiled.stderr or compiled.stdout).strip()[-200:]}")
    release = re.search(r"V([\d.]+)", told)
    return Seen(release[1] if release else "", note="compiled and linked a kernel")
