"""Xid errors reach the hub: those that need a reset put a GPU out of service, others do not."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from simgpu import SimulatedLibrary
from simgpu.program import Program


@pytest.fixture
def driver() -> Iterator[SimulatedLibrary]:
    with SimulatedLibrary("2xH100") as driver:
        yield driver


@pytest.fixture
def hub(driver: SimulatedLibrary) -> Iterator[Program]:
    """A hub that watches all GPUs."""
    begin = (
        "from gpubox.inventory.xid import XidWatch",
        "watch = XidWatch(retry_seconds=0.05)",
        "watch.start()",
    )
    with Program(driver.environment(), *begin) as hub:
        wait_until(hub, "len(watch.watched) == 2")
        yield hub


def wait_until(hub: Program, condition: str) -> None:
    """Returns when the condition holds in the hub; the test's own time limit ends a wait in vain."""
    while not hub(condition):
        time.sleep(0.01)


def test_an_xid_that_needs_a_reset_is_remembered_with_a_sentence(driver, hub):
    driver.xid(driver.gpus[1], 95)

    wait_until(hub, "watch.fatal()")

    assert hub("watch.fatal()") == {
        driver.gpus[1].uuid: "Xid 95, uncontained memory error: run `nvidia-smi --gpu-reset` when it is idle."
    }


def test_an_xid_of_an_application_is_not(driver, hub):
    for xid in (13, 31, 43, 45, 94, 154):
        driver.xid(driver.gpus[0], xid)
    driver.xid(driver.gpus[1], 79)  # comes after them

    wait_until(hub, "watch.fatal()")

    assert list(hub("watch.fatal()")) == [driver.gpus[1].uuid]


def test_the_first_error_is_the_one_that_is_told(driver, hub):
    driver.xid(driver.gpus[0], 119)
    driver.xid(driver.gpus[0], 79)
    driver.xid(driver.gpus[1], 79)

    wait_until(hub, "len(watch.fatal()) == 2")

    assert hub("watch.fatal()")[driver.gpus[0].uuid].startswith("Xid 119,")


def test_a_cleared_gpu_is_in_order_until_its_next_error(driver, hub):
    driver.xid(driver.gpus[0], 48)
    wait_until(hub, "watch.fatal()")

    hub(f"watch.clear({driver.gpus[0].uuid!r})")
    assert hub("watch.fatal()") == {}

    driver.xid(driver.gpus[0], 62)
    wait_until(hub, "watch.fatal()")


def test_the_watch_goes_on_for_the_other_gpus_when_one_is_lost(driver, hub):
    driver.gpus[0].lose()
    wait_until(hub, f"watch.watched == {{{driver.gpus[1].uuid!r}}}")

    driver.xid(driver.gpus[1], 140)

    wait_until(hub, f"{driver.gpus[1].uuid!r} in watch.fatal()")


def test_the_watch_begins_when_the_driver_comes(driver):
    driver.unload()
    begin = (
        "from gpubox.inventory.xid import XidWatch",
        "watch = XidWatch(retry_seconds=0.05)",
        "watch.start()",
    )
    with Program(driver.environment(), *begin) as hub:
        assert hub("len(watch.watched)") == 0
        driver.recover()
        wait_until(hub, "len(watch.watched) == 2")


def test_a_stopped_watch_has_closed_nvml_and_keeps_what_it_heard(driver, hub):
    driver.xid(driver.gpus[0], 79)
    wait_until(hub, "watch.fatal()")

    hub("watch.stop()")

    assert list(hub("watch.fatal()")) == [driver.gpus[0].uuid]
    assert hub("len(watch.watched)") == 0
    with pytest.raises(Exception, match="Uninitialized"):
        hub("__import__('pynvml').nvmlDeviceGetCount()")
