"""A card goes into a machine and comes back: gpubox's own code on a host with an IOMMU, which QEMU emulates.

The host is the disk of tests/nested; what happens on it is in its scenes.py. Its machines stay in their
firmware.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from fixtures.parts import is_missing
from fixtures.waiting import until
from gpubox.host import engine
from gpubox.host.image import ImageProblem, ensure_base, source_tree

TREE = Path(__file__).parents[2]
NESTED = TREE / "tests" / "nested"

# One card with two functions behind a port of its own, and one that shares a bus of the old kind, and so its
# IOMMU group, with a USB controller. A disk controller is the card with virtual functions, QEMU has no other.
CARD, CROWDED, NEIGHBOUR, DIVIDED = "0000:01:00.0", "0000:02:01.0", "0000:02:02.0", "0000:03:00.0"
_DEVICES = (
    "intel-iommu,intremap=on,caching-mode=on",
    "pcie-root-port,id=root1,chassis=1,slot=1,addr=4",
    "secondary-vga,bus=root1,addr=0.0,multifunction=on",
    "intel-hda,bus=root1,addr=0.1",
    "pcie-pci-bridge,id=old1,addr=5",
    "secondary-vga,bus=old1,addr=1",
    "piix3-usb-uhci,bus=old1,addr=2",
    "pcie-root-port,id=root2,chassis=2,slot=2,addr=6",
    "nvme-subsys,id=subsystem",
    "nvme,serial=divided,bus=root2,subsys=subsystem,max_ioqpairs=6,msix_qsize=7,sriov_max_vfs=2"
    ",sriov_vq_flexible=4,sriov_vi_flexible=4",
)
# Two busy cores take two minutes.
_SECONDS = 600

pytestmark = pytest.mark.timeout(3 * _SECONDS)


class Host:
    """One boot of the host: what its scenes told, by their names."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process, self._told, self._console = process, folder / "told", folder / "console"

    def explain(self) -> str:
        return f"{self._console.read_text(errors='replace')[-2000:]}\n{self._told.read_text()[-3000:]}"

    def scene(self, name: str) -> dict[str, Any]:
        """What was seen in a scene, once it has been."""

        def told() -> dict[str, Any] | None:
            lines = self._told.read_text().splitlines(keepends=True)
            scenes = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]
            found = [scene for scene in scenes if scene["scene"] == name]
            is_over = self.process.poll() is not None or any(line.startswith("ended") for line in lines)
            if not found and is_over:
                pytest.fail(f"The host has ended before the scene {name!r}. {self.explain()}", pytrace=False)
            return found[0] if found else None

        seen: dict[str, Any] = until(told, f"the scene {name!r}", self.explain, _SECONDS)
        return seen


@pytest.fixture(scope="module")
def disk(docker_client: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the host's disk and kernel."""
    if shutil.which("qemu-system-x86_64") is None:
        is_missing("qemu-system-x86_64 is not installed")
    folder = tmp_path_factory.mktemp("nested-disk")
    try:
        base = ensure_base(docker_client, source_tree(), print)
    except ImageProblem as problem:
        is_missing(str(problem))
    command = ["docker", "buildx", "build", "--progress=plain", "--build-arg", f"BASE={base}"]
    ran = subprocess.run(
        [*command, "--output", f"type=local,dest={folder}", str(NESTED)],
        env={"DOCKER_HOST": f"unix://{engine.SOCKET}", **os.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def hosts(disk: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Host]]:
    """The host with its IOMMU ``on``, and ``off``: booted side by side."""
    booted = {}
    for iommu in ("on", "off"):
        folder = tmp_path_factory.mktemp("nested")
        with tarfile.open(folder / "archive", "w") as archive:
            for file in ("host", "scenes.py"):
                archive.add(NESTED / file, file)
            archive.add(TREE / "spawner" / "gpubox", "gpubox", filter=_is_code)
        booted[iommu] = Host(subprocess.Popen(_qemu(disk, folder, iommu), stdin=subprocess.DEVNULL), folder)
    yield booted
    for host in booted.values():
        host.process.kill()
        host.process.wait()


def _is_code(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in member.name else member


def _qemu(disk: Path, folder: Path, iommu: str) -> list[str]:
    for file in ("told", "console"):
        (folder / file).touch()
    # A kernel changes its own code as it starts, which two emulated processors do not always survive; and the
    # timer that it looks for is late where the emulator waits for its turn.
    system = ["-accel", "tcg", "-machine", "q35", "-cpu", "max", "-smp", "1", "-m", "1024"]
    kernel = "root=/dev/vda rw init=/sbin/run-archive console=ttyS0 quiet panic=-1 no_timer_check"
    return [
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", *system),
        *("-kernel", str(disk / "vmlinuz"), "-initrd", str(disk / "initrd")),
        *("-append", f"{kernel} intel_iommu={iommu} gpubox.cards={CARD},{CROWDED},{DIVIDED}"),
        *("-drive", f"file={disk}/disk.qcow2,if=virtio,snapshot=on"),
        *("-drive", f"file={folder}/archive,if=virtio,format=raw,read-only=on"),
        *("-serial", f"file:{folder}/console", "-serial", f"file:{folder}/told"),
        *(word for device in _DEVICES for word in ("-device", device)),
    ]


@pytest.fixture(scope="module")
def host(hosts: dict[str, Host]) -> Host:
    """The host with its IOMMU on."""
    return hosts["on"]


FUNCTIONS = ("0000:01:00.0", "0000:01:00.1")
HOSTS = {"0000:01:00.0": "bochs-drm", "0000:01:00.1": "snd_hda_intel"}
IN_MACHINE = dict.fromkeys(FUNCTIONS, "vfio-pci")


def test_a_card_goes_into_a_machine_with_all_its_functions(host: Host) -> None:
    assert host.scene("before")["drivers"] == HOSTS
    given = host.scene("given")
    assert given["active"] and given["drivers"] == IN_MACHINE


def test_a_second_machine_is_refused_the_card_and_the_first_goes_on(host: Host) -> None:
    second = host.scene("second")
    assert "in use by driver QEMU, domain gpubox-" in second["said"]
    assert second["active"]


def test_after_the_stop_the_hosts_drivers_have_the_card_back_and_it_goes_out_again(host: Host) -> None:
    returned = host.scene("returned")
    assert not returned["active"] and returned["drivers"] == HOSTS
    again = host.scene("again")
    assert again["active"] and again["drivers"] == IN_MACHINE


def test_a_card_with_another_device_in_its_group_is_refused_and_the_device_is_named(host: Host) -> None:
    said = host.scene("crowded")["said"]
    assert f"at {CROWDED} cannot be given to a virtual machine alone" in said
    neighbour = f"Intel Corporation 82371SB PIIX3 USB [Natoma/Triton II] at {NEIGHBOUR}"
    assert f"in its IOMMU group are also {neighbour}." in said


def test_a_host_whose_iommu_is_off_says_what_to_switch_on(hosts: dict[str, Host]) -> None:
    said = hosts["off"].scene("off")["said"]
    assert f"at {CARD} cannot be given to a virtual machine: this host's IOMMU is off" in said


def test_a_virtual_function_goes_into_a_machine_and_a_second_machine_is_refused(host: Host) -> None:
    found = host.scene("functions")["found"]
    assert found["cy"] == "0000:03:00.1"
    assert "No virtual function of the GPU at 0000:03:00.0 is free: it has 1, in use" in found["di"]
