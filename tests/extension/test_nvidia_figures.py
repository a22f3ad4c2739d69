"""What the panel's sampler reads of NVIDIA GPUs, in one go, through nvidia-ml-py."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from simgpu import SimulatedGPU, SimulatedLibrary
from simgpu.program import Program, ProgramError

BEGIN = (
    "from dataclasses import asdict",
    "from jupyterlab_gpubox.vendors import Tier",
    "from jupyterlab_gpubox.vendors.nvidia import NVIDIA",
    "from simgpu.library import calls",
    "nvidia = NVIDIA()",
    "driver = nvidia.open()",
    "cards = nvidia.cards()",
)
IDLE_H100 = {
    "utilisation_percent": 0,
    "memory_used_mib": 4,
    "memory_utilisation_percent": 0,
    "power_watts": 70,
    "temperature_celsius": 30,
    "clock_sm_mhz": 345,
}


@pytest.fixture
def driver() -> Iterator[SimulatedLibrary]:
    with SimulatedLibrary("2xH100") as driver:
        yield driver


@pytest.fixture
def server(driver: SimulatedLibrary) -> Iterator[Program]:
    with Program(driver.environment(), *BEGIN) as server:
        yield server


def read(server: Program, tiers: str, place: int = 0) -> dict[str, Any]:
    """What the card at a place of the driver's list says of tiers such as ``CORE|HEALTH``."""
    reading: dict[str, Any] = server(f"asdict(cards[{place}].read({tiers_of(tiers)}))")
    return reading


def tiers_of(words: str) -> str:
    return "|".join(f"Tier.{word}" for word in words.split("|"))


def figures(server: Program, gpu: SimulatedGPU, tiers: str) -> dict[str, Any]:
    found: dict[str, Any] = read(server, tiers)["figures"][gpu.uuid]
    return found


def test_the_driver_says_its_versions_and_cards_who_they_are(driver):
    driver.set(cuda_version=12040, version="550.54.15")
    with Program(driver.environment(), *BEGIN) as server:
        assert server("asdict(driver)") == {
            "vendor": "nvidia",
            "state": "ok",
            "version": "550.54.15",
            "cuda": "12.4",
            "message": "",
        }
        assert server("len(cards)") == 2
        reading = read(server, "CORE", place=1)

    (gpu,) = reading["gpus"]
    assert (gpu["id"], gpu["index"], gpu["name"]) == (driver.gpus[1].uuid, 1, "NVIDIA H100 80GB HBM3")
    assert (gpu["memory_total_mib"], gpu["parent"], gpu["mig_profile"]) == (81559, None, None)
    assert (reading["card"], reading["uses"]) == (driver.gpus[1].uuid, None)


def test_core_figures_are_those_of_the_driver(driver, server):
    assert figures(server, driver.gpus[0], "CORE") == IDLE_H100

    driver.gpus[0].set(
        utilisation=97,
        memory_used_mib=41234,
        memory_utilisation=40,
        power_mw=612_449,
        temperature=61,
        clock_sm_mhz=1980,
    )

    assert figures(server, driver.gpus[0], "CORE") == {
        "utilisation_percent": 97,
        "memory_used_mib": 41234,
        "memory_utilisation_percent": 40,
        "power_watts": 612.4,
        "temperature_celsius": 61,
        "clock_sm_mhz": 1980,
    }


def test_nvitop_reads_the_same(driver, server):
    driver.gpus[0].set(utilisation=55, memory_used_mib=4242, power_mw=300_000, temperature=50)
    driver.gpus[0].set(memory_utilisation=11, clock_sm_mhz=1500)
    seen = figures(server, driver.gpus[0], "CORE")

    with Program(driver.environment(), "from nvitop import Device", "d = Device(0)") as nvitop:
        assert seen == {
            "utilisation_percent": nvitop("d.gpu_utilization()"),
            "memory_used_mib": nvitop("d.memory_used() // 2**20"),
            "memory_utilisation_percent": nvitop("d.memory_utilization()"),
            "power_watts": nvitop("d.power_usage() / 1000"),
            "temperature_celsius": nvitop("d.temperature()"),
            "clock_sm_mhz": nvitop("d.clock_infos().sm"),
        }


