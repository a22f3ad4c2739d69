"""What the doctor says of a machine that is to run virtual ones; from files as the kernel shows them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gpubox.host import vmhost
from gpubox.host.vmhost import VMHost, check, read

FIT = VMHost(has_kvm=True, iommu_groups=40, is_intel=True, has_vfio=True, filters_bridges=True)


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, str], None]:
    """Writes a file of the kernel's."""

    def put(path: str, content: str = "") -> None:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)

    return put


def test_a_bare_machine_has_nothing(tmp_path: Path) -> None:
    assert read(tmp_path) == VMHost(has_kvm=False, iommu_groups=0, is_intel=False, has_vfio=False)


def test_what_the_kernel_shows_is_read(tmp_path: Path, put: Callable[..., None]) -> None:
    put("dev/kvm")
    put("sys/kernel/iommu_groups/0/type")
    put("sys/kernel/iommu_groups/1/type")
    put("proc/cpuinfo", "vendor_id\t: GenuineIntel\n")
    put("proc/sys/kernel/osrelease", "6.12.1-amd64\n")
    put("lib/modules/6.12.1-amd64/modules.dep", "kernel/drivers/vfio/pci/vfio-pci.ko.xz: ...\n")
    put(f"sys/firmware/efi/efivars/{vmhost._SECURE_BOOT}", "\6\0\0\0\1")
    put("proc/sys/net/bridge/bridge-nf-call-iptables", "0\n")
    put("sys/class/mdev_bus/0000:06:00.0")
    found = read(tmp_path)
    assert found == VMHost(
        has_kvm=True,
        iommu_groups=2,
        is_intel=True,
        has_vfio=True,
        secure_boot=True,
        filters_bridges=False,
        makes_vgpus=True,
    )


def test_a_machine_that_is_fit_is_told_so() -> None:
    assert check(FIT, has_gpus=True).mark == "ok"


@pytest.mark.parametrize(
    ("lacks", "words", "remedy"),
    [
        ({"has_kvm": False}, "emulated", "VT-x"),
        ({"filters_bridges": False}, "could reach all of this host", "bridge-nf-call-iptables=1"),
        ({"iommu_groups": 0}, "IOMMU is off", "intel_iommu=on iommu=pt"),
        ({"iommu_groups": 0, "is_intel": False}, "IOMMU is off", "with iommu=pt"),
        ({"has_vfio": False}, "no vfio-pci", "modprobe vfio-pci"),
        ({"lacks": ("qemu-utils",)}, "cannot be saved as templates", "apt-get install qemu-utils"),
        ({"makes_vgpus": True, "has_mdevctl": False}, "cannot have vGPUs", "apt-get install mdevctl"),
    ],
)
def test_what_is_missing_is_told_with_its_remedy(lacks: dict[str, bool], words: str, remedy: str) -> None:
    line = check(VMHost(**{**FIT.__dict__, **lacks}), has_gpus=True)
    assert (line.mark, words in line.words, remedy in line.remedy) == ("warn", True, True)


def test_with_no_card_that_makes_vgpus_nobody_is_told_of_mdevctl() -> None:
    assert check(VMHost(**{**FIT.__dict__, "has_mdevctl": False}), has_gpus=True).mark == "ok"


def test_with_no_gpu_nobody_is_told_of_an_iommu() -> None:
    assert (
        check(VMHost(**{**FIT.__dict__, "iommu_groups": 0, "has_vfio": False}), has_gpus=False).mark == "ok"
    )
