"""What the GPUs do, as the service sees it: figures for the pages, use for the books, work for the culler."""

import asyncio
import time

import pytest
import sqlalchemy as sa

from gpubox import db as tables
from gpubox.db import open_database
from gpubox.service.activities import Activities
from gpubox.service.live import EMPTY, Live
from gpubox.service.sampling import Sampling, figures
from gpubox.service.store import Store
from jupyterlab_gpubox.records import GPU, Snapshot
from jupyterlab_gpubox.sampler import Sampler
from service.box_stand_in import BoxStandIn, kill_service


def gpu(uuid, percent, *, vendor="nvidia", state="ok", stale=(), **more):
    told = {"utilisation_percent": percent, "memory_used_mib": 1010, "temperature_celsius": 54.6}
    return GPU(
        id=uuid,
        index=0,
        vendor=vendor,
        name="H100",
        state=state,
        figures={**told, **more},
        stale=dict.fromkeys(stale, 9.0),
    )


def snapshot(*gpus):
    return Snapshot(time.time(), (), gpus)


# --- figures -------------------------------------------------------------------------------------------


def test_figures_are_told_without_their_noise():
    told = figures(snapshot(gpu("GPU-0", 96.7, power_watts=301.2)))
    assert told == {
        "GPU-0": {
            "utilisation_percent": 97.0,
            "memory_used_mib": 1024.0,
            "temperature_c": 55.0,
            "power_watts": 300.0,
        }
    }
    assert figures(snapshot(gpu("GPU-0", 97.2, power_watts=298.8))) == told


def test_what_is_not_told_or_old_is_none_and_never_zero():
    told = figures(snapshot(gpu("GPU-0", None), gpu("GPU-1", 50, stale=["utilisation_percent"])))
    assert [row["utilisation_percent"] for row in told.values()] == [None, None]
    assert told["GPU-0"]["power_watts"] is None
    lost = figures(snapshot(gpu("GPU-0", 50, state="lost")))
    assert set(lost["GPU-0"].values()) == {None}


def test_amds_cards_are_told_as_well():
    assert figures(snapshot(gpu("0x1234", 40, vendor="amd")))["0x1234"]["utilisation_percent"] == 40.0


# --- what is made of readings ----------------------------------------------------------------------------


class Lab:
    """Sampling with no driver: the test gives the readings."""

    def __init__(self, store):
        self.live = Live(None)
        self.live.hub_answers = True
        self.store = store
        self.activities = Activities(store, self.live)
        self.sampling = Sampling(
            self.live,
            self.activities,
            store,
            sample_seconds=5.0,
            busy_percent=5.0,
            sampler=Sampler(vendors=[]),
        )
        self.at = 100.0

    def held(self, **gpus):
        """Who holds which GPUs: lease numbers by GPU."""
        leases = {number: [] for numbers in gpus.values() for number in numbers}
        for uuid, numbers in gpus.items():
            for number in numbers:
                leases[number].append(uuid)
        self.live._take(
            {
                **EMPTY,
                "gpus": [
                    {"uuid": uuid, "holders": [{"lease": number} for number in numbers]}
                    for uuid, numbers in gpus.items()
                ],
                "leases": [
                    {"id": number, "gpus": uuids, "is_ready": True} for number, uuids in leases.items()
                ],
            }
        )

    def see(self, times=1, **percents):
        for _ in range(times):
            self.at += 5.0
            shot = snapshot(*(gpu(uuid, percent) for uuid, percent in percents.items()))
            self.sampling._take(shot, self.at)

    def idle_seconds(self, lease):
        return self.sampling.clocks.idle_seconds(lease, self.at)


