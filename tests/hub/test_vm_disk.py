"""The disk that machines start from boots by itself, too: by its own GRUB, with either firmware.

No hub: all by the calls that a hub makes, to a libvirt that is reached as one on another machine is.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fixtures.libvirt import NETWORK, Libvirt
from fixtures.waiting import until
from gpubox.engines.domain import DomainSpec, Names, last_lines, marks

HUB = "disk-test"
BOOT_SECONDS = 600

pytestmark = pytest.mark.timeout(2 * BOOT_SECONDS)


def start(guests, firmware: str) -> Names:
    """Start a machine with a new disk that boots itself."""
    names = Names.of(HUB, firmware, "")
    guests.ensure_disk(names, guests.template("gpubox-vm"), 4 * 2**30)
    guests.ensure_home(names, 2**30)
    guests.write(names.environment, b'GPUBOX_COMMAND="sleep infinity"\n')
    guests.write(names.console, b"")
    address, _ = guests.ensure_address(names)
    guests.ensure_filter([], [])
    spec = DomainSpec(
        names=names,
        hub_id=HUB,
        user=firmware,
        server="",
        lease_id=1,
        machine="vm",
        cpus=1,
        memory_mib=768,
        address=address,
        pool=guests.pool,
        pool_path=guests.pool_path,
        network=NETWORK,
        filter=guests.filter,
        virt_type="qemu",
        uefi=firmware == "uefi",
    )
    guests.start(spec)
    return names


def cut_short(libvirt_host: Libvirt, names: Names, folder: Path) -> None:
    """Leave of a home what a machine leaves that is switched off while it makes the file system."""
    half = folder / "home.raw"
    with half.open("wb") as file:
        file.truncate(2**30)
    subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-L", "gpubox-new", half], check=True)
    with half.open("r+b") as file:  # its first block is written, and no other
        file.truncate(4096)
        file.truncate(2**30)
    home = libvirt_host.pool_path / names.home
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", half, home], check=True)


def test_the_disk_boots_by_its_own_grub_with_bios_and_with_uefi(
    libvirt_host: Libvirt, golden_disk: str, tmp_path: Path
):
    guests = libvirt_host.guests(HUB)
    cut_short(libvirt_host, Names.of(HUB, "uefi", ""), tmp_path)
    machines = [start(guests, firmware) for firmware in ("bios", "uefi")]
    try:
        for names in machines:
            until(
                lambda names=names: marks(guests.console(names)).get("disk") == "ready",
                "its system is up, and has grown",
                lambda names=names: last_lines(guests.console(names), 20),
                BOOT_SECONDS,
            )
    finally:
        for names in machines:
            guests.forget(names)
            guests.remove_volume(names.home)
