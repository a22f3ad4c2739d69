"""A simulated driver comes and goes without a trace, beside others of its kind, never beside a real one."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from simgpu import SimulatedDriver, SimulatedLibrary, SimulationRefused
from simgpu.nodes import CDI_DIRECTORY, cdi_spec, nodes_of, refuse_beside_a_real_driver
from simgpu.program import Program

TESTS = Path(__file__).parents[1]


def traces(state: str | Path) -> list[Path]:
    """What is there of the driver with this state: its directory, its owner's file, its CDI specification."""
    directory = Path(state).parent
    places = (directory, directory.with_suffix(".owner"), CDI_DIRECTORY / f"simgpu-{directory.name}.json")
    return [path for path in places if path.exists()]


def test_uninstalling_leaves_nothing_and_can_be_done_again():
    driver = SimulatedDriver("1xH100+1xA100:mig=2x3g.40gb")

    driver.install()
    assert driver.install() is driver
    nodes = [Path(node.path) for gpu in driver.gpus for node in nodes_of(gpu)]
    state = driver.environment()["SIMGPU_STATE"]
    assert len(traces(state)) == 3
    assert all(path.is_char_device() for path in nodes)
    driver.uninstall()
    driver.uninstall()

    assert traces(state) == []
    assert not any(path.exists() for path in nodes)


def test_nodes_have_nvidias_major_and_are_open_to_everyone():
    with SimulatedDriver("1xH100") as driver:
        minor = driver.gpus[0].minor
        for path, number in ((f"/dev/nvidia{minor}", minor), ("/dev/nvidiactl", 255)):
            node = os.stat(path)
            assert stat.S_ISCHR(node.st_mode)
            assert stat.S_IMODE(node.st_mode) == 0o666
            assert (os.major(node.st_rdev), os.minor(node.st_rdev)) == (195, number)


def test_all_names_every_gpu_and_slice_and_one_driver_alone_offers_it():
    with SimulatedLibrary("1xH100+1xA100:mig=2x3g.40gb") as driver:
        for offer_all in (True, False):
            written = cdi_spec(driver.gpus, Path("lib.so"), Path("/run/x/state"), offer_all=offer_all)
            devices = {one["name"]: one["containerEdits"] for one in json.loads(written)["devices"]}
            assert ("all" in devices) is offer_all
            if offer_all:
                paths = {node["path"] for node in devices.pop("all")["deviceNodes"]}
                assert paths == {node["path"] for one in devices.values() for node in one["deviceNodes"]}


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
    code = (
        "import simgpu, signal; driver = simgpu.SimulatedDriver('1xT4').install();"
        "print(driver.environment()['SIMGPU_STATE'], flush=True); signal.pause()"
    )
    killed = subprocess.Popen([sys.executable, "-c", code], cwd=TESTS, stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None
    state = killed.stdout.readline().strip()
    with SimulatedDriver("1xT4"):
        assert len(traces(state)) == 3  # the living are left alone
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert len(traces(state)) == 3

    with SimulatedDriver("1xT4"):
        assert traces(state) == []


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
    code = (
        "import os, pynvml; pynvml.nvmlInit(); print(pynvml.nvmlDeviceGetCount());"
        "print(os.environ['GPUBOX_ANNOUNCEMENT']); print(os.environ['SIMGPU_STATE']); raise SystemExit(3)"
    )

    done = run("4xH100", "--", sys.executable, "-c", code)

    count, announcement, state = done.stdout.splitlines()
    assert count == "4"
    assert announcement.startswith("Simulated GPUs: 4xH100.")
    assert done.returncode == 3
    assert traces(state) == []


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


def test_a_server_that_keeps_no_variable_of_its_own_sees_them_too():
    count = "import pynvml as n; n.nvmlInit(); print(n.nvmlDeviceGetCount())"
    ran = run("2xT4", "--", "env", "-u", "SIMGPU_STATE", sys.executable, "-c", count)
    assert (ran.returncode, ran.stdout) == (0, "2\n"), ran.stderr
    assert not Path("/run/simgpu/state").is_symlink()


def test_a_terminated_command_line_ends_its_command_and_cleans_up():
    words = [sys.executable, "-m", "simgpu", "1xT4", "--", "sh", "-c", "echo $SIMGPU_STATE; exec sleep 3600"]
    process = subprocess.Popen(words, cwd=TESTS, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    state = process.stdout.readline().strip()
    assert len(traces(state)) == 3

    process.terminate()

    assert process.wait() == 128 + signal.SIGTERM
    assert traces(state) == []
