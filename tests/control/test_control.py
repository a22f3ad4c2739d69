"""The control socket of a real hub: who may open it, what it tells, what it does, what outlives a kill."""

import asyncio
import os
import stat

import pytest

from gpubox.control import NAME, short_path
from gpubox.control.client import HubClient, HubRefused, NoHub
from simgpu import SimulatedDriver


@pytest.fixture(scope="module")
def driver():
    with SimulatedDriver("2xH100") as driver:
        yield driver


@pytest.fixture(scope="module")
def hub(make_process_hub, driver):
    return make_process_hub(engine="process", environment=driver.environment()).start()


@pytest.fixture(autouse=True)
def nobody_holds_anything(hub):
    yield
    hub.stop_all()


def ask(hub, question):
    """Run one coroutine of a client of the hub."""

    async def asked():
        async with HubClient(hub.directory / "state") as client:
            return await question(client)

    return asyncio.run(asked())


def state(hub):
    return ask(hub, lambda client: client.state())


def test_only_the_hubs_own_account_may_open_the_socket(hub):
    directory = hub.directory / "state"
    assert stat.S_IMODE((directory / NAME).stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_state_directory_may_have_a_longer_path_than_a_socket(tmp_path):
    deep = tmp_path
    while len(str(deep)) < 200:
        deep = deep / "a-directory-with-a-long-name"
    deep.mkdir(parents=True)
    with short_path(deep) as path:
        assert len(path) < 108
        os.mkfifo(path)
    assert (deep / NAME).exists()


def test_the_state_tells_gpus_leases_and_machines(hub):
    hub.run("alice", "h100")
    told = state(hub)
    (lease,) = told["leases"]
    assert (lease["user"], lease["machine"]) == ("alice", "h100")
    assert (lease["price_per_hour"], lease["share"]) == (2.5, 1.0)
    assert lease["is_ready"]
    (held,) = [gpu for gpu in told["gpus"] if gpu["state"] == "leased"]
    assert held["uuid"] in lease["gpus"]
    assert held["holders"] == [{"lease": lease["id"], "slots": [0]}]
    machine = next(one for one in told["machines"] if one["name"] == "h100")
    assert (machine["total"], machine["free"], machine["in_use"]) == (2, 1, 1)


def test_who_watches_is_told_of_a_change(hub):
    before = state(hub)

    async def watch(client):
        newer = asyncio.create_task(client.state(before["run"], before["version"]))
        await client.do("drain", gpu=before["gpus"][0]["uuid"], reason="dust")
        return await newer

    after = ask(hub, watch)
    assert after["version"] > before["version"]
    assert (after["gpus"][0]["state"], after["gpus"][0]["reason"]) == ("drained", "dust")
    ask(hub, lambda client: client.do("undrain", gpu=before["gpus"][0]["uuid"]))
    assert state(hub)["gpus"][0]["state"] == "ready"


def test_a_ticket_can_be_taken_out_of_the_line(hub):
    for user in ("alice", "bob"):
        hub.run(user, "h100")
    hub.ask_for("carol", "h100")
    ticket = hub.until(lambda: next(iter(state(hub)["line"]), None), "carol waits")
    assert ticket["position"] == 1
    ask(hub, lambda client: client.do("end", lease=ticket["lease"], reason="an admin's wish"))
    assert not state(hub)["line"]
    assert {lease["user"] for lease in hub.open_leases()} == {"alice", "bob"}


def test_ending_a_lease_is_done_when_it_is_answered(hub):
    hub.run("alice", "h100")
    (lease,) = state(hub)["leases"]
    ask(hub, lambda client: client.do("end", lease=lease["id"], reason="an admin's wish"))
    assert not hub.open_leases()
    with pytest.raises(HubRefused, match="given back already"):
        ask(hub, lambda client: client.do("end", lease=lease["id"], reason="again"))


@pytest.mark.parametrize(
    ("what", "fields", "sentence"),
    [
        ("drain", {"gpu": "GPU-none", "reason": ""}, "There is no GPU 'GPU-none' here"),
        ("end", {"lease": 10**6, "reason": ""}, "There is no lease 1000000"),
        ("end", {"lease": "x", "reason": ""}, "Expected a JSON object with: lease, reason"),
        ("drain", {}, "Expected a JSON object with: gpu, reason"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_sentence(hub, what, fields, sentence):
    with pytest.raises(HubRefused, match=sentence):
        ask(hub, lambda client: client.do(what, **fields))


def test_no_hub_is_a_sentence(tmp_path):
    async def asked():
        async with HubClient(tmp_path) as client:
            await client.state()

    with pytest.raises(NoHub, match="gpubox run"):
        asyncio.run(asked())


def test_a_hub_that_was_killed_is_followed_by_one_that_answers(hub):
    before = state(hub)
    hub.kill()
    with pytest.raises(NoHub):
        state(hub)
    hub.start()
    after = hub.until(lambda: state(hub), "the new hub answers")
    assert after["run"] != before["run"]
    assert after["hub"] == before["hub"]


def test_a_watcher_of_another_run_is_answered_at_once(hub):
    told = ask(hub, lambda client: client.state("another-run", 10**6))
    assert told["run"] != "another-run"


def test_a_watcher_that_goes_away_leaves_nothing_behind(hub):
    before = state(hub)

    async def give_up(client):
        with pytest.raises(asyncio.TimeoutError):
            async with asyncio.timeout(0.2):
                await client.state(before["run"], 10**6)
        return await client.state()

    assert ask(hub, give_up)["run"] == before["run"]
