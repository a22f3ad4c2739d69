"""Why a framework sees no GPU: the sentence names the driver, the library or the build that is at fault."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

PROOF = Path(__file__).parents[2] / "images" / "proof"
sys.path.append(str(PROOF))

from gpubox_proof import gpu  # noqa: E402
from gpubox_proof.gpu import Build, Card, Machine  # noqa: E402

H100 = Card("NVIDIA H100 80GB HBM3", (9, 0))
V100 = Card("Tesla V100-SXM2-16GB", (7, 0))
DEVICES = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm")
HEALTHY = Machine(DEVICES, "580.65.06", (13, 0), cards=(H100,))
PYTORCH = Build("PyTorch", cuda=(13, 2), architectures=("sm_80", "sm_90", "compute_120"))


def test_a_framework_that_sees_its_gpu_has_no_fault() -> None:
    assert gpu.fault(HEALTHY, replace(PYTORCH, sees=1)) is None


@pytest.mark.parametrize("devices", [(), ("/dev/nvidiactl", "/dev/nvidia-uvm")])
def test_a_box_without_a_gpu_is_no_fault(devices: tuple[str, ...]) -> None:
    nothing = Machine(devices, libcuda_error="libcuda.so.1: cannot open shared object file")
    assert gpu.fault(nothing, PYTORCH) is None
    assert gpu.summary(nothing) == "No GPU in this box: everything runs on the CPU."


def test_a_build_for_the_cpu_is_named_before_all_else() -> None:
    blind = Machine(DEVICES, libcuda_error="libcuda.so.1: cannot open shared object file")
    for machine in (HEALTHY, blind):
        told = gpu.fault(machine, Build("LightGBM"))
        assert told == "LightGBM is built without CUDA: it uses the CPU."


def test_the_drivers_library_is_missing_though_the_gpu_is_there() -> None:
    machine = Machine(DEVICES, "580.65.06", libcuda_error="libcuda.so.1: cannot open shared object file")
    told = gpu.fault(machine, PYTORCH)
    assert told and "libcuda.so.1 is not in this box" in told
    assert "CDI" in told and "NVIDIA_DRIVER_CAPABILITIES" in told


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (34, "stub"),
        (100, "shows no GPU to this process"),
        (802, "nvidia-fabricmanager"),
        (803, "differ in version"),
        (804, "compatibility library"),
        (999, "/dev/nvidia-uvm"),
        (12345, "error 12345"),
    ],
)
def test_cuda_that_does_not_start_is_told_by_its_error(error: int, words: str) -> None:
    told = gpu.fault(replace(HEALTHY, cuda_error=error, cards=()), PYTORCH)
    assert told and words in told and told.startswith(f"CUDA does not start (error {error})")


def test_a_setting_that_hides_every_gpu_is_named() -> None:
    hidden = replace(HEALTHY, cuda_error=gpu.NO_DEVICE, cards=(), visible_devices="7")
    told = gpu.fault(hidden, PYTORCH)
    assert told and "CUDA_VISIBLE_DEVICES=7" in told and "unset it" in told


def test_a_mig_gpu_without_a_slice_is_told() -> None:
    told = gpu.fault(replace(HEALTHY, cards=()), PYTORCH)
    assert told and "no slice" in told


def test_a_driver_too_old_for_the_build_is_told_with_the_one_that_is_needed() -> None:
    old = replace(HEALTHY, driver="550.54.15", cuda=(12, 4))
    assert gpu.fault(old, PYTORCH) == (
        "PyTorch is built for CUDA 13.2, which needs driver 580 or newer; this machine's driver 550.54.15"
        " runs CUDA up to 12.4."
    )


def test_a_driver_of_the_same_generation_runs_newer_toolkits() -> None:
    older_minor = replace(HEALTHY, cuda=(13, 0))
    told = gpu.fault(older_minor, PYTORCH)
    assert told and "needs driver" not in told


def test_a_library_that_cannot_be_loaded_is_named() -> None:
    missing = replace(
        PYTORCH, missing="libcudnn.so.9: cannot open shared object file: No such file or directory"
    )
    told = gpu.fault(HEALTHY, missing)
    assert told and "libcudnn.so.9" in told


def test_a_gpu_that_the_build_has_no_code_for_is_named() -> None:
    told = gpu.fault(replace(HEALTHY, cards=(V100,)), PYTORCH)
    assert told == (
        "PyTorch has no code for Tesla V100-SXM2-16GB (sm_70): it was built for sm_80, sm_90, compute_120."
    )


def test_what_cannot_be_explained_is_told_in_the_frameworks_own_words() -> None:
    told = gpu.fault(HEALTHY, replace(PYTORCH, complaint="out of luck"))
    assert told and "NVIDIA H100" in told and told.endswith("Its own words: out of luck")


def test_the_first_cause_is_told_not_what_follows_from_it() -> None:
    machine = replace(HEALTHY, cuda=(12, 4), cuda_error=803, cards=())
    told = gpu.fault(machine, replace(PYTORCH, missing="libcudnn.so.9: gone"))
    assert told and "error 803" in told


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ((9, 0), ("sm_90",), True),
        ((8, 9), ("sm_86",), True),  # the same major number, a higher minor
        ((8, 0), ("sm_86",), False),
        ((9, 0), ("sm_80", "sm_86"), False),
        ((9, 0), ("compute_80",), True),  # PTX is compiled for what is newer
        ((7, 5), ("compute_80",), False),
        ((9, 0), ("sm_90a",), True),
        ((12, 0), ("sm_100", "sm_120"), True),
        ((12, 1), ("sm_90", "sm_120"), True),
        ((10, 3), ("sm_100a",), False),
        ((9, 0), ("gfx90a",), False),
        ((9, 0), (), False),
    ],
)
def test_which_code_runs_on_which_gpu(
    capability: tuple[int, int], architectures: tuple[str, ...], runs: bool
) -> None:
    assert gpu.runs_on(capability, architectures) is runs


def test_versions_are_read_as_they_are_written() -> None:
    assert gpu.version("13.2") == (13, 2)
    assert gpu.version("12") == (12, 0)
    assert gpu.version("12.8.1") == (12, 8)
    assert gpu.version(None) is gpu.version("") is gpu.version("none") is None
    assert gpu.of_number(13020) == (13, 2)
    assert gpu.of_number(0) is None


def test_looking_at_a_machine_without_a_driver_fails_at_nothing(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").touch()
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    words = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu Jan 23 02:53:42 UTC 2025\n"
    (tmp_path / "proc/driver/nvidia/version").write_text(words)

    machine = gpu.look({"CUDA_VISIBLE_DEVICES": ""}, tmp_path)

    assert machine.devices == ("/dev/nvidia0",)
    assert machine.has_gpu and machine.visible_devices == ""
    assert machine.driver is not None


# A driver's library of a few lines: it shows one GPU, or the error that it is told.
LIBCUDA = r"""
#include <stdlib.h>
#include <string.h>
int cuDriverGetVersion(int *version) { *version = 12040; return 0; }
int cuInit(unsigned flags) { const char *error = getenv("CUDA_ERROR"); return error ? atoi(error) : 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetName(char *name, int length, int device) { strncpy(name, "Tesla T4", length); return 0; }
int cuDeviceGetAttribute(int *value, int what, int device) { *value = what == 75 ? 7 : 5; return 0; }
"""


@pytest.mark.parametrize(
    ("error", "expected"),
    [("0", "(12, 4) 0 (Card(name='Tesla T4', capability=(7, 5)),)"), ("803", "(12, 4) 803 ()")],
)
def test_the_drivers_library_is_asked_for_its_level_and_its_gpus(
    tmp_path: Path, error: str, expected: str
) -> None:
    (tmp_path / "libcuda.c").write_text(LIBCUDA)
    compile_it = ["cc", "-shared", "-fPIC", "-o", tmp_path / "libcuda.so.1", tmp_path / "libcuda.c"]
    subprocess.run(compile_it, check=True)
    ran = subprocess.run(
        [
            sys.executable,
            "-c",
            "from gpubox_proof import gpu; m = gpu.look(); print(m.cuda, m.cuda_error, m.cards)",
        ],
        env={**os.environ, "PYTHONPATH": str(PROOF), "LD_LIBRARY_PATH": str(tmp_path), "CUDA_ERROR": error},
        capture_output=True,
        text=True,
    )
    assert ran.stdout.strip() == expected, ran.stderr
