"""Servers in virtual machines, through a real hub, libvirt and QEMU, which emulates: a boot takes a minute.

The tests build on each other, because machines are slow to start: alice's and bob's run side by side from the
first test to the one that stops alice's.
"""

from __future__ import annotations

import os
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fixtures.guest import Guest
from fixtures.hub import CPU, Hub
from fixtures.libvirt import GATEWAY, Libvirt
from gpubox.engines.domain import Names
from simgpu import SimulatedDriver

VM = {"name": "vm", "title": "Virtual machine", "engine": "libvirt", "cpus": 2, "memory": "1G", "price": 1.5}
# Two idle cores boot two machines in two minutes; busy ones take as long as they take.
BOOT_SECONDS = 900

pytestmark = pytest.mark.timeout(2 * BOOT_SECONDS)


@pytest.fixture(scope="module")
def hub(make_module_hub, libvirt_host: Libvirt, golden_disk: str) -> Hub:
    """A hub with containers and machines, on which alice and bob have a machine each."""
    hub: Hub = make_module_hub(machines=[CPU, VM], extra_config=libvirt_host.config, service=True).start()
    for user in ("alice", "bob"):
        assert hub.ask_for(user, "vm").status_code == 202
    for user in ("alice", "bob"):
        hub.until(lambda user=user: hub.is_ready(user), f"{user}'s machine is ready", BOOT_SECONDS)
    return hub


@pytest.fixture(scope="module")
def alice(hub: Hub) -> Guest:
    return Guest(hub, "alice")


@pytest.fixture(scope="module")
def bob(hub: Hub) -> Guest:
    return Guest(hub, "bob")


def names(hub: Hub, user: str) -> Names:
    return Names.of(hub.id, user, "")


def test_a_machine_has_a_kernel_of_its_own_and_a_notebook_runs_on_it(hub, alice):
    code = "import platform, os; print(platform.release(), os.cpu_count(), os.environ['GPUBOX_MACHINE'])"
    release, cpus, machine = alice.cell(code).split()
    assert release != Path("/proc/sys/kernel/osrelease").read_text().strip()
    assert (cpus, machine) == ("2", "vm")


def test_its_user_is_its_root_and_the_system_takes_all_of_the_disk(alice):
    alice.sh("sudo dpkg --configure -a && sudo touch /etc/kept && echo mine >~/kept")
    assert alice.sh("sudo id -u; id -un").split() == ["0", "jovyan"]
    gib = int(alice.sh("df --output=size -BM / | tail -n 1").rstrip("M")) / 1024
    assert 7 < gib < 8


def test_nobody_has_a_password_and_keys_are_made_on_the_machine(hub, alice, bob):
    assert not alice.sh("sudo cut -d: -f2 /etc/shadow | grep -v '^[!*]' || true")
    ids = [guest.sh("cat /etc/machine-id") for guest in (alice, bob)]
    assert len(ids[0]) == 32 and ids[0] != ids[1]
    assert alice.sh("ls /etc/ssh/ssh_host_* 2>/dev/null | wc -l") == "0"
    assert "SSH-2.0" in alice.sh("timeout 90 bash -c 'exec 3<>/dev/tcp/127.0.0.1/22; head -n 1 <&3'")
    assert alice.sh("ls /etc/ssh/ssh_host_*_key | wc -l") != "0"


def test_the_token_is_in_no_command_line_no_xml_and_no_file_that_others_may_read(hub, libvirt_host, alice):
    token = alice.sh("echo $JUPYTERHUB_API_TOKEN")
    assert len(token) > 20
    name = names(hub, "alice").domain
    assert token not in libvirt_host.virsh("dumpxml", name, "--security-info")
    lines = [file.read_bytes() for file in Path("/proc").glob("[0-9]*/cmdline")]
    assert any(name.encode() in line for line in lines)
    assert not any(token.encode() in line for line in lines)
    for file in libvirt_host.pool_path.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file


REACH = "timeout 5 bash -c 'exec 3<>/dev/tcp/{host}/{port}' 2>/dev/null && echo reached || echo closed"


def test_machines_reach_the_hub_and_neither_each_other_nor_this_host(hub, libvirt_host, alice, bob):
    own, others = (guest.sh("hostname -I").split()[0] for guest in (bob, alice))
    assert own != others
    assert bob.sh(REACH.format(host=own, port=8888)) == "reached"
    assert bob.sh(REACH.format(host=others, port=8888)) == "closed"
    # By way of the host, past the bridge's own wall; and as somebody else.
    bob.sh(f"sudo ip route add {others}/32 via {GATEWAY}")
    assert bob.sh(REACH.format(host=others, port=8888)) == "closed"
    bob.sh(f"sudo ip route del {others}/32 via {GATEWAY}")

    url = bob.sh("echo $JUPYTERHUB_API_URL")
    assert '"version"' in bob.sh(f"curl -s -m 20 {url}/")
    hub_host = url.split("/")[2].split(":")[0]
    with socket.create_server(("0.0.0.0", 0)) as listener:
        port = listener.getsockname()[1]
        for host in (GATEWAY, hub_host):
            socket.create_connection((host, port), timeout=5).close()  # it is there to be reached
            assert bob.sh(REACH.format(host=host, port=port)) == "closed"


