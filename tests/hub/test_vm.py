"""Servers in virtual machines, through a real hub, libvirt and QEMU, which emulates: a boot takes a minute.

The tests build on each other, because machines are slow to start. alice's boots in a browser and is saved as
a template. While it runs, starts of bob's are cut short in all ways. Then both boot side by side: hers as she
left it, his as a clone of it.
"""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from fixtures.browser import PATIENCE_SECONDS
from fixtures.guest import Guest
from fixtures.hub import CPU, Hub
from fixtures.libvirt import GATEWAY, NETWORK, Libvirt
from fixtures.ssh import Laptop, keys_api, token_of
from gpubox.engines.domain import Names
from simgpu import SimulatedDriver

expect.set_options(timeout=PATIENCE_SECONDS * 1000)

VM = {"name": "vm", "title": "Virtual machine", "engine": "libvirt", "cpus": 2, "memory": "1G", "price": 1.5}
# Two idle cores boot a machine in a minute, two in two; busy ones take as long as they take.
BOOT_SECONDS = 900
# What takes a machine seconds elsewhere: a kernel starts, a page with all its scripts is sent.
SLOW_SECONDS = 300

pytestmark = pytest.mark.timeout(2 * BOOT_SECONDS)


@pytest.fixture(scope="module")
def hub(make_module_hub, libvirt_host: Libvirt, golden_disk: str) -> Hub:
    """A hub with containers and machines."""
    hub: Hub = make_module_hub(machines=[CPU, VM], extra_config=libvirt_host.config, ssh=True).start()
    return hub


def machine(hub: Hub, user: str) -> Guest:
    """Somebody's machine, started where no test before has done so."""
    if not hub.server(user):
        hub.ask_for(user, "vm")
    hub.until(lambda: hub.is_ready(user), f"{user}'s machine is ready", BOOT_SECONDS)
    return Guest(hub, user)


@pytest.fixture
def alice(hub: Hub) -> Guest:
    return machine(hub, "alice")


@pytest.fixture
def bob(hub: Hub) -> Guest:
    return machine(hub, "bob")


def names(hub: Hub, user: str) -> Names:
    return Names.of(hub.id, user, "")


def holders(hub: Hub) -> set[str]:
    """Who has a lease."""
    return {lease["user"] for lease in hub.open_leases()}


# --- in the browser ------------------------------------------------------------------------------------


def choose_and_start(page: Page) -> Locator:
    """Choose the virtual machine and press start; what the waiting page says."""
    card = page.locator(".gb-card").filter(has=page.get_by_text("Virtual machine", exact=True))
    expect(card).to_contain_text("you are its root")
    card.click()
    page.get_by_role("button", name="Start").click()
    detail = page.locator("#detail")
    expect(detail).to_have_text("Its system boots")
    return detail


def until_in_the_lab(page: Page, detail: Locator, user: str) -> None:
    """Wait until the machine has booted and JupyterLab is there to be used."""
    words = "Your machine runs; Jupyter is starting in it"
    expect(detail).to_have_text(words, timeout=BOOT_SECONDS * 1000)
    page.wait_for_url(re.compile(f"/user/{user}/lab"), timeout=BOOT_SECONDS * 1000)
    expect(page.get_by_role("menuitem", name="File")).to_be_visible(timeout=SLOW_SECONDS * 1000)


def package(folder: Path) -> bytes:
    """A Debian package with a program that says who sees to it."""
    (folder / "DEBIAN").mkdir(parents=True)
    (folder / "DEBIAN" / "control").write_text(
        "Package: greeter\nVersion: 1\nArchitecture: all\nMaintainer: Alice <alice@example.org>\n"
        "Description: greets\n"
    )
    (folder / "usr" / "bin").mkdir(parents=True)
    (folder / "usr" / "bin" / "greet").write_text("#!/bin/sh\necho hello from a package\n")
    (folder / "usr" / "bin" / "greet").chmod(0o755)
    subprocess.run(["dpkg-deb", "-b", str(folder), f"{folder}.deb"], check=True, capture_output=True)
    return Path(f"{folder}.deb").read_bytes()


