"""Templates of virtual machines at a real libvirt, of machines that run and have nothing to boot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fixtures.disk import make_small_disk, run, write
from fixtures.libvirt import NETWORK, SUBNET, Libvirt
from fixtures.waiting import until
from gpubox.engines import EngineError, domain
from gpubox.engines.disks import TemplateDisks
from gpubox.engines.domain import DiskFacts, DomainSpec, Names
from gpubox.engines.guests import Guests
from gpubox.refusal import PoolRefusal

HUB = "0123456789abcdef"
GOLDEN = "gpubox-small-20260101000000"
KERNEL = {"boot/vmlinuz-1": "kernel", "boot/initrd-1": "initial file system"}


@pytest.fixture(scope="module")
def guests(libvirt_host: Libvirt, tmp_path_factory: pytest.TempPathFactory) -> Guests:
    """The machines of a hub, with a small golden disk."""
    made = Guests(
        libvirt_host.uri,
        HUB,
        pool="gpubox",
        pool_path=str(libvirt_host.pool_path),
        network=NETWORK,
        subnet=SUBNET,
    )
    folder = tmp_path_factory.mktemp("golden")
    write(folder / "root", {"etc/machine-id": "golden-id", "opt/tool": "of the image", **KERNEL})
    for name in ("vmlinuz", "initrd"):
        link = {"vmlinuz": "vmlinuz", "initrd": "initrd.img"}[name]
        (folder / "root" / link).symlink_to(f"boot/{name}-1")
    disk = make_small_disk(folder, folder / "root")
    made.add_template(GOLDEN, {"qcow2": disk}, "a tool", lambda words: None)
    return made


@pytest.fixture
def folder(libvirt_host: Libvirt) -> Path:
    # Whoever the tools run as gets there.
    folder = libvirt_host.directory / "work"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def disks(guests: Guests, folder: Path) -> TemplateDisks:
    return TemplateDisks(guests, HUB, str(folder))


@pytest.fixture(scope="module")
def ada(guests: Guests) -> Iterator[Names]:
    """Ada's machine, which runs until the test that switches it off."""
    names = Names.of(HUB, "ada", "lab")
    start(guests, names)
    yield names
    guests.forget(names)
    guests.remove_volume(names.home)


def start(guests: Guests, names: Names, template: str = GOLDEN, **more: object) -> None:
    guests.ensure_disk(names, guests.template_called(template), 0)
    guests.ensure_home(names, 2**20)
    for volume in (names.environment, names.console):
        guests.write(volume, b"")
    address, _ = guests.ensure_address(names)
    guests.ensure_filter([], [])
    spec = DomainSpec(
        names=names,
        hub_id=HUB,
        user="ada",
        server="lab",
        lease_id=1,
        machine="vm",
        cpus=1,
        memory_mib=128,
        address=address,
        pool="gpubox",
        pool_path=guests.pool_path,
        network=NETWORK,
        filter=guests.filter,
        virt_type="qemu",
        disk=DiskFacts("0123456789abcdef", 1e9, "", "a tool"),
    )
    guests.start(replace(spec, **more))  # type: ignore[arg-type]


def nothing_is_left(guests: Guests, folder: Path) -> bool:
    ours = {volume.name for volume in guests.volumes() if HUB in volume.name}
    return not list(folder.iterdir()) and not any("saving" in name or "template" in name for name in ours)


def test_a_machine_is_saved_while_it_runs_and_another_starts_from_it(guests, disks, ada, folder, tmp_path):
    found = disks.look(ada.domain)
    assert (found.base, found.contents) == (GOLDEN, "a tool")
    said: list[str] = []
    kept = disks.keep(found, "save1", GOLDEN, said.append)
    assert guests.is_active(ada.domain)
    assert not list(folder.iterdir())
    made = guests.template_called(kept.name)
    assert (made.contents, bool(made.kernel), bool(made.initrd)) == ("a tool", True, True)
    assert any("Copying" in words for words in said)
    disk = tmp_path / "kept.qcow2"
    with disk.open("wb") as file:
        guests.download(f"{kept.name}.qcow2", file)
    assert "backing file" not in run("qemu-img", "info", str(disk)), "it needs nothing else"
    assert b"golden-id" not in disk.read_bytes()

    ben = Names.of(HUB, "ben", "")
    start(guests, ben, kept.name, user="ben", server="")
    assert guests.below(ben.disk) == made
    assert disks.users_of(kept.name) == ["ben"]
    assert disks.unrecorded({kept.name}) == []
    assert disks.unrecorded(set()) == [kept.name]
    guests.forget(ben)
    guests.remove_volume(ben.home)
    assert disks.users_of(kept.name) == []
    disks.remove(kept.name)
    disks.remove(kept.name)  # gone already
    assert nothing_is_left(guests, folder)