def test_health_figures_are_limits_reasons_and_memory_errors(driver, server):
    driver.gpus[0].set(
        event_reasons=0x4 | 0x20 | 0x80,
        ecc_corrected_volatile=7,
        ecc_uncorrected_volatile=1,
        remapped_rows_corrected=2,
        remapped_rows_uncorrected=1,
    )

    assert figures(server, driver.gpus[0], "HEALTH") == {
        "power_limit_watts": 700,
        "clock_memory_mhz": 2619,
        "throttle_reasons": ["power cap", "thermal slowdown", "power brake"],
        "ecc_corrected": 7,
        "ecc_uncorrected": 1,
        "retired_pages": 3,
    }


def test_that_a_gpu_is_idle_is_no_reason_why_it_is_throttled(driver, server):
    driver.gpus[0].set(event_reasons=1)

    assert figures(server, driver.gpus[0], "HEALTH")["throttle_reasons"] == []


def test_before_ampere_pages_are_retired():
    with SimulatedLibrary("1xT4") as driver, Program(driver.environment(), *BEGIN) as server:
        driver.gpus[0].set(retired_pages_single=2, retired_pages_double=3)

        assert figures(server, driver.gpus[0], "HEALTH")["retired_pages"] == 5


def test_what_a_gpu_does_not_have_is_none_and_not_asked_again_before_the_next_health_tick():
    with SimulatedLibrary("1xRTX 4090") as driver, Program(driver.environment(), *BEGIN) as server:
        gpu = driver.gpus[0]
        gpu.set(power_mw=None)
        read(server, "CORE|HEALTH")

        for _ in range(3):
            seen = figures(server, gpu, "CORE")
            assert (seen["power_watts"], seen["temperature_celsius"]) == (None, 30)
        assert server("calls('nvmlDeviceGetPowerUsage')") == 1

        gpu.set(power_mw=45_000)
        assert figures(server, gpu, "CORE")["power_watts"] is None
        assert figures(server, gpu, "CORE|HEALTH")["power_watts"] == 45
        assert figures(server, gpu, "HEALTH")["ecc_corrected"] is None


def test_unified_memory_has_no_figures():
    with SimulatedLibrary("1xGB10") as driver, Program(driver.environment(), *BEGIN) as server:
        (gpu,) = read(server, "CORE")["gpus"]

        assert gpu["memory_total_mib"] is None
        assert figures(server, driver.gpus[0], "CORE")["memory_used_mib"] is None


def test_a_call_that_fails_for_once_leaves_its_figure_out_and_the_others_in(driver, server):
    driver.gpus[0].fail("nvmlDeviceGetTemperature", "UNKNOWN")
    seen = figures(server, driver.gpus[0], "CORE")

    assert "temperature_celsius" not in seen
    assert seen == {name: value for name, value in IDLE_H100.items() if name != "temperature_celsius"}

    driver.gpus[0].recover()
    assert figures(server, driver.gpus[0], "CORE") == IDLE_H100


def test_an_older_driver_is_asked_by_its_older_functions(driver, server):
    for call in ("nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetCurrentClocksEventReasons"):
        driver.fail(call, "FUNCTION_NOT_FOUND")
    driver.gpus[0].set(event_reasons=4, memory_reserved_mib=0, memory_used_mib=99)

    seen = figures(server, driver.gpus[0], "CORE|HEALTH")

    assert (seen["memory_used_mib"], seen["throttle_reasons"]) == (99, ["power cap"])


def test_processes_are_listed_once_with_their_memory(driver, server):
    own, parent = os.getpid(), os.getppid()
    driver.gpus[0].add_process(own, memory_mib=1000)
    driver.gpus[0].add_process(parent, memory_mib=20, kind="graphics")

    assert sorted(read(server, "PROCESSES")["uses"], key=lambda use: use["memory_mib"]) == [
        {"gpu": driver.gpus[0].uuid, "pid": parent, "memory_mib": 20},
        {"gpu": driver.gpus[0].uuid, "pid": own, "memory_mib": 1000},
    ]
    driver.gpus[0].remove_process(own)
    driver.gpus[0].remove_process(parent)
    assert read(server, "PROCESSES")["uses"] == []


