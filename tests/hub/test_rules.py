"""Quotas, the length of a session and extensions on a real hub, whose servers are processes."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from gpubox.control.client import HubClient, HubRefused
from simgpu import SimulatedDriver

RULES = """
c.GPUHub.rules = [
    {"gpus": 1, "words": "Ask Dr. Ada."},
    {"users": ["bob"], "session": "2h", "gpus": 2},
    {"users": ["carol"], "gpus": 4},
    {"users": ["carol"], "budget": {"gpu_hours": 1}, "per": "week", "words": "Renewed on Mondays."},
]
"""


@pytest.fixture(scope="module")
def hub(make_process_hub):
    with SimulatedDriver("4xH100") as driver:
        yield make_process_hub(
            engine="process", environment=driver.environment(), extra_config=RULES
        ).start()


@pytest.fixture(autouse=True)
def nobody_holds_anything(hub):
    yield
    hub.stop_all()


def click_twice(hub, user):
    """Ask for two machines at the same moment."""
    hub.api("POST", f"/users/{user}")
    for server in ("one", "two"):
        hub.api("PUT", f"/users/{user}/servers/{server}", json={"display_name": server})
    with ThreadPoolExecutor(2) as both:
        return list(both.map(lambda server: hub.ask_for(user, "h100", server), ("one", "two")))


def test_two_clicks_at_once_do_not_pass_a_quota(hub):
    answers = click_twice(hub, "alice")
    assert all(answer.status_code < 500 for answer in answers)
    hub.until(
        lambda: [hub.server("alice", name).get("ready", False) for name in ("one", "two")].count(True) == 1
        and [bool(hub.server("alice", name)) for name in ("one", "two")].count(True) == 1,
        "one runs, and the other was refused",
    )
    assert len(hub.open_leases()) == 1


def test_two_clicks_at_once_on_a_used_up_budget_start_nothing(hub):
    now = time.time()
    hub.sql(
        'INSERT INTO lease ("user", server, machine, title, count, slots_per_gpu, price_per_hour, "groups",'
        " requested_at, granted_at, released_at) VALUES"
        f" ('carol', '', 'h100', '60x H100', 60, 1, 2.5, '[]', {now - 60}, {now - 60}, {now})"
    )
    click_twice(hub, "carol")
    for server in ("one", "two"):
        sentence = hub.failure("carol", server)
        assert "is used up: 1.0 of 1.0 GPU-hours." in sentence
        assert "Renewed on Mondays." in sentence
    assert not hub.open_leases()


def test_the_rules_own_words_reach_the_user(hub):
    hub.run("alice", "h100")
    hub.api("PUT", "/users/alice/servers/more", json={"display_name": "more"})
    hub.ask_for("alice", "h100", "more")
    sentence = hub.failure("alice", "more")
    assert "You hold or wait for 1 GPU and the limit is 1." in sentence
    assert "Ask Dr. Ada." in sentence


def test_a_length_of_session_is_chosen_with_the_start(hub):
    hub.run("alice", "h100", shutdown="6h")
    (lease,) = hub.open_leases()
    assert lease["ends_at"] - lease["granted_at"] == 6 * 3600


@pytest.mark.parametrize(
    ("user", "shutdown", "sentence"),
    [
        ("bob", "6h", "You may have 1x H100 for 2 hours at most"),
        ("bob", "never", "You may have 1x H100 for 2 hours at most"),
        ("alice", "5h", "There is no length '5h' here. Choose one of: 1h, 6h"),
    ],
)
def test_a_length_that_is_not_allowed_is_refused_at_once(hub, user, shutdown, sentence):
    hub.ask_for(user, "h100", shutdown=shutdown)
    assert sentence in hub.failure(user)
    assert not hub.open_leases()


def extend(hub, lease, seconds):
    async def asked():
        async with HubClient(hub.directory / "state") as client:
            return await client.do("extend", lease=lease, seconds=seconds)

    return asyncio.run(asked())


def test_a_machine_is_stopped_when_its_time_is_over_and_not_before(hub):
    hub.run("bob", "h100", shutdown="1h")
    (lease,) = hub.open_leases()
    assert extend(hub, lease["id"], 1800)["ends_at"] == lease["ends_at"] + 1800
    assert extend(hub, lease["id"], 9999)["ends_at"] == lease["granted_at"] + 7200
    with pytest.raises(HubRefused, match="may not run longer"):
        extend(hub, lease["id"], 60)
    hub.kill()
    hub.sql("UPDATE lease SET ends_at = granted_at")  # an hour passes
    hub.start()
    hub.until(lambda: not hub.open_leases(), "bob's machine is stopped", 30)
    assert not hub.server("bob")
