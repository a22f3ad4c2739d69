"""`gpubox top`: what it draws, and that a terminal is as it was afterwards."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.waiting import until
from jupyterlab_gpubox.records import GPU, Driver, Others, Owner, Process, ProcessList, Snapshot
from jupyterlab_gpubox.top import render
from simgpu import SimulatedLibrary

EXTENSION = Path(__file__).parents[2] / "extension"
H100 = GPU(
    "GPU-1",
    0,
    "nvidia",
    "NVIDIA H100 80GB HBM3",
    memory_total_mib=81559,
    figures={
        "utilisation_percent": 97,
        "memory_used_mib": 41234,
        "power_watts": 612.4,
        "power_limit_watts": 700,
        "temperature_celsius": 61,
        "clock_sm_mhz": 1980,
        "throttle_reasons": ("power cap",),
    },
)
DRIVER = Driver("nvidia", "ok", "580.95", "13.0")


def drawn(
    *gpus: GPU, listed: ProcessList | None = None, width: int = 120, drivers: tuple[Driver, ...] = (DRIVER,)
) -> str:
    return "\n".join(render(Snapshot(0, drivers, gpus), listed or ProcessList(0), width=width))


def test_a_gpu_is_a_line_with_its_figures_and_units() -> None:
    text = drawn(H100)
    assert "NVIDIA driver 580.95, CUDA 13.0" in text
    assert re.search(
        r"0 +NVIDIA H100 80GB HBM3 +97% +40\.3 GiB / 79\.6 GiB +612 W / 700 W +61 °C +1980 MHz +power cap",
        text,
    )


def test_what_a_gpu_does_not_tell_is_never_zero() -> None:
    text = drawn(GPU("GPU-1", 0, "nvidia", "NVIDIA GB10", figures={"utilisation_percent": None}))
    assert "n/a / n/a" in text
    assert not re.search(r"\b0%|\b0 W", text)


def test_a_lost_gpu_and_old_figures_say_so() -> None:
    lost = GPU("GPU-2", 1, "nvidia", "H100", state="lost", message="It has fallen off the bus.")
    old = GPU("GPU-3", 2, "nvidia", "H100", figures={"power_watts": 5.0}, stale={"power_watts": 12.3})
    text = drawn(H100, lost, old)
    assert "LOST" in text
    assert "It has fallen off the bus." in text
    assert "12 s old" in text


def test_processes_are_named_and_others_summed_up() -> None:
    mine = Process("GPU-1", 4711, "python3", 12595, Owner("server"))
    listed = ProcessList(0, (mine,), (Others("GPU-1", 2, 4000),))
    text = drawn(H100, listed=listed)
    assert re.search(r"0 +4711 +python3 +12\.3 GiB", text)
    assert re.search(r"2 other processes +3\.9 GiB", text)


@pytest.mark.parametrize("width", [20, 60, 79, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    trouble = Driver("amd", "trouble", message="x" * 300)
    lines = render(Snapshot(0, (DRIVER, trouble), (H100,)), ProcessList(0, message="y" * 300), width=width)
    assert max(map(len, lines)) <= width


def test_no_gpu_is_a_sentence() -> None:
    assert drawn(drivers=(Driver("nvidia", "none"),)).endswith("No GPU found on this machine.")


TOP = [
    sys.executable,
    "-c",
    "import sys; from jupyterlab_gpubox.top import main; sys.exit(main(sys.argv[1:]))",
]


def environment(driver: SimulatedLibrary) -> dict[str, str]:
    return {
        **driver.environment(),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(EXTENSION),
        "TERM": "xterm",
        "LANG": "C.UTF-8",
    }


def test_into_a_file_it_prints_the_table_once() -> None:
    with SimulatedLibrary("2xH100") as driver:
        driver.gpus[1].set(utilisation=42)
        ran = subprocess.run([*TOP], env=environment(driver), capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert "42%" in ran.stdout
    assert "\x1b" not in ran.stdout
    assert ran.stdout.count("NVIDIA H100 80GB HBM3") == 2


def test_a_driver_in_trouble_is_its_sentence_and_status_1() -> None:
    with SimulatedLibrary("1xH100") as driver:
        driver.mismatch()
        ran = subprocess.run(
            [*TOP, "--once"], env=environment(driver), capture_output=True, text=True, timeout=60
        )
    assert ran.returncode == 1
    assert "driver" in ran.stdout
    assert "Traceback" not in ran.stderr


def test_in_a_terminal_it_follows_the_gpu_and_q_gives_the_terminal_back() -> None:
    with SimulatedLibrary("1xH100") as driver:
        ours, its = pty.openpty()
        top = subprocess.Popen(
            [*TOP, "--seconds=0.2"], env=environment(driver), stdin=its, stdout=its, stderr=subprocess.STDOUT
        )
        os.close(its)
        shown = bytearray()
        os.set_blocking(ours, False)

        def seen(words: bytes) -> bool:
            try:
                shown.extend(os.read(ours, 65536))
            except BlockingIOError:
                pass
            except OSError:  # the other end is closed
                return words in shown
            return words in shown

        until(lambda: seen(b" 0% "), "an idle GPU")
        driver.gpus[0].set(utilisation=88)
        until(lambda: seen(b"88%"), "88 %")
        os.write(ours, b"q")
        until(lambda: seen(b"\x1b[?1049l"), "the first screen is back")
        assert top.wait(30) == 0
        os.close(ours)
