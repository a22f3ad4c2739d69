"""What the hub finds on a machine with NVIDIA GPUs, in order and out of order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gpubox.inventory import GPU, Inventory
from gpubox.inventory.nvidia import with_problems
from simgpu import SimulatedLibrary
from simgpu.program import Program

BEGIN = ("from dataclasses import asdict", "from gpubox.inventory import nvidia")


def look(driver: SimulatedLibrary | None) -> Inventory:
    """The inventory that a hub finds with this driver, or with none at all."""
    with Program(driver.environment() if driver else {}, *BEGIN) as hub:
        return ask(hub)


def ask(hub: Program) -> Inventory:
    found: dict[str, Any] = hub("asdict(nvidia.discover())")
    cuda = found["cuda_version"]
    gpus = tuple(GPU(**gpu) for gpu in found["gpus"])
    known = {"gpus": gpus, "cuda_version": tuple(cuda) if cuda else None, "silent": tuple(found["silent"])}
    return Inventory(**{**found, **known})


@pytest.fixture
def two_h100() -> Iterator[SimulatedLibrary]:
    with SimulatedLibrary("2xH100") as driver:
        yield driver


def test_cards_are_found_with_model_memory_and_versions(two_h100):
    two_h100.set(cuda_version=12040, version="550.54.15")

    found = look(two_h100)

    assert [(gpu.uuid, gpu.model, gpu.memory_mib, gpu.index) for gpu in found.gpus] == [
        (two_h100.gpus[0].uuid, "NVIDIA H100 80GB HBM3", 81559, 0),
        (two_h100.gpus[1].uuid, "NVIDIA H100 80GB HBM3", 81559, 1),
    ]
    assert not any(gpu.problem or gpu.mig_profile or gpu.parent for gpu in found.gpus)
    assert (found.driver_version, found.cuda_version) == ("550.54.15", (12, 4))
    assert (found.problem, found.answered) == ("", True)


def test_unified_memory_is_no_figure_at_all():
    with SimulatedLibrary("1xGB10") as driver:
        (gpu,) = look(driver).gpus

    assert (gpu.model, gpu.memory_mib, gpu.problem) == ("NVIDIA GB10", None, "")


def test_slices_stand_for_a_card_with_mig_on():
    with SimulatedLibrary("1xT4+1xA100:mig=2x1g.10gb,mig=1x4g.40gb") as driver:
        t4, *slices = look(driver).gpus
        card = driver.gpus[1]

    assert t4.uuid == driver.gpus[0].uuid
    assert [(one.uuid, one.mig_profile, one.memory_mib) for one in slices] == [
        (card.slices[0].uuid, "1g.10gb", 9728),
        (card.slices[1].uuid, "1g.10gb", 9728),
        (card.slices[2].uuid, "4g.40gb", 38912),
    ]
    assert {(one.parent, one.model) for one in slices} == {(card.uuid, "NVIDIA A100-SXM4-80GB")}


def test_a_slice_without_a_profile_in_its_name_is_known_by_its_share():
    with SimulatedLibrary("1xA100:mig=1x3g.40gb") as driver:
        driver.gpus[0].slices[0].set(name="NVIDIA A100-SXM4-80GB", memory_mib=40192)
        (one,) = look(driver).gpus

    assert one.mig_profile == "3g.39gb"


def test_a_card_with_mig_on_and_no_slice_offers_nothing():
    with SimulatedLibrary("1xA100:mig=+1xT4") as driver:
        assert [gpu.uuid for gpu in look(driver).gpus] == [driver.gpus[1].uuid]


def test_nvlink_is_nearer_than_a_switch_and_a_switch_than_another_socket():
    with SimulatedLibrary("2xRTX 3090+1xT4+1xT4+2xT4") as driver:
        links = look(driver).gpus[0].links
    bridged, t4, _, beyond, _ = (gpu.uuid for gpu in driver.gpus[1:])

    assert links[bridged] > links[t4] > links[beyond] > 0
    with SimulatedLibrary("2xT4") as plain:
        switched = look(plain).gpus[0].links[plain.gpus[1].uuid]
    assert links[bridged] > switched > links[t4]


def test_more_nvlinks_are_nearer():
    with SimulatedLibrary("2xA100+2xRTX 3090") as driver:
        a100, _, rtx, _ = look(driver).gpus

    assert a100.links[driver.gpus[1].uuid] > rtx.links[driver.gpus[3].uuid]


def test_gpus_at_one_nvswitch_are_all_as_near():
    with SimulatedLibrary("8xH100") as driver:
        gpus = look(driver).gpus
    with SimulatedLibrary("8xH100:nvlink=none") as plain:
        unlinked = look(plain).gpus

    nearness = {near for gpu in gpus for near in gpu.links.values()}
    assert len(nearness) == 1
    assert nearness.pop() > max(near for gpu in unlinked for near in gpu.links.values())
    assert all(len(gpu.links) == 7 for gpu in gpus)


def test_a_lost_gpu_that_is_still_known_has_a_problem_and_its_neighbour_none(two_h100):
    two_h100.gpus[0].lose(known=True)

    lost, well = look(two_h100).gpus

    assert lost.uuid == two_h100.gpus[0].uuid
    assert lost.problem == "The GPU has fallen off the bus: restart this machine."
    assert well.problem == ""


def test_a_gpu_that_says_nothing_is_absent_and_comes_back(two_h100):
    with Program(two_h100.environment(), *BEGIN) as hub:
        two_h100.gpus[0].lose()
        found = ask(hub)
        assert [gpu.uuid for gpu in found.gpus] == [two_h100.gpus[1].uuid]
        assert found.silent == ("GPU 0 of the driver's list does not answer (GPU is lost): it is left out.",)
        two_h100.gpus[0].recover()
        assert [gpu.uuid for gpu in ask(hub).gpus] == [gpu.uuid for gpu in two_h100.gpus]


@pytest.mark.parametrize(
    "call",
    [
        "nvmlDeviceGetName",
        "nvmlDeviceGetMemoryInfo",
        "nvmlDeviceGetComputeMode",
        "nvmlDeviceGetMigMode",
        "nvmlDeviceGetNvLinkState",
    ],
)
def test_a_gpu_lost_in_the_middle_of_a_look_has_a_problem(two_h100, call):
    two_h100.gpus[0].fail(call, "GPU_IS_LOST")

    lost, well = look(two_h100).gpus

    assert "fallen off the bus" in lost.problem
    assert well.problem == ""


def test_a_pair_of_which_one_is_lost_blames_neither(two_h100):
    two_h100.gpus[0].fail("nvmlDeviceGetP2PStatus", "GPU_IS_LOST")

    assert [gpu.problem for gpu in look(two_h100).gpus] == ["", ""]


def test_slices_of_a_lost_card_have_its_problem():
    with SimulatedLibrary("1xA100:mig=2x1g.10gb") as driver:
        driver.gpus[0].fail("nvmlDeviceGetComputeMode", "GPU_IS_LOST")
        problems = [gpu.problem for gpu in look(driver).gpus]

    assert len(problems) == 2
    assert all("fallen off the bus" in problem for problem in problems)


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"remapping_failed": 1}, "could not be replaced"),
        ({"compute_mode": 2}, "nvidia-smi -c 0"),
        ({"field.230": 1}, "asks for a reset"),
        ({"field.230": 2}, "restart of this machine"),
        ({"field.230": 4}, "drain this GPU"),
        ({"field.230": 99}, "recovery action 99"),
    ],
)
def test_a_gpu_that_is_not_fit_for_work_has_a_problem_that_says_what_to_do(two_h100, figures, words):
    two_h100.gpus[1].set(**figures)

    well, unfit = look(two_h100).gpus

    assert words in unfit.problem
    assert well.problem == ""


def test_errors_that_were_corrected_are_no_problem(two_h100):
    two_h100.gpus[0].set(ecc_corrected_volatile=7, remapped_rows_corrected=2, remapping_pending=1)

    assert [gpu.problem for gpu in look(two_h100).gpus] == ["", ""]


def test_before_ampere_pages_that_wait_after_an_uncorrectable_error_are_a_problem():
    with SimulatedLibrary("1xT4") as driver, Program(driver.environment(), *BEGIN) as hub:
        driver.gpus[0].set(retired_pages_pending=1)
        assert ask(hub).gpus[0].problem == ""
        driver.gpus[0].set(ecc_uncorrected_volatile=1)
        assert "wait to be retired" in ask(hub).gpus[0].problem
        driver.gpus[0].set(retired_pages_pending=0)
        assert ask(hub).gpus[0].problem == ""


def test_a_driver_that_knows_few_functions_still_gives_an_inventory(two_h100):
    for call in ("GetFieldValues", "GetRemappedRows", "GetMigMode", "GetP2PStatus", "GetNvLinkState"):
        two_h100.fail(f"nvmlDevice{call}", "FUNCTION_NOT_FOUND")

    gpus = look(two_h100).gpus

    assert [gpu.problem for gpu in gpus] == ["", ""]
    assert gpus[0].links[gpus[1].uuid] > 0


def test_without_a_driver_there_are_no_gpus_and_no_problem():
    assert look(None) == Inventory(gpus=(), problem="", answered=True)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("DRIVER_NOT_LOADED", "modprobe nvidia"),
        ("LIB_RM_VERSION_MISMATCH", "was updated while the old one runs"),
        ("NO_PERMISSION", "/dev/nvidiactl"),
        ("UNKNOWN", "nvidia-smi"),
    ],
)
def test_a_driver_that_fails_says_what_to_do_and_did_not_answer(two_h100, error, words):
    with Program(two_h100.environment(), *BEGIN) as hub:
        two_h100.fail("nvmlInit", error)
        found = ask(hub)
        two_h100.recover()
        recovered = ask(hub)

    assert words in found.problem
    assert (found.gpus, found.answered) == ((), False)
    assert (recovered.problem, recovered.answered, len(recovered.gpus)) == ("", True, 2)


def test_a_driver_that_fails_later_did_not_answer_either(two_h100):
    two_h100.fail("nvmlDeviceGetCount", "UNKNOWN")

    found = look(two_h100)

    assert found.problem
    assert not found.answered


def test_nvml_is_closed_again_after_a_look(two_h100):
    count = "nvidia.pynvml.nvmlDeviceGetCount()"
    with Program(two_h100.environment(), *BEGIN) as hub:
        for trouble in (None, "GPU_IS_LOST", "UNKNOWN"):
            if trouble:
                two_h100.fail("nvmlDeviceGetCount", trouble)
            ask(hub)
            two_h100.recover()
            with pytest.raises(Exception, match="Uninitialized"):
                hub(count)


def test_a_hung_driver_holds_its_own_thread_alone(two_h100):
    two_h100.gpus[0].hang("nvmlDeviceGetName", seconds=3600)
    with Program(two_h100.environment(), *BEGIN, "import threading") as hub:
        hub("(look := threading.Thread(target=nvidia.discover, daemon=True)).start()")
        assert hub("1 + 1") == 2
        assert hub("look.is_alive()") is True


def test_a_card_with_a_fatal_error_and_its_slices_get_the_problem():
    card = GPU(uuid="GPU-1", model="T4")
    slices = [GPU(uuid=f"MIG-{n}", model="A100", mig_profile="1g.10gb", parent="GPU-2") for n in (1, 2)]
    other = GPU(uuid="GPU-3", model="T4", problem="It is lost.")

    marked = with_problems(Inventory(gpus=(card, *slices, other)), {"GPU-2": "Xid 95.", "GPU-3": "Xid 79."})

    assert [gpu.problem for gpu in marked.gpus] == ["", "Xid 95.", "Xid 95.", "It is lost."]