@pytest.mark.parametrize(
    ("error", "words"), [("GPU_IS_LOST", "fallen off the bus"), ("RESET_REQUIRED", "--gpu-reset")]
)
def test_a_gpu_that_is_lost_says_what_to_do(driver, server, error, words):
    read(server, "CORE")
    driver.gpus[0].fail("*", error)

    with pytest.raises(ProgramError, match=f"GPULost: .*{words}"):
        read(server, "CORE")
    assert read(server, "CORE", place=1)["gpus"]

    driver.gpus[0].recover()
    assert figures(server, driver.gpus[0], "CORE") == IDLE_H100


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("DRIVER_NOT_LOADED", "modprobe nvidia"),
        ("LIB_RM_VERSION_MISMATCH", "was updated while the old one runs"),
        ("NO_PERMISSION", "/dev/nvidiactl"),
        ("UNKNOWN", "nvidia-smi"),
    ],
)
def test_a_driver_that_cannot_be_opened_says_what_to_do(driver, server, error, words):
    driver.fail("nvmlInit", error)

    with pytest.raises(ProgramError, match=f"DriverTrouble: .*{words}"):
        server("nvidia.open()")

    driver.recover()
    server("nvidia.open()")
    assert server("len(nvidia.cards())") == 2


def test_without_a_library_there_is_no_driver():
    with Program({}, *BEGIN[:-2]) as server:
        with pytest.raises(ProgramError, match="NoDriver"):
            server("nvidia.open()")


def test_a_closed_driver_is_closed(driver, server):
    server("nvidia.close()")

    with pytest.raises(ProgramError, match="Uninitialized"):
        server("__import__('pynvml').nvmlDeviceGetCount()")


# --- MIG -------------------------------------------------------------------------------------------


@pytest.fixture
def sliced() -> Iterator[SimulatedLibrary]:
    with SimulatedLibrary("1xA100:mig=2x1g.10gb,mig=1x3g.40gb") as driver:
        yield driver


def test_slices_stand_for_their_card_with_memory_of_their_own(sliced):
    card = sliced.gpus[0]
    card.slices[1].set(memory_used_mib=5000)
    with Program(sliced.environment(), *BEGIN) as server:
        reading = read(server, "CORE|HEALTH|LINKS")

    assert [(gpu["id"], gpu["parent"], gpu["mig_profile"]) for gpu in reading["gpus"]] == [
        (one.uuid, card.uuid, one.profile.name) for one in card.slices
    ]
    assert [gpu["memory_total_mib"] for gpu in reading["gpus"]] == [9728, 9728, 38912]
    memory = [reading["figures"][one.uuid].pop("memory_used_mib") for one in card.slices]
    assert memory == [12, 5000, 12]
    assert {value for one in card.slices for value in reading["figures"][one.uuid].values()} == {None}
    assert "power_watts" in reading["figures"][card.slices[0].uuid]


def test_processes_are_of_their_slice(sliced):
    card = sliced.gpus[0]
    card.add_process(os.getpid(), memory_mib=700, on=card.slices[2])
    with Program(sliced.environment(), *BEGIN) as server:
        uses = read(server, "PROCESSES")["uses"]

    assert uses == [{"gpu": card.slices[2].uuid, "pid": os.getpid(), "memory_mib": 700}]


def test_mig_that_is_switched_on_is_seen_at_the_health_tick():
    with SimulatedLibrary("1xA100") as driver, Program(driver.environment(), *BEGIN) as server:
        assert [gpu["id"] for gpu in read(server, "CORE|HEALTH")["gpus"]] == [driver.gpus[0].uuid]

        driver.gpus[0].partition("2x1g.10gb")
        reading = read(server, "CORE|HEALTH")

        assert [gpu["id"] for gpu in reading["gpus"]] == [one.uuid for one in driver.gpus[0].slices]


