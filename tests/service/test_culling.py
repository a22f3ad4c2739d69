"""Idle machines against a real hub, with seconds for hours: who is told, who is stopped, and who is not."""

import time

import pytest
import requests
import sqlalchemy as sa

from service.box_stand_in import BoxStandIn, kill_service
from simgpu import SimulatedDriver

PEOPLE = ("amy", "ben")
MACHINES = [
    {"name": "cpu", "title": "CPU", "cpus": 1, "memory": "1G"},
    {"name": "h100", "title": "1x H100", "gpu": "H100", "cpus": 1, "memory": "1G"},
    {"name": "train", "title": "1x H100 for training", "gpu": "H100", "cpus": 1, "memory": "1G"},
]
# A config takes minutes at the least.
SECONDS = """
from gpubox.hub import GPUHub
LIMITS = {"cpu": (4, None), "h100": (4, None), "train": (None, 4)}
GPUHub.idle_limits = lambda self, machine: LIMITS[machine.name]
c.GPUService.cull_seconds = 1
c.GPUService.warn_seconds = 5
c.GPUService.sample_seconds = 1
"""


@pytest.fixture(scope="module")
def driver():
    with SimulatedDriver("2xH100") as driver:
        yield driver


@pytest.fixture(scope="module")
def hub(make_process_hub, driver):
    hub = make_process_hub(
        engine="process",
        environment=driver.environment(),
        machines=MACHINES,
        users=PEOPLE,
        extra_config=SECONDS,
        service=True,
    ).start()
    hub.until(lambda: requests.get(f"{hub.url}/services/gpubox/health", timeout=5).ok, "the service serves")
    return hub


@pytest.fixture
def start(hub, driver):
    """Starts a user's machine, and gives its box; ends all of it after the test."""
    boxes = []

    def begin(user, machine):
        hub.run(user, machine)
        boxes.append(BoxStandIn(hub, user))
        return boxes[-1]

    yield begin
    for box in boxes:
        box.stop()
    hub.stop_all()
    for gpu in driver.gpus:
        gpu.recover()
        gpu.set(utilisation=0)


def idle_notice(hub, box):
    """The notice, once there is one."""
    (notice,) = hub.until(lambda: box.notices("idle"), f"{box.user} is told of being idle", 40)
    return notice


def until_stopped(hub, user):
    def is_stopped():
        return not hub.server(user) and user not in hub.gpus_held()

    hub.until(is_stopped, f"{user}'s machine is stopped", 40)


def gpu_of(hub, driver, user):
    (uuid,) = hub.gpus_held()[user]
    return next(gpu for gpu in driver.gpus if gpu.uuid == uuid)


def read(hub, query, **values):
    engine = sa.create_engine(hub.database_url)
    with engine.connect() as connection:
        rows = [dict(row) for row in connection.execute(sa.text(query), values).mappings()]
    engine.dispose()
    return rows


def test_an_idle_machine_is_told_first_and_then_stopped(hub, start):
    box = start("amy", "cpu")
    box.keep_reporting()
    notice = idle_notice(hub, box)
    assert hub.server("amy")
    assert notice["due_at"] - notice["told_at"] == pytest.approx(5)
    assert "CPU has done nothing for 4 seconds" in notice["sentence"]
    until_stopped(hub, "amy")
    assert time.time() >= notice["due_at"]


@pytest.mark.parametrize("kind", ["kernel", "terminal", "desktop", "gpu"])
def test_a_machine_that_shows_life_stays_and_one_that_does_not_is_stopped(hub, start, kind):
    busy = start("amy", "cpu")
    busy.keep_reporting(kind)
    start("ben", "cpu").keep_reporting()
    until_stopped(hub, "ben")
    assert hub.is_ready("amy")
    assert not busy.notices("idle")


@pytest.fixture
def at_work(driver):
    """Both GPUs work before anybody holds them: a start takes longer than an idle machine lives here."""
    for gpu in driver.gpus:
        gpu.set(utilisation=90)


def test_gpu_work_that_no_box_reports_is_life(hub, driver, at_work, start):
    busy = start("amy", "h100")
    busy.keep_reporting()
    start("ben", "h100").keep_reporting()
    gpu_of(hub, driver, "ben").set(utilisation=0)
    until_stopped(hub, "ben")
    assert hub.is_ready("amy")
    assert not busy.notices("idle")