@pytest.fixture
async def lab(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    store = Store(engine)
    lab = Lab(store)
    lab.database = engine
    yield lab
    await store.close()
    engine.dispose()


async def test_a_lease_is_idle_for_as_long_as_all_of_its_gpus_are(lab):
    lab.held(A=[1], B=[1])
    lab.see(3, A=0, B=90)
    assert lab.idle_seconds(1) == 0
    lab.see(3, A=0, B=0)
    assert lab.idle_seconds(1) == 15


async def test_work_on_a_gpu_that_one_holds_alone_is_life(lab):
    lab.held(A=[1], B=[2, 3])
    lab.see(A=90, B=90)
    assert lab.activities.of(1).gpu_at == pytest.approx(time.time(), abs=60)
    assert lab.activities.of(2) is None and lab.activities.of(3) is None


async def test_a_boxs_report_of_work_is_not_taken_for_new_work(lab):
    lab.held(A=[1, 2])
    worked_at = time.time() - 60
    lab.activities.report(1, {"gpu_at": worked_at}, time.time())
    lab.see(3, A=90)
    assert lab.activities.of(1).gpu_at == worked_at


async def test_while_the_hub_does_not_answer_nothing_is_measured(lab):
    lab.held(A=[1])
    lab.live.hub_answers = False
    lab.see(5, A=0)
    assert lab.idle_seconds(1) is None
    assert not lab.sampling._meter.unwritten()


async def test_what_is_left_is_written_when_the_service_ends(lab):
    lab.held(A=[1])
    running = asyncio.create_task(lab.sampling.run())
    await asyncio.sleep(0)
    lab.see(3, A=50)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    with lab.database.connect() as connection:
        rows = connection.execute(tables.gpu_use.select()).all()
    assert sum(row.measured_seconds for row in rows) == pytest.approx(10)


async def test_what_cannot_be_written_now_is_written_later(lab):
    lab.held(A=[1])
    lab.see(3, A=50)
    with lab.database.begin() as connection:
        connection.execute(sa.text("ALTER TABLE gpu_use RENAME TO elsewhere"))
    await lab.sampling._write()
    with lab.database.begin() as connection:
        connection.execute(sa.text("ALTER TABLE elsewhere RENAME TO gpu_use"))
    await lab.sampling._write()
    with lab.database.connect() as connection:
        rows = connection.execute(tables.gpu_use.select()).all()
    assert sum(row.measured_seconds for row in rows) == pytest.approx(10)


# --- with a hub ------------------------------------------------------------------------------------------


def figure(people, uuid, name):
    return people["dan"].state()["figures"].get(uuid, {}).get(name)


def test_everybody_sees_what_the_gpus_do(hub, people, driver):
    driver.gpus[0].set(utilisation=97)
    uuid = driver.gpus[0].uuid
    hub.until(lambda: figure(people, uuid, "utilisation_percent") == 97, "the figure is told", 30)
    assert figure(people, uuid, "memory_used_mib") is not None


def test_a_driver_that_hangs_holds_up_no_page_and_no_other_gpu(hub, people, driver):
    stuck, other = driver.gpus
    stuck.hang("nvmlDeviceGetUtilizationRates", 20)
    try:
        hub.until(lambda: figure(people, stuck.uuid, "utilisation_percent") is None, "its figure is old", 40)
        other.set(utilisation=33)
        hub.until(lambda: figure(people, other.uuid, "utilisation_percent") == 33, "the other is read", 40)
    finally:
        stuck.recover()
    stuck.set(utilisation=12)
    hub.until(lambda: figure(people, stuck.uuid, "utilisation_percent") == 12, "it is read again", 60)


def test_leases_go_on_while_the_service_is_killed(hub, people):
    hub.run("alice", "h100")
    box = BoxStandIn(hub, "alice")
    assert box.report(kernel_at=time.time()).status_code == 200
    kill_service(hub)
    assert hub.is_ready("alice")
    assert hub.until(
        lambda: box.report(kernel_at=time.time()).status_code == 200, "its box reports again", 30
    )
    hub.stop("alice")


def test_a_machine_with_no_gpu_at_all_has_its_pages_too(make_process_hub):
    import requests

    bare = make_process_hub(
        engine="process", machines=[{"title": "CPU", "cpus": 1, "memory": "1G"}], service=True
    )
    bare.start()
    bare.until(
        lambda: requests.get(f"{bare.url}/services/gpubox/health", timeout=5).ok, "the service serves", 60
    )
    bare.run("alice", "cpu")
    assert BoxStandIn(bare, "alice").report().status_code == 200
