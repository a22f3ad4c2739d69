"""`make run ENGINE=process`: the same hub and pool, each server a process of its user's account."""

import psutil
import pytest
import requests

from simgpu import SimulatedDriver


@pytest.fixture
def driver():
    with SimulatedDriver("2xH100") as driver:
        yield driver


@pytest.fixture
def hub(make_hub, driver):
    return make_hub(engine="process", environment=driver.environment()).start()


def processes_of(hub, user):
    """The hub's processes of its user's Unix account, which another hub of this machine may share."""
    found = []
    for process in psutil.process_iter(["username", "ppid"]):
        try:
            if process.info["username"] == f"gpubox-{user}" and process.environ()["GPUBOX_HUB"] == hub.id:
                found.append(process)
        except (psutil.Error, KeyError):
            continue  # a zombie, or another hub's
    return found


def leader_of(hub, user):
    """The server's own process."""
    (leader,) = [process for process in processes_of(hub, user) if process.info["ppid"] == hub.process.pid]
    return leader


def test_a_server_runs_as_its_users_account_and_is_told_its_gpu(hub):
    hub.run("alice", "h100")
    leader = leader_of(hub, "alice")
    assert [leader.environ()["CUDA_VISIBLE_DEVICES"]] == hub.gpus_held()["alice"]
    assert requests.get(f"{hub.url}/user/alice/api", timeout=10).ok


def test_a_cpu_server_is_told_that_it_has_no_gpu(hub):
    hub.run("alice", "cpu")
    leader = leader_of(hub, "alice")
    assert leader.environ()["CUDA_VISIBLE_DEVICES"] == ""


def test_stop_ends_the_process_and_frees_the_gpu(hub):
    hub.run("alice", "h100")
    hub.stop("alice")
    hub.until(lambda: not hub.open_leases(), "the lease is closed")
    hub.until(lambda: not processes_of(hub, "alice"), "alice's processes have ended", 20)


def test_servers_outlive_a_kill_of_the_hub(hub):
    hub.run("alice", "h100")
    held = hub.gpus_held()
    hub.kill()
    hub.start()
    assert hub.is_ready("alice") and hub.gpus_held() == held
    assert requests.get(f"{hub.url}/user/alice/api", timeout=10).ok
    hub.stop("alice")


def test_a_process_that_no_server_claims_is_ended_and_its_gpu_freed(hub):
    hub.ask_for("alice", "h100")
    hub.until(lambda: processes_of(hub, "alice"), "alice's process runs", 30)
    hub.kill()
    hub.start()

    def agree():
        """Whether server, process and lease are all there or all gone."""
        model = hub.server("alice")
        facts = {bool(model), bool(processes_of(hub, "alice")), bool(hub.open_leases())}
        return len(facts) == 1 and (not model or model["ready"])

    hub.until(agree, "server, process and lease agree")


def test_a_name_that_is_not_fit_for_an_account_is_refused_with_a_sentence(make_hub, driver):
    name = "o'brien; rm -rf"
    hub = make_hub(engine="process", environment=driver.environment(), users=(name,)).start()
    hub.ask_for(name, "cpu")
    assert "not fit for a Unix account" in hub.failure(name)
    assert not hub.open_leases()