def test_slices_that_were_cut_anew_are_seen_at_once_where_the_old_ones_are_gone(sliced):
    with Program(sliced.environment(), *BEGIN) as server:
        read(server, "CORE|HEALTH")
        sliced.gpus[0].partition("1x7g.80gb")

        reading = read(server, "CORE")

    (one,) = sliced.gpus[0].slices
    assert [(gpu["id"], gpu["mig_profile"]) for gpu in reading["gpus"]] == [(one.uuid, "7g.80gb")]
    assert reading["figures"][one.uuid]["memory_used_mib"] == 12


def test_a_card_with_mig_on_and_no_slice_stands_for_itself():
    with SimulatedLibrary("1xA100:mig=") as driver, Program(driver.environment(), *BEGIN) as server:
        assert [gpu["id"] for gpu in read(server, "CORE")["gpus"]] == [driver.gpus[0].uuid]
        assert figures(server, driver.gpus[0], "CORE")["utilisation_percent"] is None


# --- links and errors ------------------------------------------------------------------------------


def test_pcie_is_read_as_it_is_and_nvlink_as_the_difference_of_its_counter(driver, server):
    gpu = driver.gpus[0]
    gpu.set(pcie_tx_kib=120, pcie_rx_kib=80)
    gpu.set_field(138, 1000)  # NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX
    gpu.set_field(139, 1000)
    read(server, "CORE")

    first = figures(server, gpu, "LINKS")
    gpu.set_field(138, 5000)
    second = figures(server, gpu, "LINKS")

    assert first == {"pcie_tx_kib_per_second": 120, "pcie_rx_kib_per_second": 80}
    assert second["nvlink_tx_kib_per_second"] > 0
    assert second["nvlink_rx_kib_per_second"] == 0


def test_gpus_without_nvlink_have_no_such_figure():
    with SimulatedLibrary("1xT4") as driver, Program(driver.environment(), *BEGIN) as server:
        read(server, "CORE")
        seen = figures(server, driver.gpus[0], "LINKS")

    assert (seen["nvlink_tx_kib_per_second"], seen["nvlink_rx_kib_per_second"]) == (None, None)
    assert seen["pcie_tx_kib_per_second"] == 0


def test_links_are_read_beside_the_rest_and_change_nothing_of_it(driver, server):
    read(server, "CORE")
    server("before = calls('nvmlDeviceGetHandleByIndex')")
    read(server, "LINKS")
    driver.gpus[0].fail("nvmlDeviceGetPcieThroughput", "GPU_IS_LOST")
    with pytest.raises(ProgramError, match="GPULost"):
        read(server, "LINKS")

    assert server("calls('nvmlDeviceGetHandleByIndex') - before") == 0
    assert server("cards[0].answers") is True


def test_the_last_xid_is_heard_once_and_by_card(driver, server):
    read(server, "CORE", 0), read(server, "CORE", 1)
    assert server("nvidia.errors()") == {}

    driver.xid(driver.gpus[1], 31)
    driver.xid(driver.gpus[1], 79)

    assert server("nvidia.errors()") == {driver.gpus[1].uuid: 79}
    assert server("nvidia.errors()") == {}
    assert server("calls('nvmlEventSetCreate')") == 1


def test_gpus_without_error_events_are_not_asked_again_each_time(driver, server):
    driver.fail("nvmlEventSetWait", "NOT_SUPPORTED")
    read(server, "CORE")

    assert [server("nvidia.errors()") for _ in range(5)] == [{}] * 5
    assert server("calls('nvmlEventSetCreate')") == 1


def test_xids_of_the_others_are_heard_while_a_card_is_lost(driver, server):
    read(server, "CORE", 0), read(server, "CORE", 1)
    server("nvidia.errors()")
    driver.gpus[0].lose()
    with pytest.raises(ProgramError, match="GPULost"):
        read(server, "CORE", 0)
    server("nvidia.errors()")

    driver.xid(driver.gpus[1], 48)

    assert server("nvidia.errors()") == {driver.gpus[1].uuid: 48}


def test_who_stops_listening_gives_the_event_set_back(driver, server):
    read(server, "CORE")
    server("nvidia.errors()")
    server("nvidia.stop_listening()")
    assert server("calls('nvmlEventSetFree')") == 1
    driver.xid(driver.gpus[0], 13)  # nobody hears it

    assert server("nvidia.errors()") == {}
    assert server("calls('nvmlEventSetCreate')") == 2
