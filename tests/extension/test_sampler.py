"""The panel's sampler on a simulated driver: figures stay fresh, whatever befalls a GPU or a driver."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import pytest

from simgpu import SimulatedGPU, SimulatedLibrary
from simgpu.program import Program

BEGIN = """
import logging, threading
from dataclasses import asdict
from jupyterlab_gpubox.sampler import Change, Intervals, Sampler
from jupyterlab_gpubox.vendors.nvidia import NVIDIA
from simgpu.library import calls

lines, told = [], []
class Kept(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())
logging.getLogger("jupyterlab_gpubox").addHandler(Kept())
logging.getLogger("jupyterlab_gpubox").setLevel(logging.INFO)

def gpu(id):
    return next(asdict(gpu) for gpu in sampler.snapshot().gpus if gpu.id == id)

def threads():
    return sorted(one.name for one in threading.enumerate() if one.name.startswith("gpubox"))
"""
FAST = {
    "core_seconds": 0.02,
    "process_seconds": 0.04,
    "health_seconds": 0.1,
    "idle_seconds": 0.1,
    "close_after_seconds": 3600.0,
    "retry_seconds": 0.05,
    "patience_seconds": 1.0,  # a thread may get no processor for a while where all tests run at once
}
HOUR = 3600


class Server:
    """A Jupyter server's process with a sampler."""

    def __init__(self, driver: SimulatedLibrary | None, **intervals: float) -> None:
        self._program = Program(driver.environment() if driver else {}, BEGIN)
        self(f"sampler = Sampler(Intervals(**{FAST | intervals}), [NVIDIA()])")
        self("sampler.subscribe(lambda snapshot, change: told.append((snapshot, change)))")

    def __call__(self, code: str) -> Any:
        return self._program(code)

    def watch(self) -> None:
        """Somebody watches from now on, and the first figures are there."""
        self("watch = sampler.watch()")
        self("sampler.ask(60)")

    def gpu(self, gpu: SimulatedGPU) -> dict[str, Any]:
        found: dict[str, Any] = self(f"gpu({gpu.uuid!r})")
        return found

    def figure(self, gpu: SimulatedGPU, name: str) -> Any:
        return self.gpu(gpu)["figures"][name]

    def driver(self) -> dict[str, Any]:
        found: dict[str, Any] = self("asdict(sampler.snapshot().drivers[0])")
        return found

    def wait(self, condition: str) -> None:
        """Returns when the condition holds in the server; the test's own time limit ends a wait in vain."""
        wait(lambda: self(condition))

    def ticks(self, number: int = 3) -> None:
        """Waits for so many ticks that begin from now on."""
        self(f"until = sum(1 for _, change in told if Change.TICK in change) + {number} + 1")
        self.wait("sum(1 for _, change in told if Change.TICK in change) >= until")

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._program.__exit__(kind, error, trace)