def save_and_share(page: Page, name: str, friend: str) -> None:
    """Save the machine as a template in JupyterLab's panel, then share it on the page that this leads to."""
    page.get_by_role("tab", name="GPU", exact=True).click()
    page.get_by_role("button", name="Save as template").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill(name)
    dialog.get_by_role("button", name="Save", exact=True).click()
    expect(dialog).to_contain_text(f"Saved as version 1 of {name}.", timeout=BOOT_SECONDS * 1000)
    with page.context.expect_page() as opened:
        dialog.get_by_role("link", name="Templates").click()
    templates = opened.value
    templates.get_by_role("button", name=f"Share {name}…").click()
    templates.get_by_role("dialog").get_by_label("Their name at this hub").fill(friend)
    templates.get_by_role("dialog").get_by_role("button", name="Share").click()
    expect(templates.get_by_role("button", name=f"Share with {friend} no more")).to_be_visible()


def test_in_the_browser_a_machine_boots_is_worked_in_as_root_and_kept_as_a_template(hub, visit, tmp_path):
    page = visit("alice", "/hub/spawn")
    until_in_the_lab(page, choose_and_start(page), "alice")
    alice = Guest(hub, "alice")

    expect(page.locator(".jp-LauncherCard").first).to_be_visible(timeout=SLOW_SECONDS * 1000)
    page.locator(".jp-LauncherCard[data-category=Notebook]").first.click()
    expect(page.get_by_text(re.compile(r"Python.*\| Idle"))).to_be_visible(timeout=SLOW_SECONDS * 1000)
    page.locator(".jp-Notebook .cm-content").click()
    page.keyboard.type("import os; print(os.uname().nodename, os.cpu_count(), os.environ['GPUBOX_MACHINE'])")
    page.keyboard.press("Shift+Enter")
    expect(page.locator(".jp-OutputArea-output")).to_have_text(
        f"{names(hub, 'alice').domain} 2 vm", timeout=SLOW_SECONDS * 1000
    )

    alice.put("greeter.deb", package(tmp_path / "greeter"))
    page.locator(".lm-TabBar-addButton:visible").click()
    page.locator(".jp-LauncherCard:visible").filter(has_text="Terminal").click()
    page.locator(".jp-Terminal .xterm").click()
    page.keyboard.type("sudo apt-get install -y ./greeter.deb && sudo ssh-keygen -A && greet >greeted\n")
    hub.until(
        lambda: alice.content("greeted") == "hello from a package\n", "apt has installed it", SLOW_SECONDS
    )

    save_and_share(page, "greeter", "bob")


# --- what a machine is ---------------------------------------------------------------------------------


def test_its_user_is_its_root_with_a_kernel_of_its_own_and_the_system_takes_all_of_the_disk(alice):
    alice.sh("sudo touch /etc/kept && echo mine >~/kept")
    told = alice.sh("sudo id -u; id -un; uname -r; df --output=size -BM / | tail -n 1")
    root, user, kernel, mib = told.split()
    assert (root, user) == ("0", "jovyan")
    assert kernel != Path("/proc/sys/kernel/osrelease").read_text().strip()
    assert 7 < int(mib.rstrip("M")) / 1024 < 8
    # /tmp is not the memory, and nothing in the home is root's alone.
    assert alice.sh("findmnt -no TARGET -T /tmp; tar -cf /dev/null .") == "/"


def test_nobody_has_a_password(alice):
    assert not alice.sh("sudo cut -d: -f2 /etc/shadow | grep -v '^[!*]' || true")


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


# --- starts that are cut short, beside a machine that runs -------------------------------------------------


@pytest.fixture
def is_off(hub, libvirt_host) -> Callable[[], bool]:
    """Whether bob's machine is off and nothing is held for it, while alice's holds what it has."""
    name = names(hub, "bob").domain
    return lambda: libvirt_host.virsh("domstate", name) == "shut off" and holders(hub) == {"alice"}


def begin(hub: Hub, libvirt_host: Libvirt) -> None:
    """bob asks for his machine; its system is on its way."""
    assert hub.ask_for("bob", "vm").status_code == 202
    name = names(hub, "bob").domain
    hub.until(lambda: libvirt_host.virsh("domstate", name, check=False) == "running", "bob's machine boots")