def test_a_hub_that_is_killed_finds_its_machines_again(hub, alice):
    hub.kill()
    hub.start()
    hub.until(lambda: hub.is_ready("alice") and hub.is_ready("bob"), "both are known as running")
    assert {lease["user"] for lease in hub.open_leases()} == {"alice", "bob"}
    assert alice.sh("cat ~/kept") == "mine"


def test_a_libvirt_that_is_killed_changes_nothing(hub, libvirt_host, alice):
    libvirt_host.kill()
    try:
        assert alice.sh("cat ~/kept") == "mine"
        assert hub.is_ready("alice")
        refused = hub.ask_for("carol", "vm")
        said = refused.text if refused.status_code >= 400 else hub.failure("carol")
        assert "libvirt does not answer" in said
        hub.run("carol", "cpu")  # a container, by the same name
        hub.stop("carol")
    finally:
        libvirt_host.start()
    hub.until(lambda: "claims" not in hub.tail() and hub.is_ready("alice"), "libvirt is asked again")
    assert {lease["user"] for lease in hub.open_leases()} == {"alice", "bob"}


def test_a_machine_that_shuts_itself_down_is_stopped(hub, libvirt_host, bob):
    bob.api("POST", "api/shutdown")
    hub.until(lambda: not hub.server("bob"), "the hub has noticed", 150)
    hub.until(lambda: {lease["user"] for lease in hub.open_leases()} == {"alice"}, "the lease is closed")


def test_stopped_and_started_a_machine_is_as_it_was_left(hub, libvirt_host, alice):
    identity = alice.sh("cat /etc/machine-id; hostname -I")
    hub.stop("alice")
    name = names(hub, "alice").domain
    assert libvirt_host.virsh("domstate", name) == "shut off"
    assert "is switched off" not in hub.tail(2000), "it shut down by itself"

    hub.ask_for("alice", "vm")
    phases = [event.get("phase") for event in hub.events("alice")]
    hub.until(lambda: hub.is_ready("alice"), "alice's machine is ready", BOOT_SECONDS)
    assert [phase for phase in phases if phase in ("disk", "boot", "starting", "ready")] == [
        "disk",
        "boot",
        "starting",
        "ready",
    ]
    assert alice.sh("cat ~/kept; ls /etc/kept") == "mine\n/etc/kept"
    assert alice.sh("cat /etc/machine-id; hostname -I") == identity


def test_a_machine_that_no_server_claims_is_shut_down(hub, libvirt_host):
    name = names(hub, "alice").domain
    hub.kill()
    database = hub.directory / "state" / "jupyterhub.sqlite"
    with closing(sqlite3.connect(database)) as forgetful, forgetful:
        forgetful.execute("UPDATE spawners SET server_id = NULL, state = NULL")
    hub.start()
    hub.until(lambda: libvirt_host.virsh("domstate", name) == "shut off", "it is shut down", 120)
    hub.until(lambda: not hub.open_leases(), "its lease is closed")


# --- cards: what is refused before a machine is made -----------------------------------------------


def test_a_card_that_cannot_go_into_a_machine_is_refused_with_the_reason(
    make_hub, libvirt_host: Libvirt, golden_disk: str
):
    machine = {**VM, "name": "vm-h100", "gpu": "H100"}
    with SimulatedDriver("1xH100") as driver:
        hub = make_hub(
            machines=[machine], environment=driver.environment(), extra_config=libvirt_host.config
        ).start()
        driver.gpus[0].add_process(os.getpid(), memory_mib=100)
        hub.ask_for("alice", "vm-h100")
        said = hub.failure("alice")
        assert f"a program of the host uses it (python ({os.getpid()}))" in said.replace("python3", "python")

        # A simulated card is on no bus of this host.
        driver.gpus[0].remove_process(os.getpid())
        hub.until(lambda: not hub.server("alice"), "the first start is cleared away")
        hub.ask_for("alice", "vm-h100")
        assert "libvirt does not list it" in hub.failure("alice")
        hub.until(lambda: not hub.open_leases(), "the card is free again")
        assert names(hub, "alice").domain not in libvirt_host.virsh("list", "--name")
