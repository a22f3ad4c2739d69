"""What programs learn from the simulated library through nvidia-ml-py, while a test changes the state."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

from simgpu import SimulatedLibrary, UnknownGPU
from simgpu.library import build_library
from simgpu.program import Program, ProgramError

OPEN = ("import pynvml as n", "n.nvmlInit()", "gpu = lambda i=0: n.nvmlDeviceGetHandleByIndex(i)")


@pytest.fixture
def driver() -> Iterator[SimulatedLibrary]:
    with SimulatedLibrary("2xH100") as driver:
        yield driver


@pytest.fixture
def program(driver: SimulatedLibrary) -> Iterator[Program]:
    with Program(driver.environment(), *OPEN) as program:
        yield program


def test_gpus_have_the_models_and_uuids_that_were_asked_for():
    with SimulatedLibrary("1xA100+2xRTX 4090+1xQuadro P5000") as driver:
        with Program(driver.environment(), *OPEN) as program:
            names = program("[n.nvmlDeviceGetName(gpu(i)) for i in range(n.nvmlDeviceGetCount())]")
            uuids = program("[n.nvmlDeviceGetUUID(gpu(i)) for i in range(n.nvmlDeviceGetCount())]")

    rtx = "NVIDIA GeForce RTX 4090"
    assert names == ["NVIDIA A100-SXM4-80GB", rtx, rtx, "Quadro P5000"]
    assert uuids == [gpu.uuid for gpu in driver.gpus]
    assert len(set(uuids)) == 4
    assert all(re.fullmatch(r"GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", uuid) for uuid in uuids)


def test_a_driver_made_again_has_the_same_uuids(driver):
    with SimulatedLibrary(driver.specification) as again:
        assert [gpu.uuid for gpu in again.gpus] == [gpu.uuid for gpu in driver.gpus]


def test_a_program_that_runs_sees_new_figures_at_its_next_call(driver, program):
    assert program("n.nvmlDeviceGetUtilizationRates(gpu(1)).gpu") == 0

    driver.gpus[1].set(utilisation=97, temperature=71, memory_used_mib=40000, power_mw=654321)

    assert program("n.nvmlDeviceGetUtilizationRates(gpu(1)).gpu") == 97
    assert program("n.nvmlDeviceGetUtilizationRates(gpu(0)).gpu") == 0
    assert program("n.nvmlDeviceGetTemperature(gpu(1), n.NVML_TEMPERATURE_GPU)") == 71
    assert program("n.nvmlDeviceGetTemperatureV(gpu(1), n.NVML_TEMPERATURE_GPU)") == 71
    assert program("n.nvmlDeviceGetPowerUsage(gpu(1))") == 654321
    assert program("n.nvmlDeviceGetMemoryInfo(gpu(1), version=n.nvmlMemory_v2).used") == 40000 * 2**20


def test_memory_adds_up_in_both_versions(driver, program):
    driver.gpus[0].set(memory_mib=81559, memory_used_mib=1000, memory_reserved_mib=500)

    program("old = n.nvmlDeviceGetMemoryInfo(gpu())")
    program("new = n.nvmlDeviceGetMemoryInfo(gpu(), version=n.nvmlMemory_v2)")

    assert program("[old.total, old.used, old.free]") == [mib * 2**20 for mib in (81559, 1500, 80059)]
    assert program("[new.total, new.reserved, new.used, new.free]") == [
        mib * 2**20 for mib in (81559, 500, 1000, 80059)
    ]


def test_a_reader_never_meets_half_a_state(driver, program):
    stop = threading.Event()

    def edit() -> None:
        while not stop.is_set():
            for load in (10, 20):
                driver.gpus[0].set(utilisation=load, memory_utilisation=load)

    editor = threading.Thread(target=edit)
    editor.start()
    try:
        program("look = lambda: n.nvmlDeviceGetUtilizationRates(gpu())")
        pairs = program("list({(r.gpu, r.memory) for _ in range(3000) for r in [look()]})")
    finally:
        stop.set()
        editor.join()

    assert all(load == memory_load for load, memory_load in pairs)


@pytest.mark.parametrize(
    ("figure", "call"),
    [
        ("utilisation", "n.nvmlDeviceGetUtilizationRates(gpu())"),
        ("memory_mib", "n.nvmlDeviceGetMemoryInfo(gpu())"),
        ("temperature", "n.nvmlDeviceGetTemperature(gpu(), 0)"),
        ("power_mw", "n.nvmlDeviceGetPowerUsage(gpu())"),
        ("serial", "n.nvmlDeviceGetSerial(gpu())"),
    ],
)
def test_a_figure_can_be_not_supported(driver, program, figure, call):
    program(call)

    driver.gpus[0].set(**{figure: None})

    with pytest.raises(ProgramError, match="NVMLError_NotSupported"):
        program(call)


def test_a_figure_that_no_gpu_has_is_refused(driver):
    with pytest.raises(KeyError, match="utilization"):
        driver.gpus[0].set(utilization=50)


def test_unified_memory_has_no_figures_of_its_own():
    with SimulatedLibrary("1xGB10") as driver, Program(driver.environment(), *OPEN) as program:
        assert program("n.nvmlDeviceGetName(gpu())") == "NVIDIA GB10"
        with pytest.raises(ProgramError, match="NotSupported"):
            program("n.nvmlDeviceGetMemoryInfo(gpu())")


def test_every_call_on_a_lost_gpu_says_so_and_its_neighbour_works(driver, program):
    program("h = gpu(0)")

    driver.gpus[0].lose()

    for call in ("GetTemperature(h, 0)", "GetUUID(h)", "GetMemoryInfo(h)", "GetHandleByIndex(0)"):
        with pytest.raises(ProgramError, match="NVMLError_GpuIsLost"):
            program(f"n.nvmlDevice{call}")
    assert program("n.nvmlDeviceGetCount()") == 2
    assert program("n.nvmlDeviceGetUUID(gpu(1))") == driver.gpus[1].uuid
    driver.gpus[0].recover()
    assert program("n.nvmlDeviceGetUUID(h)") == driver.gpus[0].uuid


def test_one_call_can_fail_with_any_error(driver, program):
    driver.gpus[0].fail("nvmlDeviceGetMemoryInfo", "UNKNOWN")

    with pytest.raises(ProgramError, match="NVMLError_Unknown"):
        program("n.nvmlDeviceGetMemoryInfo(gpu(), version=n.nvmlMemory_v2)")
    assert program("n.nvmlDeviceGetTemperature(gpu(), 0)") == driver.gpus[0].values["temperature"]


def test_a_call_that_hangs_holds_no_other_thread(driver, program):
    driver.gpus[0].hang("nvmlDeviceGetTemperature", seconds=3600)
    program("h = gpu(0)")

    program("import threading")
    hung = "threading.Thread(target=n.nvmlDeviceGetTemperature, args=(h, 0), daemon=True)"
    program(f"(thread := {hung}).start()")

    assert program("n.nvmlDeviceGetTemperature(gpu(1), 0)") == driver.gpus[1].values["temperature"]
    assert program("thread.is_alive()") is True


@pytest.mark.parametrize(
    ("trouble", "error"),
    [("unload", "NVMLError_DriverNotLoaded"), ("mismatch", "NVMLError_LibRmVersionMismatch")],
)
def test_a_driver_in_trouble_refuses_to_begin_and_recovers(driver, trouble, error):
    getattr(driver, trouble)()

    with Program(driver.environment(), "import pynvml") as program:
        with pytest.raises(ProgramError, match=error):
            program("pynvml.nvmlInit()")
        driver.recover()
        program("pynvml.nvmlInit()")


def test_without_the_driver_there_is_no_library():
    with Program({}, "import pynvml") as program, pytest.raises(ProgramError, match="LibraryNotFound"):
        program("pynvml.nvmlInit()")


def test_processes_are_listed_with_memory_and_load(driver, program):
    assert program("n.nvmlDeviceGetComputeRunningProcesses(gpu())") == []

    driver.gpus[0].add_process(os.getpid(), memory_mib=2048, utilisation=60)

    program("listed, = n.nvmlDeviceGetComputeRunningProcesses(gpu())")
    assert program("[listed.pid, listed.usedGpuMemory]") == [os.getpid(), 2048 * 2**20]
    program("sample, = n.nvmlDeviceGetProcessUtilization(gpu(), 0)")
    assert program("[sample.pid, sample.smUtil]") == [os.getpid(), 60]
    assert program("n.nvmlDeviceGetGraphicsRunningProcesses(gpu())") == []
    assert program("n.nvmlDeviceGetComputeRunningProcesses(gpu(1))") == []
    used = driver.gpus[0].values["memory_used_mib"]
    driver.gpus[0].remove_process(os.getpid())
    assert driver.gpus[0].values["memory_used_mib"] == used - 2048
    assert program("n.nvmlDeviceGetComputeRunningProcesses(gpu())") == []


def test_more_processes_than_room_are_counted(driver):
    with Program({}) as first, Program({}) as second:
        for pid in (os.getpid(), first.pid, second.pid):
            driver.gpus[0].add_process(pid)
        with Program(driver.environment(), *OPEN) as program:
            found = program("sorted(p.pid for p in n.nvmlDeviceGetComputeRunningProcesses(gpu()))")

    assert found == sorted([os.getpid(), first.pid, second.pid])


def test_mig_slices_have_names_memory_and_instances():
    with SimulatedLibrary("1xA100:mig=2x1g.10gb,mig=1x4g.40gb") as driver:
        with Program(driver.environment(), *OPEN) as program:
            program("slices = [n.nvmlDeviceGetMigDeviceHandleByIndex(gpu(), i) for i in range(3)]")
            names = program("[n.nvmlDeviceGetName(s) for s in slices]")
            instances = program("[n.nvmlDeviceGetGpuInstanceId(s) for s in slices]")
            by_uuid = program(
                f"n.nvmlDeviceGetName(n.nvmlDeviceGetHandleByUUID({driver.gpus[0].slices[2].uuid!r}))"
            )
            parent = program("n.nvmlDeviceGetUUID(n.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(slices[1]))")
            memory = program("n.nvmlDeviceGetMemoryInfo(slices[0]).total")
            with pytest.raises(ProgramError, match="NotFound"):
                program("n.nvmlDeviceGetMigDeviceHandleByIndex(gpu(), 3)")
            with pytest.raises(ProgramError, match="NotSupported"):
                program("n.nvmlDeviceGetUtilizationRates(slices[0])")

    assert names == [f"NVIDIA A100-SXM4-80GB MIG {name}" for name in ("1g.10gb", "1g.10gb", "4g.40gb")]
    assert len(set(instances)) == 3
    assert by_uuid == names[2]
    assert parent == driver.gpus[0].uuid
    assert memory == 9728 * 2**20


def test_mig_that_is_off_has_no_slices_and_mig_that_is_missing_no_mode(driver, program):
    with pytest.raises(ProgramError, match="NotFound"):
        program("n.nvmlDeviceGetMigDeviceHandleByIndex(gpu(), 0)")
    with SimulatedLibrary("1xT4") as other, Program(other.environment(), *OPEN) as its_program:
        with pytest.raises(ProgramError, match="NotSupported"):
            its_program("n.nvmlDeviceGetMigMode(gpu())")


def test_a_waiting_program_hears_of_an_xid(driver, program):
    program("events = n.nvmlEventSetCreate()")
    program("n.nvmlDeviceRegisterEvents(gpu(1), n.nvmlEventTypeXidCriticalError, events)")
    with pytest.raises(ProgramError, match="Timeout"):
        program("n.nvmlEventSetWait_v2(events, 0)")

    driver.xid(driver.gpus[0], 31)  # not registered
    driver.xid(driver.gpus[1], 79)

    program("event = n.nvmlEventSetWait_v2(events, 60000)")
    assert program("[event.eventType, event.eventData]") == [8, 79]
    assert program("n.nvmlDeviceGetUUID(event.device)") == driver.gpus[1].uuid
    with pytest.raises(ProgramError, match="Timeout"):
        program("n.nvmlEventSetWait_v2(events, 0)")


def test_nvlinks_join_h100s_and_pairs_of_bridged_cards():
    with SimulatedLibrary("2xH100+4xRTX 3090") as driver, Program(driver.environment(), *OPEN) as program:
        status = "n.nvmlDeviceGetP2PStatus(gpu({}), gpu({}), n.NVML_P2P_CAPS_INDEX_NVLINK)"
        linked = {(a, b) for a in range(6) for b in range(a + 1, 6) if program(status.format(a, b)) == 0}
        remote = program("n.nvmlDeviceGetNvLinkRemotePciInfo(gpu(0), 0).busId")

    assert linked == {(0, 1), (2, 3), (4, 5)}
    assert remote == driver.gpus[1].values["pci_bus_id"]


def test_the_driver_says_that_it_is_simulated(program):
    assert "simulated" in program("n.nvmlSystemGetDriverVersion()")


def test_every_function_that_nvidia_ml_py_knows_is_there():
    library = ctypes.CDLL(str(build_library()))
    source = Path(pynvml.__file__).read_text()
    names = set(re.findall(r'_nvmlGetFunctionPointer\("(nvml\w+)"\)', source))

    missing = [name for name in names if not hasattr(library, name)]

    assert len(names) > 300
    assert missing == []


def test_a_function_that_is_not_simulated_says_function_not_found(program):
    with pytest.raises(ProgramError, match="FunctionNotFound"):
        program("n.nvmlDeviceGetVgpuUtilization(gpu(), 0)")


def test_a_call_before_init_is_refused(driver):
    with Program(driver.environment(), "import pynvml as n", "n.nvmlInit()", "n.nvmlShutdown()") as program:
        with pytest.raises(ProgramError, match="Uninitialized"):
            program("n.nvmlDeviceGetCount()")


def test_calls_are_counted_by_function_and_in_all(driver, program):
    program("from simgpu.library import calls")
    before = program("calls()")

    program("[n.nvmlDeviceGetUtilizationRates(gpu()) for _ in range(3)]")
    program("n.nvmlDeviceGetComputeRunningProcesses(gpu())")

    assert program("calls('nvmlDeviceGetUtilizationRates')") == 3
    assert program("calls('nvmlDeviceGetComputeRunningProcesses')") == 1
    assert program("calls('nvmlDeviceGetCount')") == 0
    assert program("calls()") - before == 3 + 1 + 4  # each with a handle


def test_a_call_may_cost_what_it_does_with_a_real_driver(driver, program):
    driver.cost("nvmlDeviceGetPcieThroughput", 3600 * 10**6)
    program("import threading")

    program("ask = lambda: n.nvmlDeviceGetPcieThroughput(gpu(), 0)")
    program("(slow := threading.Thread(target=ask, daemon=True)).start()")
    program("n.nvmlDeviceGetTemperature(gpu(), 0)")

    assert program("slow.is_alive()") is True
    driver.cost("nvmlDeviceGetPcieThroughput", 1)
    assert program("ask()") == 0


def test_no_gpu_at_all_is_a_driver_with_an_empty_list():
    with SimulatedLibrary("") as driver, Program(driver.environment(), *OPEN) as program:
        assert program("n.nvmlDeviceGetCount()") == 0


@pytest.mark.parametrize("wrong", ["4xH1000", "H100:mig=9g.10gb", "1xT4:mig=1g.5gb", "1xH100:nvlink=loop"])
def test_a_specification_that_cannot_be_is_refused_with_an_example(wrong):
    with pytest.raises(UnknownGPU, match=r"such as|an option is"):
        SimulatedLibrary(wrong)


def test_nvitop_shows_the_machine_without_a_complaint():
    with SimulatedLibrary("1xH100+1xRTX 4090+1xA100:mig=2x3g.40gb+1xGB10") as driver:
        driver.gpus[0].set(utilisation=88, memory_used_mib=4242)
        driver.gpus[0].add_process(os.getpid(), memory_mib=100)
        done = subprocess.run(
            [sys.executable, "-m", "nvitop", "--once", "--no-unicode"],
            env={**os.environ, **driver.environment()},
            capture_output=True,
            text=True,
        )

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for words in (
        "580.95-simulated",
        "H100 80GB HBM3",
        "4342MiB",
        "88%",
        "RTX 4090",
        "3g.40gb",
        "GB10",
    ):
        assert words in done.stdout
    assert re.search(rf"^\W+0 +{os.getpid()} C ", done.stdout, re.M)


def test_nvitop_reads_a_changing_gpu(driver):
    with Program(driver.environment(), "from nvitop import Device", "d = Device(0)") as program:
        for load, temperature in ((0, 30), (55, 66)):
            driver.gpus[0].set(utilisation=load, temperature=temperature)
            assert program("[d.gpu_utilization(), d.temperature()]") == [load, temperature]