def wait(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(0.01)


@pytest.fixture
def driver() -> Iterator[SimulatedLibrary]:
    with SimulatedLibrary("2xH100") as driver:
        yield driver


@pytest.fixture
def server(driver: SimulatedLibrary) -> Iterator[Server]:
    """A server with two H100, which somebody watches."""
    with Server(driver) as server:
        server.watch()
        yield server


@pytest.fixture
def eight() -> Iterator[SimulatedLibrary]:
    with SimulatedLibrary("8xH100") as driver:
        yield driver


# --- figures ---------------------------------------------------------------------------------------


def test_nothing_is_read_before_somebody_asks(driver):
    with Server(driver) as server:
        assert server.driver()["state"] == "asleep"
        assert server("threads()") == []
        assert server("calls()") == 0


def test_the_first_question_is_answered_with_figures(driver):
    driver.gpus[1].set(utilisation=12)
    with Server(driver) as server:
        snapshot = server("asdict(sampler.ask(60))")

    assert [gpu["id"] for gpu in snapshot["gpus"]] == [gpu.uuid for gpu in driver.gpus]
    assert snapshot["gpus"][1]["figures"]["utilisation_percent"] == 12
    assert {"throttle_reasons", "ecc_corrected", "xid"} <= snapshot["gpus"][0]["figures"].keys()
    assert snapshot["drivers"][0]["state"] == "ok"
    assert not snapshot["gpus"][0]["stale"]


def test_a_watcher_sees_every_change(driver, server):
    for load in (10, 20, 30):
        driver.gpus[0].set(utilisation=load)
        wait(lambda load=load: server.figure(driver.gpus[0], "utilisation_percent") == load)


def test_a_change_says_what_it_is_of(driver, server):
    server.ticks()
    server("told.clear()")
    driver.gpus[0].set(utilisation=50)
    server.ticks()
    assert set(server("[change.value for _, change in told]")) == {1}

    driver.gpus[0].set(event_reasons=4)
    server.wait("any(Change.GPUS in change for _, change in told)")
    driver.gpus[0].add_process(os.getpid(), memory_mib=10)
    server.wait("any(Change.PROCESSES in change for _, change in told)")

    assert server("[use.memory_mib for use in sampler.snapshot().uses]") == [10]
    assert server("sum(Change.GPUS in change for _, change in told)") == 1
    assert server("sum(Change.PROCESSES in change for _, change in told)") == 1


def test_a_callback_that_fails_stops_nobody(driver, server):
    server("def fail(snapshot, change): raise RuntimeError('no')")
    server("unsubscribe, others = sampler.subscribe(fail), []")
    server("sampler.subscribe(lambda *_: others.append(1))")
    server.wait("len(others) > 2")
    server("unsubscribe()")
    server.wait("any('could not be' in line for line in lines)")
    server.ticks()
    server("lines.clear()")
    server.ticks()

    assert server("lines") == []


def test_link_counters_are_read_only_while_asked_for(driver, server):
    driver.gpus[0].set(pcie_tx_kib=77)
    server.ticks()
    assert "pcie_tx_kib_per_second" not in server.gpu(driver.gpus[0])["figures"]
    assert server("calls('nvmlDeviceGetPcieThroughput')") == 0

    server("watch.links = True")
    wait(lambda: server.gpu(driver.gpus[0])["figures"].get("pcie_tx_kib_per_second") == 77)
    server("watch.links = False")
    wait(lambda: "pcie_tx_kib_per_second" not in server.gpu(driver.gpus[0])["figures"])

    server("before = calls('nvmlDeviceGetPcieThroughput')")
    server.ticks()
    assert server("calls('nvmlDeviceGetPcieThroughput') - before") == 0


def test_slow_link_counters_hold_up_nothing(driver, server):
    driver.cost("nvmlDeviceGetPcieThroughput", HOUR * 10**6)
    server("watch.links = True")
    server.wait("calls('nvmlDeviceGetPcieThroughput') > 0")

    driver.gpus[1].set(utilisation=66)

    wait(lambda: server.figure(driver.gpus[1], "utilisation_percent") == 66)


def test_the_last_xid_is_told_until_the_next(driver, server):
    assert server.figure(driver.gpus[0], "xid") is None
    for xid in (31, 79):
        driver.xid(driver.gpus[0], xid)
        wait(lambda xid=xid: server.figure(driver.gpus[0], "xid") == xid)

    server.ticks()
    assert server.figure(driver.gpus[0], "xid") == 79
    assert server.figure(driver.gpus[1], "xid") is None


def test_the_history_has_what_was_seen(driver, server):
    driver.gpus[0].set(utilisation=91)
    wait(lambda: server.figure(driver.gpus[0], "utilisation_percent") == 91)

    fine, coarse = server("[sampler.history.rows(name) for name in ('fine', 'coarse')]")

    assert fine["gpus"][driver.gpus[0].uuid]["utilisation_percent"][-1] == 91
    assert fine["times"] == sorted(fine["times"])
    assert coarse["peaks"][driver.gpus[0].uuid]["utilisation_percent"][-1] == 91


# --- GPUs in trouble -------------------------------------------------------------------------------


def test_one_lost_gpu_among_eight_leaves_seven_fresh_and_comes_back(eight):
    with Server(eight) as server:
        server.watch()
        server("lines.clear()")
        lost, *well = eight.gpus
        lost.set(utilisation=44)
        wait(lambda: server.figure(lost, "utilisation_percent") == 44)

        lost.lose()
        wait(lambda: server.gpu(lost)["state"] == "lost")
        for gpu in well:
            gpu.set(utilisation=33)
        wait(lambda: all(server.figure(gpu, "utilisation_percent") == 33 for gpu in well))

        seen = server.gpu(lost)
        assert "fallen off the bus" in seen["message"]
        assert seen["figures"]["utilisation_percent"] == 44
        assert seen["stale"]["utilisation_percent"] >= 0
        assert server("[gpu.id for gpu in sampler.snapshot().gpus]") == [gpu.uuid for gpu in eight.gpus]
        assert all(server.gpu(gpu)["state"] == "ok" and not server.gpu(gpu)["stale"] for gpu in well)

        lost.recover()
        wait(lambda: server.gpu(lost)["state"] == "ok")
        server.ticks()
        assert not server.gpu(lost)["stale"]
        (gone, back) = server("lines")
    assert lost.uuid in gone and "fallen off the bus" in gone
    assert lost.uuid in back and "answers again" in back


def test_a_gpu_that_is_lost_from_the_first_look_on_is_listed_and_known_when_it_comes_back(driver):
    driver.gpus[0].lose()
    with Server(driver) as server:
        server.watch()
        assert server("[gpu.state for gpu in sampler.snapshot().gpus]") == ["lost", "ok"]

        driver.gpus[0].recover()
        server.wait("[gpu.state for gpu in sampler.snapshot().gpus] == ['ok', 'ok']")

        assert server("sampler.snapshot().gpus[0].id") == driver.gpus[0].uuid


def test_a_gpu_that_is_lost_from_the_first_look_on_has_its_own_id_where_it_tells_it(driver):
    driver.gpus[0].lose(known=True)
    with Server(driver) as server:
        server.watch()
        assert server("[gpu.id for gpu in sampler.snapshot().gpus]") == [gpu.uuid for gpu in driver.gpus]
        assert server("sampler.snapshot().gpus[0].state") == "lost"

        driver.gpus[0].recover()
        server.wait("sampler.snapshot().gpus[0].state == 'ok'")

        assert server("sampler.snapshot().gpus[0].name") == driver.gpus[0].name


def test_a_gpu_that_is_listed_but_not_for_this_user_is_not_there(driver):
    driver.gpus[0].fail("nvmlDeviceGetHandleByIndex", "NO_PERMISSION")
    with Server(driver) as server:
        server.watch()

        assert server("[gpu.id for gpu in sampler.snapshot().gpus]") == [driver.gpus[1].uuid]


def test_a_lost_gpu_is_looked_for_with_the_driver_opened_anew(driver, server):
    server("before = calls('nvmlInit')")
    server.ticks(10)
    assert server("calls('nvmlInit') - before") == 0

    driver.gpus[0].lose(known=True)

    server.wait("calls('nvmlInit') - before > 0")


def test_a_lost_gpu_costs_few_calls(driver):
    with Server(driver, health_seconds=HOUR, retry_seconds=HOUR) as server:
        server.watch()
        server("watch.links = True")
        driver.gpus[0].lose()
        driver.gpus[1].lose()
        server.wait("[gpu.state for gpu in sampler.snapshot().gpus] == ['lost', 'lost']")
        server.ticks()
        of_gpus = "calls() - calls('nvmlEventSetWait')"
        server(f"before = {of_gpus}")
        server.ticks(10)

        assert server(f"{of_gpus} - before") == 0


def test_a_gpu_that_comes_back_has_all_its_figures_at_once(driver):
    driver.gpus[0].lose()
    with Server(driver, health_seconds=HOUR) as server:
        server.watch()
        driver.gpus[0].recover()
        server.wait("[gpu.state for gpu in sampler.snapshot().gpus] == ['ok', 'ok']")

        assert server.figure(driver.gpus[0], "throttle_reasons") == []


def test_the_driver_is_not_opened_anew_under_a_call_that_hangs(driver, server):
    driver.gpus[0].hang("nvmlDeviceGetPowerUsage", seconds=HOUR)
    wait(lambda: server.gpu(driver.gpus[0])["state"] == "stale")
    server("before = calls('nvmlInit') + calls('nvmlShutdown')")
    driver.gpus[1].lose(known=True)
    wait(lambda: server.gpu(driver.gpus[1])["state"] == "lost")
    server.ticks(20)

    assert server("calls('nvmlInit') + calls('nvmlShutdown') - before") == 0


def test_a_driver_that_hangs_when_it_is_opened_anew_is_not_asked_meanwhile(driver, server):
    server("lines.clear()")
    driver.hang("nvmlInit", seconds=HOUR)
    driver.gpus[0].lose(known=True)
    wait(lambda: "does not answer" in server.driver()["message"])
    server("before = calls()")
    server.ticks(20)

    assert server("calls() - before") == 0
    assert len(server("lines")) == 2


def test_a_figure_that_fails_grows_old_alone(driver, server):
    driver.gpus[0].set(temperature=61)
    wait(lambda: server.figure(driver.gpus[0], "temperature_celsius") == 61)
    driver.gpus[0].fail("nvmlDeviceGetTemperature", "UNKNOWN")
    wait(lambda: server.gpu(driver.gpus[0])["stale"].get("temperature_celsius", 0) > 0)
    driver.gpus[0].set(utilisation=5, temperature=70)
    wait(lambda: server.figure(driver.gpus[0], "utilisation_percent") == 5)

    seen = server.gpu(driver.gpus[0])
    assert (seen["state"], seen["figures"]["temperature_celsius"]) == ("ok", 61)
    assert list(seen["stale"]) == ["temperature_celsius"]

    driver.gpus[0].recover()
    wait(lambda: server.figure(driver.gpus[0], "temperature_celsius") == 70)


def test_a_hung_call_leaves_the_others_fresh_and_costs_one_thread(eight):
    with Server(eight) as server:
        server.watch()
        server("lines.clear()")
        hung, *well = eight.gpus
        hung.hang("nvmlDeviceGetPowerUsage", seconds=HOUR)
        wait(lambda: server.gpu(hung)["state"] == "stale")

        for load in (10, 20):
            for gpu in well:
                gpu.set(utilisation=load)
            wait(lambda load=load: all(server.figure(gpu, "utilisation_percent") == load for gpu in well))
        server.ticks(50)

        assert server("threads()") == ["gpubox-driver", "gpubox-driver", "gpubox-sampler"]
        assert all(server.gpu(gpu)["state"] == "ok" and not server.gpu(gpu)["stale"] for gpu in well)
        seen = server.gpu(hung)
        assert "has not come back" in seen["message"]
        assert seen["stale"].keys() >= {"power_watts", "utilisation_percent"}
        assert server("calls('nvmlDeviceGetPowerUsage')") > 0
        assert server("len(lines)") == 1


def test_a_gpu_joins_again_when_its_call_has_come_back(driver, server):
    driver.gpus[0].hang("*", seconds=2)
    wait(lambda: server.gpu(driver.gpus[0])["state"] == "stale")
    driver.gpus[0].recover()
    driver.gpus[0].set(utilisation=71)

    wait(lambda: server.gpu(driver.gpus[0])["state"] == "ok")
    wait(lambda: server.figure(driver.gpus[0], "utilisation_percent") == 71)
    server.wait("threads() == ['gpubox-driver', 'gpubox-sampler']")


def test_every_gpu_may_hang_with_one_thread_each(driver, server):
    for gpu in driver.gpus:
        gpu.hang("nvmlDeviceGetUtilizationRates", seconds=HOUR)
    wait(lambda: all(server.gpu(gpu)["state"] == "stale" for gpu in driver.gpus))
    server.ticks(30)

    assert server("len(threads())") <= 2 + 2


def test_a_gpu_that_hangs_from_the_first_look_on_hides_no_other(driver):
    driver.gpus[0].hang("nvmlDeviceGetName", seconds=HOUR)
    with Server(driver) as server:
        server.watch()

        assert server("[gpu.state for gpu in sampler.snapshot().gpus]") == ["stale", "ok"]
        assert server("sampler.snapshot().gpus[1].id") == driver.gpus[1].uuid


def test_a_hung_link_counter_makes_its_gpu_stale_and_no_other(driver, server):
    driver.gpus[0].hang("nvmlDeviceGetPcieThroughput", seconds=HOUR)
    driver.gpus[1].set(pcie_tx_kib=5)
    server("watch.links = True")
    wait(lambda: server.gpu(driver.gpus[0])["state"] == "stale")

    wait(lambda: server.gpu(driver.gpus[1])["figures"].get("pcie_tx_kib_per_second") == 5)
    driver.gpus[0].set(utilisation=77)  # not asked for: that might cost a second thread
    server.ticks()
    assert server.gpu(driver.gpus[1])["state"] == "ok"
    assert server.figure(driver.gpus[0], "utilisation_percent") == 0
    assert server("threads()") == ["gpubox-driver", "gpubox-links", "gpubox-links", "gpubox-sampler"]


# --- MIG -------------------------------------------------------------------------------------------


def test_mig_that_is_switched_on_and_cut_anew_is_noticed_while_others_go_on():
    with SimulatedLibrary("1xA100+1xH100") as driver, Server(driver) as server:
        server.watch()
        card, other = driver.gpus
        for cut in (("2x1g.10gb",), ("1x3g.40gb", "1x1g.10gb"), ("1x7g.80gb",)):
            card.partition(*cut)
            wanted = [*(one.uuid for one in card.slices), other.uuid]
            server.wait(f"[gpu.id for gpu in sampler.snapshot().gpus] == {wanted}")
            card.slices[0].set(memory_used_mib=777)
            server.wait(f"gpu({card.slices[0].uuid!r})['figures']['memory_used_mib'] == 777")

        assert server("[gpu.state for gpu in sampler.snapshot().gpus]") == ["ok", "ok"]
        assert server.gpu(other)["figures"]["power_watts"] == 70
        assert not any("lost" in line for line in server("lines"))


def test_slices_of_a_lost_card_are_lost():
    with SimulatedLibrary("1xA100:mig=2x1g.10gb") as driver, Server(driver) as server:
        server.watch()
        driver.gpus[0].lose(known=True)

        server.wait("[gpu.state for gpu in sampler.snapshot().gpus] == ['lost', 'lost']")


# --- drivers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("trouble", "words"), [("mismatch", "was updated"), ("unload", "modprobe nvidia")])
def test_a_driver_in_trouble_says_so_once_and_is_found_when_it_is_back(driver, trouble, words):
    getattr(driver, trouble)()
    with Server(driver) as server:
        server.watch()
        state = server.driver()
        assert (state["state"], words in state["message"]) == ("trouble", True)
        server("before = calls('nvmlInit')")
        server.wait("calls('nvmlInit') - before > 3")
        assert server("len(lines)") == 1

        driver.recover()
        server.wait("[gpu.state for gpu in sampler.snapshot().gpus] == ['ok', 'ok']")

        assert server.driver() | {"version": ""} == {
            "vendor": "nvidia",
            "state": "ok",
            "version": "",
            "cuda": "13.0",
            "message": "",
        }
        assert server("len(lines)") == 2


def test_a_driver_that_goes_away_while_it_is_read_keeps_its_gpus_in_the_list(driver, server):
    server("lines.clear()")
    driver.fail("*", "DRIVER_NOT_LOADED")
    driver.unload()
    wait(lambda: server.driver()["state"] == "trouble")
    server.ticks()

    assert server("[gpu.state for gpu in sampler.snapshot().gpus]") == ["stale", "stale"]
    driver.recover()
    server.wait("[gpu.state for gpu in sampler.snapshot().gpus] == ['ok', 'ok']")
    server.ticks()
    assert len(server("lines")) == 2


def test_a_driver_that_hangs_when_it_is_opened_is_in_trouble_until_it_answers(driver):
    driver.hang("nvmlInit", seconds=3)
    with Server(driver) as server:
        server.watch()
        state = server.driver()
        assert (state["state"], "does not answer" in state["message"]) == ("trouble", True)
        driver.recover()

        server.wait("[gpu.state for gpu in sampler.snapshot().gpus] == ['ok', 'ok']")
        assert server.driver()["state"] == "ok"


def test_a_library_that_is_installed_later_is_found(driver, tmp_path):
    environment = driver.environment()
    library, _, _ = environment["LD_LIBRARY_PATH"].partition(":")
    with Server(None) as server:
        server.watch()
        assert server.driver() == {
            "vendor": "nvidia",
            "state": "none",
            "version": None,
            "cuda": None,
            "message": "",
        }
        assert server("lines") == []
        # The loader's search path is fixed when a program starts: a library that is loaded by now is found.
        server(f"import ctypes, os; os.environ['SIMGPU_STATE'] = {environment['SIMGPU_STATE']!r}")
        server(f"ctypes.CDLL('{library}/libnvidia-ml.so.1')")

        server.wait("[gpu.state for gpu in sampler.snapshot().gpus] == ['ok', 'ok']")
        assert len(server("lines")) == 1


def test_gpus_that_appear_later_are_found():
    with SimulatedLibrary("") as driver, Server(driver) as server:
        server.watch()
        assert server.driver()["state"] == "none"
        with SimulatedLibrary("3xT4") as more:
            driver.gpus = more.gpus
            driver.set(host_pids=0)

            server.wait("[gpu.state for gpu in sampler.snapshot().gpus] == ['ok'] * 3")
            assert server.driver()["state"] == "ok"


@pytest.mark.parametrize("place", [2, 7])
def test_a_gpu_that_the_driver_no_longer_lists_stays_as_lost_and_the_rest_move_up(eight, place):
    with Server(eight) as server:
        server.watch()
        every = eight.gpus
        eight.gpus = every[:place] + every[place + 1 :]
        eight.set(host_pids=0)
        wait(lambda: "no longer lists" in server.gpu(every[place])["message"])
        server.wait("sum(gpu.state == 'ok' for gpu in sampler.snapshot().gpus) == 7")
        server.ticks(20)  # among them some of health

        assert server.gpu(every[place])["state"] == "lost"
        assert sorted(server("[gpu.id for gpu in sampler.snapshot().gpus]")) == sorted(g.uuid for g in every)

        eight.gpus = every
        eight.set(host_pids=0)
        server.wait("[gpu.state for gpu in sampler.snapshot().gpus] == ['ok'] * 8")
        assert server("[gpu.id for gpu in sampler.snapshot().gpus]") == [gpu.uuid for gpu in every]
        server("before = calls('nvmlInit')")
        server.ticks(20)
        assert server("calls('nvmlInit') - before") == 0  # nothing is missing


# --- who watches -----------------------------------------------------------------------------------


def test_when_nobody_watches_the_driver_is_closed_and_the_next_watcher_wakes_it(driver):
    with Server(driver, close_after_seconds=0.3, health_seconds=HOUR) as server:
        server.watch()
        server("watch.close()")
        server.wait("sampler.snapshot().drivers[0].state == 'asleep'")
        assert server("calls('nvmlShutdown')") == 1
        with pytest.raises(Exception, match="Uninitialized"):
            server("__import__('pynvml').nvmlDeviceGetCount()")
        assert server("told[-1][1] == Change.GPUS")

        driver.gpus[0].set(utilisation=15, event_reasons=4)
        server.watch()

        assert server.figure(driver.gpus[0], "utilisation_percent") == 15
        assert server.figure(driver.gpus[0], "throttle_reasons") == ["power cap"]
        assert server.driver()["state"] == "ok"
        assert server("calls('nvmlInit')") == 2
        assert server("len(lines)") == 1


def test_a_question_wakes_it_too_and_snapshot_does_not(driver):
    with Server(driver, close_after_seconds=0.3) as server:
        server("sampler.ask(60)")
        server.wait("sampler.snapshot().drivers[0].state == 'asleep'")
        server("before = calls()")
        server("[sampler.snapshot() for _ in range(100)]")
        assert server("calls() - before") == 0

        assert server("sampler.ask(60).drivers[0].state") == "ok"


def test_without_a_watcher_the_tick_is_slow_until_the_next_one(driver):
    with Server(driver, idle_seconds=HOUR) as server:
        server("watch = sampler.watch()")
        server.wait("told")
        server("watch.close()")
        server.wait("sampler._schedule.wait_seconds(__import__('time').monotonic()) > 60")
        driver.gpus[0].set(utilisation=23)

        server("watch = sampler.watch()")

        wait(lambda: server.figure(driver.gpus[0], "utilisation_percent") == 23)
        server.ticks(10)


def test_xids_are_listened_for_only_while_somebody_watches(driver):
    with Server(driver, idle_seconds=0.05) as server:
        server.watch()
        server.wait("calls('nvmlEventSetWait') > 0")
        server("watch.close()")
        server.wait("calls('nvmlEventSetFree') > 0")
        server("listened = calls('nvmlEventSetWait')")
        server.ticks(5)
        assert server("calls('nvmlEventSetWait') - listened") == 0

        server.watch()

        server.wait("calls('nvmlEventSetWait') - listened > 0")


def test_twenty_watchers_cost_what_one_does(driver):
    counted = []
    for watchers in (1, 20):
        with Server(driver, core_seconds=HOUR, idle_seconds=2 * HOUR) as server:
            server(f"watches = [sampler.watch() for _ in range({watchers})]")
            server("[sampler.ask(60) for _ in watches]")
            counted.append(server("calls()"))
            assert server("threads()") == ["gpubox-driver", "gpubox-sampler"]

    assert counted[0] == counted[1] > 0


def test_eight_gpus_take_fewer_than_60_calls_a_second(eight):
    """A minute of ticks as they fall due: 60 of core figures, 12 of processes, 2 of health."""
    with Server(eight, core_seconds=HOUR, idle_seconds=2 * HOUR) as server:
        server("from jupyterlab_gpubox.survey import Survey; from jupyterlab_gpubox.vendors import Tier")
        server("survey = Survey([NVIDIA()], 60, 60)")
        server("look = lambda tiers: survey.look(tiers, is_watched=True, links=False)")
        server("look(Tier.CORE | Tier.PROCESSES | Tier.HEALTH)")
        counts = {}
        for number, tiers in ((58, "CORE"), (10, "CORE | PROCESSES"), (2, "CORE | PROCESSES | HEALTH")):
            server("before = calls()")
            named = " | ".join(f"Tier.{one}" for one in tiers.split(" | "))
            server(f"[look({named}) for _ in range({number})]")
            counts[tiers] = server("calls() - before")

    core, with_processes, with_health = counts.values()
    minute = core * 48 / 58 + with_processes + with_health
    assert core / 58 == 8 * 5 + 1
    assert minute / 60 < 50


def test_a_stopped_sampler_has_ended_its_threads_and_closed_the_driver(driver, server):
    server("watch.links = True")
    server.ticks()
    server("sampler.stop()")

    assert server("threads()") == []
    with pytest.raises(Exception, match="Uninitialized"):
        server("__import__('pynvml').nvmlDeviceGetCount()")
    server("sampler.watch()")
    assert server("threads()") == []


def test_a_sampler_can_be_stopped_while_a_call_hangs(driver, server):
    driver.gpus[0].hang("*", seconds=HOUR)
    server.wait("calls() > 0")
    wait(lambda: server.gpu(driver.gpus[0])["state"] == "stale")

    server("sampler.stop()")

    server.wait("threads() == ['gpubox-driver']")  # the one in the call


def test_a_sampler_can_be_stopped_while_it_waits_for_a_call(driver):
    with Server(driver, patience_seconds=HOUR) as server:
        server.watch()
        driver.gpus[0].hang("nvmlDeviceGetPowerUsage", seconds=HOUR)
        server("before = len(told)")
        server("hung = calls('nvmlDeviceGetPowerUsage')")
        server.wait("calls('nvmlDeviceGetPowerUsage') > hung")

        server("sampler.stop()")

        assert server("threads()") == ["gpubox-driver"]