def test_cancelled_while_it_boots_a_machine_is_switched_off(hub, libvirt_host, visit, alice, is_off):
    page = visit("bob", "/hub/spawn")
    choose_and_start(page)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#headline")).to_have_text("Cancelled")
    hub.until(is_off, "it is off, and its lease closed", 150)
    assert names(hub, "bob").disk in libvirt_host.virsh("vol-list", "gpubox")


def test_a_hub_that_is_killed_finds_its_machines_and_switches_off_what_nobody_waits_for(
    hub, libvirt_host, alice, is_off
):
    begin(hub, libvirt_host)
    hub.kill()
    hub.start()
    hub.until(is_off, "nobody claims bob's, so it is off", 150)
    assert hub.is_ready("alice")
    assert alice.sh("cat ~/kept") == "mine"


def test_a_libvirt_that_is_killed_changes_nothing_that_runs_and_leaves_nothing_half_done(
    hub, libvirt_host, alice, is_off
):
    begin(hub, libvirt_host)
    libvirt_host.kill()
    try:
        assert re.search("libvirt (does not answer|says)", hub.failure("bob"))
        assert alice.sh("cat ~/kept") == "mine"
        assert hub.is_ready("alice")
        refused = hub.ask_for("carol", "vm")
        said = refused.text if refused.status_code >= 400 else hub.failure("carol")
        assert "libvirt does not answer" in said
        hub.run("carol", "cpu")  # a container, by the same name
        hub.stop("carol")
    finally:
        libvirt_host.start()
    hub.until(is_off, "libvirt is asked again, bob's is off, and its lease closed", 150)
    assert hub.is_ready("alice")


# --- stopped, started again, cloned -----------------------------------------------------------------------


def test_stopped_on_the_hubs_page_it_shuts_down_by_itself(hub, libvirt_host, visit, alice):
    alice.sh("cat /etc/machine-id >~/identity; hostname -I >>~/identity; sync")
    home = visit("alice", "/hub/home")
    home.get_by_role("button", name="Stop").click()
    expect(home.get_by_text("Stopped", exact=True)).to_be_visible(timeout=SLOW_SECONDS * 1000)
    assert libvirt_host.virsh("domstate", names(hub, "alice").domain) == "shut off"
    assert "is switched off" not in hub.tail(2000)
    assert not hub.open_leases()


def test_started_again_a_machine_is_as_it_was_left_and_anothers_is_a_clone_of_it(hub, libvirt_host, visit):
    home = libvirt_host.pool_path / names(hub, "bob").home
    before = home.stat().st_ino
    his = visit("bob", "/hub/spawn")
    his.locator(".gb-card").filter(has=his.get_by_text("Virtual machine", exact=True)).click()
    his.get_by_role("radio", name="Afresh").check()
    his.get_by_label("Start from").select_option("alice/greeter:1")
    his.once("dialog", lambda dialog: dialog.accept())  # what he installed is deleted
    choose_and_start(his)
    hers = visit("alice", "/hub/spawn")
    until_in_the_lab(hers, choose_and_start(hers), "alice")
    alice, bob = Guest(hub, "alice"), machine(hub, "bob")

    assert alice.sh("cat ~/kept; ls /etc/kept; greet") == "mine\n/etc/kept\nhello from a package"
    assert alice.sh("cat /etc/machine-id; hostname -I") == alice.content("identity").strip()

    assert home.stat().st_ino == before, "his home is his own still"
    assert bob.sh("greet; ls ~/kept 2>/dev/null || true") == "hello from a package"
    identity = bob.sh("cat /etc/machine-id")
    assert len(identity) == 32 and identity not in alice.content("identity")


def test_its_keys_are_made_on_the_machine(bob):
    assert bob.sh("ls /etc/ssh/ssh_host_* 2>/dev/null | wc -l") == "0"
    assert "SSH-2.0" in bob.sh("timeout 90 bash -c 'exec 3<>/dev/tcp/127.0.0.1/22; head -n 1 <&3'")
    assert bob.sh("ls /etc/ssh/ssh_host_*_key | wc -l") != "0"


# --- two machines --------------------------------------------------------------------------------------


