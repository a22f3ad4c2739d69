"""A simulated driver comes and goes without a trace, beside others of its kind, never beside a real one."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from simgpu import SimulatedDriver, SimulationRefused
from simgpu.nodes import CDI_DIRECTORY, refuse_beside_a_real_driver
from simgpu.program import Program

TESTS = Path(__file__).parents[1]


def installed_files() -> set[str]:
    places = [*Path("/dev").glob("nvidia*"), *Path("/dev/nvidia-caps").glob("*"), *CDI_DIRECTORY.glob("*")]
    return {str(path) for path in [*places, *Path("/run/simgpu").glob("driver-*")]}


def test_uninstalling_leaves_nothing_and_can_be_done_again():
    before = installed_files()
    driver = SimulatedDriver("1xH100+1xA100:mig=2x3g.40gb")

    driver.install()
    assert driver.install() is driver
    made = installed_files() - before
    driver.uninstall()
    driver.uninstall()

    assert {f"/dev/nvidia{gpu.minor}" for gpu in driver.gpus} <= made
    assert installed_files() == before


def test_nodes_have_nvidias_major_and_are_open_to_everyone():
    with SimulatedDriver("1xH100") as driver:
        minor = driver.gpus[0].minor
        for path, number in ((f"/dev/nvidia{minor}", minor), ("/dev/nvidiactl", 255)):
            node = os.stat(path)
            assert stat.S_ISCHR(node.st_mode)
            assert stat.S_IMODE(node.st_mode) == 0o666
            assert (os.major(node.st_rdev), os.minor(node.st_rdev)) == (195, number)


def test_programs_on_the_machine_see_all_gpus_with_the_environment():
    with SimulatedDriver("2xT4") as driver:
        with Program(driver.environment(), "import pynvml as n", "n.nvmlInit()") as program:
            cards = "range(n.nvmlDeviceGetCount())"
            uuids = program(f"[n.nvmlDeviceGetUUID(n.nvmlDeviceGetHandleByIndex(i)) for i in {cards}]")

    assert uuids == [gpu.uuid for gpu in driver.gpus]


def test_two_drivers_at_once_share_no_gpu(probe):
    with SimulatedDriver("2xH100") as one, SimulatedDriver("1xH100") as other:
        assert probe(one.gpus[1].uuid) == [one.gpus[1].uuid]
        assert probe(other.gpus[0].uuid) == [other.gpus[0].uuid]
        assert other.gpus[0].uuid not in [gpu.uuid for gpu in one.gpus]
        one.uninstall()
        assert probe(other.gpus[0].uuid) == [other.gpus[0].uuid]


def test_what_a_killed_run_left_is_removed_by_the_next():
    before = installed_files()
    code = (
        "import simgpu, signal; simgpu.SimulatedDriver('1xT4').install(); print(flush=True); signal.pause()"
    )
    killed = subprocess.Popen([sys.executable, "-c", code], cwd=TESTS, stdout=subprocess.PIPE)
    assert killed.stdout is not None
    killed.stdout.readline()
    left = installed_files() - before
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert left <= installed_files()

    with SimulatedDriver("1xT4") as driver:
        assert not any(Path(path).exists() for path in left if not path.startswith("/dev/"))
        assert f"/dev/nvidia{driver.gpus[0].minor}" in left  # its number is free again

    assert installed_files() == before


def test_a_real_driver_is_never_touched(tmp_path):
    (tmp_path / "devices").write_text("Character devices:\n  1 mem\n195 nvidia\n\nBlock devices:\n  7 loop\n")
    with pytest.raises(SimulationRefused, match=r"'nvidia' owns device major 195"):
        refuse_beside_a_real_driver(tmp_path)

    (tmp_path / "driver/nvidia").mkdir(parents=True)
    (tmp_path / "driver/nvidia/version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module")
    with pytest.raises(SimulationRefused, match="A real NVIDIA driver is loaded"):
        refuse_beside_a_real_driver(tmp_path)


def test_a_node_that_was_there_before_stays():
    spare = next(Path(f"/dev/nvidia{n}") for n in range(64) if not Path(f"/dev/nvidia{n}").exists())
    os.mknod(spare, stat.S_IFCHR | 0o600, os.makedev(195, int(spare.name.removeprefix("nvidia"))))
    try:
        with SimulatedDriver("2xT4") as driver:
            assert str(spare) not in [f"/dev/nvidia{gpu.minor}" for gpu in driver.gpus]
        assert stat.S_IMODE(spare.stat().st_mode) == 0o600
    finally:
        spare.unlink()


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "simgpu", *words]
    return subprocess.run(command, cwd=TESTS, capture_output=True, text=True)


def test_a_command_runs_with_gpus_and_an_announcement_and_its_status_is_ours():
    before = installed_files()
    words = "os.environ['GPUBOX_ANNOUNCEMENT']"
    code = (
        f"import os, pynvml as n; n.nvmlInit(); print(n.nvmlDeviceGetCount(), {words}); raise SystemExit(3)"
    )

    done = run("4xH100", "--", sys.executable, "-c", code)

    assert done.stdout.startswith("4 Simulated GPUs: 4xH100.")
    assert done.returncode == 3
    assert installed_files() == before


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("4xH1000", "--", "true"), "'4xH1000' is no GPU to simulate, such as 4xH100"),
        (("1xT4", "--", "no-such-command"), "no-such-command cannot be run"),
        (("1xT4",), "say which command to run"),
    ],
)
def test_a_command_line_that_cannot_be_says_why_in_a_sentence(words, sentence):
    done = run(*words)

    assert done.returncode != 0
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_terminated_command_line_ends_its_command_and_cleans_up():
    before = installed_files()
    words = [sys.executable, "-m", "simgpu", "1xT4", "--", "sh", "-c", "echo begun; exec sleep 3600"]
    process = subprocess.Popen(words, cwd=TESTS, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"

    process.terminate()

    assert process.wait() == 128 + signal.SIGTERM
    assert installed_files() == before
