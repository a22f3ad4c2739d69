"""/metrics: what a lab's Prometheus is told, to whom, and counters that never fall."""

import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gpubox import db as tables
from gpubox.budget import Budgets
from gpubox.control.client import NoHub
from gpubox.db import open_database
from gpubox.rules import parse_rules
from gpubox.service.live import EMPTY, Live
from gpubox.service.meter import IdleClocks
from gpubox.service.metrics import Metrics
from gpubox.timings import Timings


class Hub:
    """In the place of the hub: its timings."""

    def __init__(self):
        self.timed = Timings()

    async def timings(self):
        return self.timed.as_dict()


class DeadHub:
    async def timings(self):
        raise NoHub("The hub does not answer.")


def samples(text):
    """Values by name and labels."""
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


LEASE = {
    "user": "ada",
    "server": "",
    "machine": "h100",
    "title": "1x H100",
    "count": 1,
    "slots_per_gpu": 1,
    "price_per_hour": 2.0,
    "groups": [],
}
RULES = parse_rules([{"budget": {"gpu_hours": 1000}, "per": "week"}])


@pytest.fixture
def ledger(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    yield engine
    engine.dispose()


@pytest.fixture
def metrics(ledger):
    made = Metrics(Live(Hub()), ledger, IdleClocks(15.0), Budgets(ledger, RULES))
    made.clocks = made._clocks
    return made


def write(ledger, **lease):
    with ledger.begin() as connection:
        return connection.execute(tables.lease.insert().values(LEASE | lease)).inserted_primary_key[0]


async def scrape(metrics, *, anew=True):
    if anew:
        metrics._read_at = -1e9
    return samples((await metrics.text()).decode())


async def test_counters_are_over_the_whole_ledger_and_go_on_after_a_restart(ledger, metrics):
    now = time.time()
    write(ledger, requested_at=0.0, granted_at=0.0, released_at=7200.0)
    number = write(ledger, requested_at=now - 3600, granted_at=now - 3600)
    with ledger.begin() as connection:
        connection.execute(
            tables.gpu_use.insert().values(
                begin=900, gpu_uuid="GPU-0", lease_id=number, measured_seconds=900, idle_seconds=450,
                utilised_seconds=0,
            )
        )  # fmt: skip
    told = await scrape(metrics)
    assert told["gpubox_gpu_hours_total", "h100"] == pytest.approx(3, abs=0.01)
    assert told["gpubox_cost_total", "h100"] == pytest.approx(6, abs=0.02)
    assert told["gpubox_idle_gpu_hours_total", "h100"] == pytest.approx(450 / 3600)


async def test_a_clock_that_is_set_back_takes_nothing_away(ledger, metrics):
    number = write(ledger, requested_at=time.time() - 7200, granted_at=time.time() - 7200)
    before = (await scrape(metrics))["gpubox_gpu_hours_total", "h100"]
    with ledger.begin() as connection:
        connection.execute(
            tables.lease.update().where(tables.lease.c.id == number).values(granted_at=time.time() - 60)
        )
    assert (await scrape(metrics))["gpubox_gpu_hours_total", "h100"] == before


async def test_the_ledger_is_not_read_for_every_scrape(ledger, metrics):
    await scrape(metrics)
    write(ledger, requested_at=0.0, granted_at=0.0, released_at=3600.0)
    assert ("gpubox_gpu_hours_total", "h100") not in await scrape(metrics, anew=False)


async def test_waits_of_the_last_day_and_of_now_are_counted_once(ledger, metrics):
    now = time.time()
    write(ledger, requested_at=now - 5 * 86400, granted_at=now - 5 * 86400, released_at=now)
    write(ledger, requested_at=now - 7000, granted_at=now - 6990, released_at=now - 10)
    number = write(ledger, requested_at=now - 3600, granted_at=now - 1600)
    await metrics.open()
    ticket = {"id": number, "machine": "h100", "requested_at": now - 3600, "granted_at": now - 1600}
    later = {"id": 99, "machine": "h100", "requested_at": now - 40, "granted_at": None}
    live = metrics._live
    live._take({**EMPTY, "leases": [ticket, later]})
    live._take({**EMPTY, "leases": [ticket, later | {"granted_at": now}]})
    live._take({**EMPTY, "leases": [ticket, later | {"granted_at": now}]})
    told = await scrape(metrics)
    assert told["gpubox_wait_seconds_count", "h100"] == 3
    assert told["gpubox_wait_seconds_bucket", "10.0", "h100"] in (0, 1)
    assert told["gpubox_wait_seconds_bucket", "60.0", "h100"] == 2
    assert told["gpubox_wait_seconds_sum", "h100"] == pytest.approx(10 + 2000 + 40)


async def test_phases_of_starts_are_the_hubs_to_tell(metrics):
    for seconds in (0.2, 3.0):
        metrics._live.hub.timed.add("creating", seconds)
    told = await scrape(metrics)
    assert told["gpubox_spawn_phase_seconds_count", "creating"] == 2
    assert told["gpubox_spawn_phase_seconds_bucket", "0.25", "creating"] == 1
    assert told["gpubox_spawn_phase_seconds_sum", "creating"] == pytest.approx(3.2)


async def test_budgets_are_told_by_rule_and_whom(ledger, metrics):
    write(ledger, requested_at=time.time() - 3600, granted_at=time.time() - 3600)
    told = await scrape(metrics)
    assert 0 < told["gpubox_budget_used_ratio", "0", "ada"] <= 0.0011


async def test_a_gpu_that_idles_is_told_only_while_somebody_holds_it(metrics):
    gpus = [
        {"uuid": "A", "model": "H100", "state": "leased", "holders": [{"lease": 1}]},
        {"uuid": "B", "model": "H100", "state": "lost", "holders": []},
    ]
    live, now = metrics._live, time.monotonic()
    live.hub_answers = True
    live._take({**EMPTY, "gpus": gpus})
    live.set_figures({"A": {"utilisation_percent": 40.0}, "B": {"utilisation_percent": None}})
    for uuid in "AB":
        metrics.clocks.take(uuid, "idle", now)
    told = await scrape(metrics)
    assert told["gpubox_gpus", "H100", "leased"] == told["gpubox_gpus", "H100", "lost"] == 1
    assert (told["gpubox_gpu_leased", "A", "H100"], told["gpubox_gpu_leased", "B", "H100"]) == (1, 0)
    assert told["gpubox_gpu_lost", "B", "H100"] == 1
    assert told["gpubox_gpu_utilisation_ratio", "A", "H100"] == 0.4
    assert ("gpubox_gpu_utilisation_ratio", "B", "H100") not in told
    assert ("gpubox_gpu_idle_seconds", "A", "H100") in told
    assert ("gpubox_gpu_idle_seconds", "B", "H100") not in told


async def test_of_a_hub_that_does_not_answer_only_the_ledger_is_told(ledger, metrics):
    write(ledger, requested_at=0.0, granted_at=0.0, released_at=3600.0)
    metrics._live._take({**EMPTY, "gpus": [{"uuid": "A", "model": "H100", "state": "ready", "holders": []}]})
    metrics._live.hub = DeadHub()
    told = await scrape(metrics)
    assert ("gpubox_gpus", "H100", "ready") not in told
    assert told["gpubox_gpu_hours_total", "h100"] == pytest.approx(1)


# --- with a hub ------------------------------------------------------------------------------------------


def test_an_admin_and_who_has_the_scope_may_scrape_and_nobody_else(hub, people):
    assert people["dan"].ask("GET", "metrics").status_code == 403
    assert people["carol"].ask("GET", "metrics").status_code == 403
    hub.run("alice", "h100")
    hub.until(lambda: people["dan"].state()["leases"], "the service knows of the lease", 20)
    answer = people["root-of-all"].ask("GET", "metrics")
    assert answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/plain")
    told = samples(answer.text)
    assert told["gpubox_leases_held", "h100"] == 1
    assert told["gpubox_machines", "h100", "in_use"] == 1
    assert told["gpubox_spawn_phase_seconds_count", "creating"] >= 1
    assert told["gpubox_wait_seconds_count", "h100"] == 1
    assert any(name[0] == "gpubox_build_info" for name in told)
    hub.stop("alice")
