"""The culler over a hub's state of the test's own: whose notices it keeps, also from before a restart."""

import time
from datetime import timedelta

import pytest

from gpubox.db import open_database
from gpubox.service.activities import Activities
from gpubox.service.culler import Culler
from gpubox.service.live import EMPTY, Live
from gpubox.service.notices import Notices
from gpubox.service.sampling import Sampling
from gpubox.service.settings import GPUService
from gpubox.service.store import Store
from jupyterlab_gpubox.sampler import Sampler

LEASE = {
    "id": 7,
    "user": "ada",
    "server": "",
    "machine": "h100",
    "title": "1x H100",
    "gpus": ["GPU-0"],
    "is_ready": True,
    "ends_at": None,
    "ends_because": None,
    "latest_end": None,
}
MACHINE = {"name": "h100", "idle_seconds": 60.0, "gpu_idle_seconds": 60.0}
SERVER = {"name": "", "state": {"gpubox": {"lease": 7}}}
LONG_AGO = timedelta(days=1)


class Process:
    """One life of the service: the parts that the culler needs, over one database."""

    def __init__(self, store, *, warn_seconds=600.0, granted_at=None):
        self.granted_at = time.time() - 3600 if granted_at is None else granted_at
        self.live = Live(None)
        self.notices = Notices(store, self.live)
        self.activities = Activities(store, self.live)
        self.sampling = Sampling(
            self.live,
            self.activities,
            store,
            sample_seconds=5.0,
            busy_percent=5.0,
            sampler=Sampler(vendors=[]),
        )
        options = GPUService(warn_seconds=warn_seconds)
        self.culler = Culler(
            self.live, self.activities, self.sampling, self.notices, options, ("http://hub", "token")
        )

    async def begin(self):
        await self.activities.open()
        await self.notices.load()
        await self.culler.open()
        self.show()
        return self

    def show(self, lost=False, ready=True):
        lease = LEASE | {"granted_at": self.granted_at, "requested_at": self.granted_at, "is_ready": ready}
        gpu = {"uuid": "GPU-0", "state": "lost" if lost else "leased", "holders": [{"lease": 7}]}
        self.live._take({**EMPTY, "leases": [lease], "machines": [MACHINE], "gpus": [gpu]})

    def report(self, **shown):
        self.activities.report(7, shown, time.time())

    def gpu(self, verdict, seconds=0.0):
        self.sampling.clocks.take(7, verdict, time.monotonic())
        if seconds:
            self.sampling.clocks.believe(7, seconds, time.monotonic())

    async def look(self, server=SERVER, inactive=LONG_AGO):
        return await self.culler._arbiter(inactive=inactive, inactive_limit=0, server=server)

    def told(self):
        return [notice.id for notice in self.notices.open("ada")]


@pytest.fixture
async def store(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    store = Store(engine)
    yield store
    await store.close()
    engine.dispose()


async def test_one_notice_a_countdown_however_often_it_is_looked_at(store):
    service = await Process(store).begin()
    service.report()
    for _ in range(3):
        assert not await service.look()
    assert len(service.told()) == 1


async def test_a_countdown_that_runs_on_over_a_restart_is_neither_told_again_nor_cut_short(store):
    before = await Process(store).begin()
    before.report()
    await before.look()
    await before.activities.write()
    after = await Process(store).begin()
    after.report()
    assert not await after.look()
    assert after.told() == before.told()


async def test_a_countdown_of_an_idle_gpu_runs_on_over_a_restart_too(store):
    before = await Process(store).begin()
    before.report(kernel_at=time.time())
    before.gpu("idle", 100.0)
    await before.look()
    (notice,) = before.notices.open("ada")
    assert "The GPU of" in notice.sentence
    after = await Process(store).begin()
    after.report(kernel_at=time.time())
    after.gpu("idle")
    assert not await after.look()
    assert after.told() == before.told()
    after.gpu("busy")
    await after.look()
    assert after.told() == []


async def test_a_countdown_that_ended_while_no_service_ran_stops_nobody(store):
    before = await Process(store, warn_seconds=1.0).begin()
    before.report()
    await before.look()
    (notice,) = before.notices.open("ada")
    await store.run(lambda: store.set_notice(notice.id, closed_at=None))
    with store._db.begin() as connection:
        connection.exec_driver_sql("UPDATE notice SET due_at = told_at - 1")
    after = await Process(store).begin()
    after.report()
    assert after.told() == []
    assert not await after.look()
    assert len(after.told()) == 1 and after.told() != [notice.id]


async def test_a_dismissed_notice_stays_a_countdown(store):
    service = await Process(store).begin()
    service.report()
    await service.look()
    await service.notices.close(service.told()[0])
    assert not await service.look()
    assert service.told() == []


async def test_it_stops_when_the_time_has_run_out(store):
    service = await Process(store, warn_seconds=1.0).begin()
    service.report()
    assert not await service.look()
    countdown = service.culler._warned[7]
    service.culler._warned[7] = type(countdown)(countdown.notice, countdown.rule, time.monotonic())
    assert not await service.look()
    service.report()
    assert await service.look()


async def test_keep_begins_anew_with_a_notice_of_its_own(store):
    service = await Process(store).begin()
    service.report()
    await service.look()
    (first,) = service.told()
    await service.activities.keep(7, time.time())
    await service.look()
    assert service.told() == []
    await service.activities.keep(7, time.time() - 120)
    await service.look()
    assert service.told() not in ([], [first])


async def test_a_lost_gpu_ends_a_countdown(store):
    service = await Process(store).begin()
    service.report()
    await service.look()
    service.show(lost=True)
    assert not await service.look()
    assert service.told() == []


@pytest.mark.parametrize(
    "server",
    [
        {"name": "", "state": None},
        {"name": "", "state": {}},
        {"name": "", "state": {"gpubox": {"lease": 8}}},
        {"name": "other", "state": {"gpubox": {"lease": 7}}},
    ],
)
async def test_servers_of_other_spawners_and_leases_that_ended_are_let_be(store, server):
    service = await Process(store).begin()
    service.report()
    assert not await service.look(server)
    assert service.told() == []


async def test_a_machine_that_has_just_become_ready_is_not_idle_since_its_grant(store):
    service = Process(store)  # its image took an hour to come
    service.show(ready=False)
    service.show(ready=True)
    await service.look(inactive=None)
    assert service.told() == []


async def test_a_machine_that_a_new_hub_finds_running_is_as_idle_as_it_was(store):
    service = await Process(store).begin()
    service.report()
    service.show(ready=False)
    service.show(ready=True)
    await service.look()
    assert len(service.told()) == 1


async def test_reports_that_come_late_take_nothing_back(store):
    service = await Process(store).begin()
    now = time.time()
    service.activities.report(7, {"kernel_at": now - 10, "terminal_at": now + 3600}, now)
    service.activities.report(7, {"kernel_at": now - 500, "terminal_at": None}, now)
    known = service.activities.of(7)
    assert (known.kernel_at, known.terminal_at, known.reported_at) == (now - 10, now, now)
    await service.activities.write()
    assert (await store.run(store.activities))[7] == known


async def test_what_is_known_of_a_lease_goes_with_it(store):
    service = await Process(store).begin()
    service.report(kernel_at=time.time())
    await service.activities.write()
    service.live._take(EMPTY)
    await service.activities.write()
    assert service.activities.of(7) is None
    assert await store.run(store.activities) == {}
