"""The service's API against a real hub: who sees what, and what the hub does when it is asked."""

import pytest


@pytest.fixture(autouse=True)
def nobody_holds_anything(hub):
    yield
    hub.stop_all()


def held(state):
    return [lease for lease in state["leases"] if lease["granted_at"]]


def until_seen(hub, person, holds, what):
    return hub.until(lambda: (state := person.state()) and holds(state) and state, what, 20)


def test_everybody_sees_the_gpus_and_who_holds_them(hub, people):
    hub.run("alice", "h100")
    state = until_seen(hub, people["dan"], held, "dan sees the lease")
    (lease,) = held(state)
    assert (lease["holder"], lease["machine"]) == ("alice", "h100")
    assert [gpu["state"] for gpu in state["gpus"]] == ["leased", "ready"]


def test_nobody_gets_in_without_a_token(hub):
    import requests

    answer = requests.get(f"{hub.url}/services/gpubox/api/state", timeout=10)
    assert answer.status_code == 401
    assert "Log in" in answer.json()["message"]


def test_an_admin_drains_a_gpu_and_a_user_may_not(hub, people):
    uuid = people["dan"].state()["gpus"][1]["uuid"]
    assert people["dan"].ask("POST", f"api/gpus/{uuid}/drain", json={"reason": "no"}).status_code == 403
    admin = people["root-of-all"]
    assert admin.ask("POST", f"api/gpus/{uuid}/drain", json={"reason": "a fan is loud"}).status_code == 200
    gpu_of = lambda state: next(gpu for gpu in state["gpus"] if gpu["uuid"] == uuid)  # noqa: E731
    until_seen(hub, people["dan"], lambda state: gpu_of(state)["state"] == "drained", "it is drained")
    assert gpu_of(people["dan"].state())["reason"] == "a fan is loud"
    assert admin.ask("DELETE", f"api/gpus/{uuid}/drain").status_code == 200
    until_seen(hub, people["dan"], lambda state: gpu_of(state)["state"] == "ready", "it serves again")


def test_a_user_ends_their_own_machine_and_nobody_elses(hub, people):
    hub.run("alice", "h100")
    (lease,) = held(until_seen(hub, people["alice"], held, "alice sees her lease"))
    refused = people["dan"].ask("POST", f"api/leases/{lease['id']}/end", json={})
    assert refused.status_code == 403
    assert people["alice"].ask("POST", f"api/leases/{lease['id']}/end", json={}).status_code == 200
    assert not hub.open_leases()


def test_a_group_admin_ends_a_machine_of_their_group_alone(hub, people):
    hub.run("alice", "h100")
    hub.run("dan", "h100")
    state = until_seen(hub, people["carol"], lambda state: len(held(state)) == 2, "carol sees both")
    of = {lease["holder"]: lease["id"] for lease in held(state)}
    assert people["carol"].ask("POST", f"api/leases/{of['dan']}/end", json={}).status_code == 403
    assert people["carol"].ask("POST", f"api/leases/{of['alice']}/end", json={}).status_code == 200
    assert [lease["user"] for lease in hub.open_leases()] == ["dan"]