def test_a_gpu_that_idles_under_a_busy_kernel_is_taken_back_and_one_that_works_is_not(
    hub, driver, at_work, start
):
    busy, idle = start("ben", "train"), start("amy", "train")
    busy.keep_reporting("kernel")
    idle.keep_reporting("kernel")
    gpu_of(hub, driver, "amy").set(utilisation=0)
    assert "The GPU of 1x H100 for training has done nothing" in idle_notice(hub, idle)["sentence"]
    until_stopped(hub, "amy")
    assert hub.is_ready("ben")
    assert not busy.notices("idle")


def test_a_gpu_that_cannot_be_read_is_not_taken_for_an_idle_one(hub, driver, at_work, start):
    unread, idle = start("amy", "train"), start("ben", "train")
    unread.keep_reporting("kernel")
    idle.keep_reporting("kernel")
    gpu_of(hub, driver, "amy").fail("nvmlDeviceGetUtilizationRates")
    gpu_of(hub, driver, "ben").set(utilisation=0)
    until_stopped(hub, "ben")
    assert hub.is_ready("amy")


def test_keep_ends_the_countdown_and_idle_time_begins_anew(hub, start):
    box = start("amy", "cpu")
    box.keep_reporting()
    events = box.listen()
    notice = idle_notice(hub, box)
    (lease,) = hub.open_leases()
    assert box.ask("POST", f"api/leases/{lease['id']}/keep").status_code == 200
    told = []
    while ("closed", {"id": notice["id"]}) not in told:
        told.append(events.get(timeout=20))
    assert hub.is_ready("amy")
    later = idle_notice(hub, box)
    assert later["id"] != notice["id"] and later["due_at"] > notice["due_at"]


def test_nobody_keeps_anothers_machine(hub, start):
    start("amy", "cpu").keep_reporting("kernel")
    other = start("ben", "cpu")
    other.keep_reporting("kernel")
    lease = next(lease for lease in hub.open_leases() if lease["user"] == "amy")
    assert other.ask("POST", f"api/leases/{lease['id']}/keep").status_code == 403


def test_use_ends_the_countdown_at_once(hub, start):
    box = start("amy", "cpu")
    box.keep_reporting()
    idle_notice(hub, box)
    box.keep_reporting("terminal")
    hub.until(lambda: not box.notices("idle"), "the notice is closed")
    assert hub.is_ready("amy")


def test_a_box_that_reports_nonsense_is_refused_with_a_sentence(hub, start):
    box = start("amy", "cpu")
    for wrong in ({"kernel_at": "now"}, {"kernel_at": -1}, {"kernel_at": 1e300}, {"colour": 1}):
        answer = box.report(**wrong)
        assert answer.status_code == 400 and answer.json()["message"]
    assert box.ask("POST", "api/box/activity", json={"server": "no-such"}).status_code == 404
    # A clock that runs ahead does not keep a machine for ever.
    assert box.report(kernel_at=time.time() + 86400).status_code == 200
    box.keep_reporting()
    until_stopped(hub, "amy")


def test_a_countdown_that_ends_while_the_service_is_dead_begins_anew(hub, start):
    box = start("amy", "h100")
    box.keep_reporting()
    before = idle_notice(hub, box)
    (lease,) = hub.open_leases()
    kill_service(hub)  # JupyterHub takes longer to begin it anew than the countdown lasts
    served_at = time.time()
    until_stopped(hub, "amy")
    told = read(hub, "SELECT id, due_at FROM notice WHERE kind = 'idle' AND subject LIKE :about ORDER BY id",
                about=f"idle {lease['id']} %")  # fmt: skip
    assert [row["id"] for row in told][:1] == [before["id"]] and len(told) == 2
    assert told[1]["due_at"] > served_at
    assert time.time() >= told[1]["due_at"]


def test_measured_time_outlives_a_kill_of_the_service(hub, driver, start):
    for gpu in driver.gpus:
        gpu.set(utilisation=50)
    box = start("amy", "train")
    box.keep_reporting("kernel")
    (lease,) = hub.open_leases()

    def measured():
        rows = read(hub, "SELECT * FROM gpu_use WHERE lease_id = :lease", lease=lease["id"])
        return sum(row["measured_seconds"] for row in rows)

    before = hub.until(measured, "what the GPU does is written down", 60)
    kill_service(hub)
    hub.until(lambda: measured() > before, "it goes on being written down", 60)
    (row,) = read(hub, "SELECT sum(idle_seconds) AS idle, sum(utilised_seconds) AS used,"
                       " sum(measured_seconds) AS all_of_it FROM gpu_use WHERE lease_id = :lease",
                  lease=lease["id"])  # fmt: skip
    assert row["idle"] == 0
    assert row["used"] == pytest.approx(row["all_of_it"] / 2)
    assert hub.is_ready("amy")