def test_with_no_room_to_make_it_nothing_is_begun(guests, disks, ada, folder, tmp_path):
    found = replace(disks.look(ada.domain), base_bytes=2**60)
    with pytest.raises(PoolRefusal, match=r"takes \d+ GB for a while"):
        disks.keep(found, "save3", GOLDEN, lambda words: None)
    assert nothing_is_left(guests, folder)


def test_what_a_hub_that_was_killed_left_is_swept_away(guests, disks, ada, folder, libvirt_host, tmp_path):
    """Killed while libvirt copied, while it made a template of the copy, and while it handed that over."""
    # One that is pulled goes on until it is ended: a copy as slow as a test needs it. libvirt removes the
    # scratch file of one itself, and leaves what is pushed.
    backup = tmp_path / "backup.xml"
    backup.write_text(
        "<domainbackup mode='pull'>"
        f"<server transport='unix' socket='{libvirt_host.directory}/lib/qemu/pulled'/>"
        "<disks><disk name='vda' backup='yes' type='file'>"
        f"<scratch file='{libvirt_host.directory}/scratch.qcow2'/></disk>"
        "<disk name='vdb' backup='no'/></disks></domainbackup>"
    )
    libvirt_host.virsh("backup-begin", ada.domain, str(backup))
    assert "Backup" in libvirt_host.virsh("domjobinfo", ada.domain)
    guests.write(f"gpubox-template-{HUB}-dead.qcow2", b"half of it")
    guests.write(f"gpubox-saving-{HUB}-dead.qcow2", b"half of it")
    (folder / f"gpubox-saving-{HUB}-dead").mkdir()
    others = "gpubox-template-ffffffffffffffff-1.qcow2"
    guests.write(others, b"of another hub")
    assert disks.sweep() == 2
    until(lambda: "None" in libvirt_host.virsh("domjobinfo", ada.domain), "the copy is ended")
    assert guests.is_active(ada.domain)
    guests.remove_volume(others)  # was not swept
    assert nothing_is_left(guests, folder)
    assert disks.sweep() == 0


def test_a_start_from_a_disk_that_is_not_whole_is_refused(guests):
    guests.write(f"gpubox-template-{HUB}-half.qcow2", b"half of it")
    with pytest.raises(EngineError, match="whole"):
        guests.template_called(f"gpubox-template-{HUB}-half")
    guests.remove_template(f"gpubox-template-{HUB}-half")


def test_the_newest_golden_disk_is_that_of_its_own_name(guests):
    assert GOLDEN in guests.newest_stems()
    assert guests.template("gpubox-small").stem == GOLDEN
    with pytest.raises(EngineError, match="no disk 'gpubox'"):
        guests.template("gpubox")  # the beginning of another one's name


def test_a_machines_own_words_are_told(guests, ada):
    facts = {name: facts for name, facts, _ in guests.all()}[ada.domain]
    assert domain.disk_of(facts).contents == "a tool"
    assert domain.server_of(facts) == "ada/lab"


def test_a_machine_that_is_switched_off_meanwhile_leaves_nothing(guests, disks, ada, folder):
    found = disks.look(ada.domain)

    def pull_the_plug(words: str) -> None:
        guests.power_off(ada.domain)

    with pytest.raises(EngineError):
        disks.keep(found, "save2", GOLDEN, pull_the_plug)
    assert nothing_is_left(guests, folder)


def test_what_does_not_run_is_not_saved(guests, disks, ada, folder):
    with pytest.raises(PoolRefusal, match="does not run"):
        disks.look(ada.domain)
    assert nothing_is_left(guests, folder)