def test_ssh_leads_into_a_machine_with_files_and_ports(hub, bob, tmp_path):
    laptop = Laptop(tmp_path / "laptop", hub, "bob")
    answer = keys_api(hub, token_of(hub, "bob"), "POST", json={"key": laptop.public_key})
    assert answer.status_code == 201, answer.text
    told = laptop.ssh("box", "hostname; id -un; sudo id -un")
    assert told.stdout.split() == [names(hub, "bob").domain, "jovyan", "root"], told.stderr

    here, back = tmp_path / "here", tmp_path / "back"
    here.write_bytes(os.urandom(100_000))
    for source, target in ((str(here), "box:there"), ("box:there", str(back))):
        copied = laptop.run("scp", "-q", "-F", str(laptop.config), source, target)
        assert copied.returncode == 0, copied.stderr
    assert back.read_bytes() == here.read_bytes()

    # The server's own port, which the machine's wall leaves to the hub, from the person's own computer.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tunnel = laptop.begin("-N", "-L", f"127.0.0.1:{port}:127.0.0.1:22", "box")
    try:

        def says() -> bytes:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=60) as through:
                    return through.recv(7)
            except OSError:
                return b""

        hub.until(lambda: says() == b"SSH-2.0", "the machine's own sshd answers through it", 90)
    finally:
        tunnel.terminate()
        tunnel.communicate()


def tries(*targets: str) -> str:
    """The command that prints which of some HOST/PORT answer."""
    each = [f"(timeout 5 bash -c 'exec 3<>/dev/tcp/{to}' 2>/dev/null && echo {to}) &" for to in targets]
    return " ".join([*each, "wait"])


def test_machines_reach_the_hub_and_neither_each_other_nor_this_host(hub, libvirt_host, alice, bob):
    own, others = (guest.sh("hostname -I").split()[0] for guest in (bob, alice))
    assert own != others
    url = bob.sh("echo $JUPYTERHUB_API_URL")
    assert '"version"' in bob.sh(f"curl -s -m 20 {url}/")
    hub_host = url.split("/")[2].split(":")[0]
    with socket.create_server(("0.0.0.0", 0)) as listener:
        port = listener.getsockname()[1]
        for host in (GATEWAY, hub_host):
            socket.create_connection((host, port), timeout=5).close()  # it is there to be reached
        closed = f"{others}/8888", f"{GATEWAY}/{port}", f"{hub_host}/{port}"
        assert bob.sh(tries(f"{own}/8888", *closed)) == f"{own}/8888"
    # By way of the host, past the bridge's own wall.
    way = f"{others}/32 via {GATEWAY}"
    assert not bob.sh(f"sudo ip route add {way}; {tries(f'{others}/8888')}; sudo ip route del {way}")


def test_a_machine_that_shuts_itself_down_is_stopped(hub, libvirt_host, bob):
    bob.sh("echo of bob >~/kept")
    bob.api("POST", "api/shutdown")
    hub.until(lambda: not hub.server("bob"), "the hub has noticed", 150)
    hub.until(lambda: holders(hub) == {"alice"}, "the lease is closed")


def test_a_machine_that_no_server_claims_is_shut_down(hub, libvirt_host):
    name = names(hub, "alice").domain
    hub.kill()
    database = hub.directory / "state" / "jupyterhub.sqlite"
    with closing(sqlite3.connect(database)) as forgetful, forgetful:
        forgetful.execute("UPDATE spawners SET server_id = NULL, state = NULL")
    hub.start()
    hub.until(lambda: libvirt_host.virsh("domstate", name) == "shut off", "it is shut down", 120)
    hub.until(lambda: not hub.open_leases(), "its lease is closed", 120)


def test_of_a_person_who_is_deleted_no_machine_is_left(hub, libvirt_host):
    hub.run("bob", "cpu")  # his server was a container last
    hub.stop("bob")
    his = names(hub, "bob")
    assert his.mac in libvirt_host.virsh("net-dumpxml", NETWORK)
    assert hub.api("DELETE", "/users/bob").status_code == 204
    assert his.domain not in libvirt_host.virsh("list", "--all", "--name")
    volumes = libvirt_host.virsh("vol-list", "gpubox").split()
    assert his.disk not in volumes and his.environment not in volumes
    assert his.home in volumes, "as a container's home is"
    assert his.mac not in libvirt_host.virsh("net-dumpxml", NETWORK), "its address can be another's"


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
